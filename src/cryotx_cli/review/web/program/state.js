/** What the page knows: the review, the micrograph that is shown, and how it is looked at. */

export const state = {
  /** Of all micrographs, as the server lists them; null until it has. */
  review: null,
  /** The micrograph that is shown; null before the first. */
  view: null,
  /** Position of the micrograph that is or will be shown, or cannot be: whence one goes to the next. */
  heading: null,
  /** The cut at the sliders, which may be moving; that of the review follows. */
  cut: { threshold: null, distance: null },
  mode: "pick",
  /** Of the eraser, in px of the micrograph. */
  brush: 0,
  /** Two corners of the box, in px of the micrograph; null where there is none. */
  box: null,
  /** Numbers of the classes whose circles are not shown. */
  hiddenClasses: new Set(),
  /** At 20 Å particles stand out of the noise, and their shapes can still be seen. */
  look: { lowpass: 20, contrast: 0, invert: false, colours: "score", rejected: false, film: true },
};

const listeners = [];

/** Call `work` after each change of the state. */
export const onChange = (work) => listeners.push(work);

export const changed = () => {
  for (const work of listeners) work();
};

export const micrograph = (position) => state.review.micrographs.find((one) => one.position === position);
