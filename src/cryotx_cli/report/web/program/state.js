/** What the reader has chosen: the cut, the micrograph that is open, the class that is marked. Everything that is drawn follows it. */

import { picksAt } from "./class_counts.js";
import { spread } from "./counts.js";
import { count, data, scoreAt, unpicked } from "./data.js";

/** Robust standard deviations from the median, beyond which a micrograph is an outlier. */
export const OUTLIER = 3.5;
/** Whether there are as many micrographs as it takes for one to stand out. */
export const areEnough = count - unpicked.size >= 5;
const spreadOf = (picks) => spread(picks.filter((_, index) => !unpicked.has(index)));

export const state = {
  /** Hundredths of the slider, or null for the picks as they are written. */
  cut: null,
  /** Of every micrograph at the cut. */
  picks: data.picks,
  spread: spreadOf(data.picks),
  /** Position of the micrograph in the viewer; null while it is closed. */
  open: null,
  /** Class whose picks are marked, by its place in the list; 0: none. */
  marked: 0,
};
/** Make the picks those of the cut. */
export const recount = () => {
  state.picks = picksAt(state.cut);
  state.spread = spreadOf(state.picks);
};
/** Score of the cut that all micrographs share; null where each has its own. */
export const cutNow = () => (state.cut === null ? data.threshold : scoreAt(state.cut));
export const isOutlier = (index) =>
  areEnough &&
  !unpicked.has(index) &&
  Math.abs(state.picks[index] - state.spread.middle) > OUTLIER * state.spread.deviation;
/** On which side an outlier lies. */
export const side = (index) => (state.picks[index] < state.spread.middle ? "few" : "many");
