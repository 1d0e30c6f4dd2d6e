/** Precision, recall and F1 against the labels, of all micrographs and of one, at every setting of the slider. */

import { atLeast, sum } from "./counts.js";
import { count, data, SCORES, uint16s } from "./data.js";
import { state } from "./state.js";
import { number } from "./words.js";

const truth = data.truth ?? { labels: [], hits: [], hits_at_cuts: "" }; // a report without labels: no rates
const hitsAt = uint16s(truth.hits_at_cuts); // as `atLeast`
const labels = sum(truth.labels);

const ratesOf = (picks, wanted, hits) => ({
  picks,
  wanted,
  hits,
  precision: picks || wanted ? (picks ? hits / picks : 0) : 1,
  recall: wanted ? hits / wanted : picks ? 0 : 1,
  f1: picks + wanted ? (2 * hits) / (picks + wanted) : 1,
});
const hitsOf = (index) => (state.cut === null ? truth.hits[index] : hitsAt[index * SCORES + state.cut]);

export const ratesOfMicrograph = (index) => ratesOf(state.picks[index], truth.labels[index], hitsOf(index));
/** Rates of the picks as they are written. */
export const written = ratesOf(sum(data.picks), labels, sum(truth.hits));
/** Rates at the slider. */
export const ratesNow = () => ratesOf(sum(state.picks), labels, sum(data.picks.map((_, index) => hitsOf(index))));

/** Rates at every cut that leaves a pick. */
export const curve = [];
for (let k = data.floor; k < SCORES && data.truth; k++) {
  let [picks, hits] = [0, 0];
  for (let index = 0; index < count; index++) {
    picks += atLeast[index * SCORES + k];
    hits += hitsAt[index * SCORES + k];
  }
  if (picks) curve.push({ k, ...ratesOf(picks, labels, hits) });
}
/** The cut with the highest F1; null where no cut leaves a pick. */
export const best = curve.reduce((found, point) => (!found || point.f1 > found.f1 ? point : found), null);

/** What the caption of a card and the viewer say of a micrograph; nothing in a report without labels. */
export const captionOf = (index) => (data.truth ? ` · F1 ${number(ratesOfMicrograph(index).f1, 2)}` : "");
export const factsOf = (index) => {
  if (!data.truth) return "";
  const { hits, picks, wanted, f1 } = ratesOfMicrograph(index);
  return `${number(hits)} hits, ${number(picks - hits)} false, ${number(wanted - hits)} missed, F1 ${number(f1, 3)}, `;
};
