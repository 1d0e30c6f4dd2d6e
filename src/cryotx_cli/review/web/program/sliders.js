/** The sliders: what chooses the picks, and how the picture looks. */

import { gradient } from "./colours.js";
import { at, onceAFrame, settled } from "./dom.js";
import { refreshPicture } from "./picture.js";
import { ask, send } from "./server.js";
import { changed, onChange, state } from "./state.js";

const AUTOMATIC = "as the run";

let reload = () => {};
/** Call `work` where candidates have to be fetched anew. */
export const onDistance = (work) => {
  reload = work;
};

/** Counts of the list follow a slider that moves; those of corrected micrographs when it is let go. */
const recount = settled(async () => {
  const { threshold, distance } = state.cut;
  const query = new URLSearchParams({ threshold: threshold ?? "", distance: distance ?? "" });
  const counts = await ask(`/api/counts?${query}`);
  for (const [i, one] of state.review.micrographs.entries()) if (!one.changes) one.picks = counts[i];
  changed();
}, 120);

let choosing = false;
/** Whether somebody is choosing a cut that is not sent yet: that of the server is older. */
export const isChoosing = () => choosing;

const keep = settled(() => {
  choosing = false;
  send(
    { kind: "cut", ...state.cut },
    () => reload(),
    () => {},
  );
}, 250);

const choose = (cut) => {
  choosing = true;
  Object.assign(state.cut, cut);
  recount();
  keep();
  changed();
};

const rateIndex = (threshold) => {
  const rates = state.review.rates;
  const found = rates.findIndex(([, cut]) => threshold !== null && cut <= threshold);
  return found < 0 ? rates.length - 1 : found;
};

const reloadSoon = settled(() => reload(), 120);
at("threshold").addEventListener("input", () => choose({ threshold: Number(at("threshold").value) }));
at("rate").addEventListener("input", () => choose({ threshold: state.review.rates[Number(at("rate").value)][1] }));
at("distance").addEventListener("input", () => {
  choose({ distance: Number(at("distance").value) });
  reloadSoon();
});
at("as-run").addEventListener("click", () => {
  choose({ threshold: null, distance: null });
  reloadSoon();
});

const lookOf = { lowpass: "lowpass", contrast: "contrast" };
for (const [id, name] of Object.entries(lookOf))
  at(id).addEventListener("input", () => {
    state.look[name] = Number(at(id).value);
    refreshPicture();
    changed();
  });
at("invert").addEventListener("change", () => {
  state.look.invert = at("invert").checked;
  refreshPicture();
});
const shows = { "show-film": "film", "show-rejected": "rejected" };
for (const [id, name] of Object.entries(shows))
  at(id).addEventListener("change", () => {
    state.look[name] = at(id).checked;
    changed();
  });
at("colours").addEventListener("change", () => {
  state.look.colours = at("colours").value;
  changed();
});
at("key").style.background = gradient;

/** Set the ends of the sliders, which the review decides. */
export const setUpSliders = () => {
  const { diameter, rates, distance } = state.review;
  at("distance").max = Math.ceil(2 * Math.max(diameter, distance));
  at("rate").max = Math.max(0, rates.length - 1);
  at("rate-row").hidden = rates.length < 2;
  // Without a run there is nothing to choose among, and nothing to pick again.
  at("choice").hidden = at("adapt-button").hidden = !state.review.picked;
};

const lowest = () => {
  const { view, cut } = state;
  if (cut.threshold !== null) return cut.threshold;
  return view?.chosen ? view.candidates[view.chosen - 1][2] : 1;
};

const show = onceAFrame(() => {
  if (!state.review) return;
  const { cut, look, review } = state;
  at("threshold").value = lowest();
  at("threshold-value").value = cut.threshold === null ? "auto" : cut.threshold.toFixed(2);
  at("threshold").setAttribute("aria-valuetext", cut.threshold === null ? AUTOMATIC : cut.threshold.toFixed(2));
  const index = rateIndex(cut.threshold);
  at("rate").value = index;
  const rate = review.rates[index]?.[0];
  const told = cut.threshold === null || rate === undefined ? "auto" : `${Math.round(100 * rate)} %`;
  at("rate-value").value = told;
  at("rate").setAttribute("aria-valuetext", told);
  at("distance").value = cut.distance ?? review.distance;
  at("distance-value").value = `${Math.round(cut.distance ?? review.distance)} Å`;
  at("as-run").disabled = cut.threshold === null && cut.distance === null;
  at("choice-note").textContent = state.view?.corrections.labels ? "This one is done: its picks stay." : "";
  at("lowpass-value").value = look.lowpass ? `${look.lowpass} Å` : "none";
  at("contrast-value").value = (10 ** (look.contrast / 20)).toFixed(1);
});
onChange(show);
