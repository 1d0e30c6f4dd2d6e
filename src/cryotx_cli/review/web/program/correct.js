/** Corrections of the micrograph that is shown: made at once here, and sent. */

import { corrected, hiddenOf, picksOf } from "./picks.js";
import { isBusy, send } from "./server.js";
import { changed, micrograph, state } from "./state.js";

/** Take what the server says of a micrograph after a change. */
const adopt = (position, answer) => {
  const listed = micrograph(position);
  listed.picks = answer.picks;
  listed.mark = answer.corrections.mark;
  listed.changes = answer.undo;
  const { added, removed, erased } = answer.corrections;
  listed.corrected = added.length + removed.length + erased.length > 0;
  // While further changes are on their way this page is ahead of the answer.
  if (state.view?.position === position && !isBusy()) Object.assign(state.view, answer);
  changed();
};

export const correct = (change) => {
  const { position, name } = state.view;
  state.view.corrections = corrected(state.view.corrections, change);
  send(
    { ...change, micrograph: name },
    (answer) => adopt(position, answer),
    (reason) => {
      refused(reason);
    },
  );
  changed();
};

let refused = () => {};
/** Call `work` with the reason when the server refuses a change: what is shown is not what is saved. */
export const onRefusal = (work) => {
  refused = work;
};

/** The pick that is nearest to a place, if the place lies in its circle. */
const pickAt = (x, y) => {
  let [best, nearest] = [null, Number.POSITIVE_INFINITY];
  for (const one of picksOf(state.view, state.cut)) {
    const gap = Math.hypot(one.x - x, one.y - y);
    if (gap <= one.diameter / 2 && gap < nearest) [best, nearest] = [one, gap];
  }
  return best;
};

/** Show all picks again if some are hidden with their classes; nobody corrects or vouches for what cannot be seen. */
const wereHidden = (picks) => {
  if (!hiddenOf(state.view, picks, state.hiddenClasses).length) return false;
  state.hiddenClasses.clear();
  refused("Picks of hidden classes were there: all classes are shown again, and nothing was changed.");
  changed();
  return true;
};

/** Remove the pick at a place, or add one where there is none. */
export const toggle = ([x, y]) => {
  const { width, height } = state.view;
  if (x < -0.5 || y < -0.5 || x > width - 0.5 || y > height - 0.5) return;
  const found = pickAt(x, y);
  if (found && wereHidden([found])) return;
  if (found) correct({ kind: "remove", points: [[found.x, found.y]] });
  else correct({ kind: "add", points: [[x, y]] });
};

export const erase = (points) => correct({ kind: "stroke", points, radius: state.brush });

export const removeBox = () => {
  if (!state.box) return;
  correct({ kind: "box", box: state.box });
  state.box = null;
  changed();
};

export const mark = (wanted) => {
  if (wanted === "done" && wereHidden(picksOf(state.view, state.cut))) return;
  const now = state.view.corrections.mark;
  correct({ kind: "mark", mark: now === wanted ? null : wanted });
};

export const takeBack = (kind) => {
  if (state.view[kind] > 0) correct({ kind });
};
