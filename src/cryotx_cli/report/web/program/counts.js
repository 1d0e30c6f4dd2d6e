/** How many candidates and picks there are at every setting of the slider. */

import { count, data, SCORES, uint16s } from "./data.js";

export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** atLeast[index * SCORES + k]: candidates of a micrograph with a score of at least k hundredths. */
export const atLeast = new Uint32Array(count * SCORES);
/** Candidates of all micrographs by their score. */
export const perScore = new Float64Array(SCORES);
{
  const counts = uint16s(data.counts);
  for (let index = 0; index < count; index++) {
    let above = 0;
    for (let k = SCORES - 1; k >= 0; k--) {
      const here = counts[index * SCORES + k];
      perScore[k] += here;
      above += here;
      atLeast[index * SCORES + k] = above;
    }
  }
}

const median = (values) => {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
export const spread = (values) => {
  const middle = values.length ? median(values) : 0;
  const deviation = values.length ? 1.4826 * median(values.map((value) => Math.abs(value - middle))) : 0;
  return { middle, deviation: Math.max(deviation, Math.sqrt(middle), 1) };
};
