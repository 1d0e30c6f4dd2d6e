/** Micrographs with far fewer or far more picks than the others, by the rule of the report. */

import { state } from "./state.js";

const [ENOUGH, OUTLIER] = [5, 3.5];

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/** A function that tells whether a micrograph stands out. */
export const outlierRule = () => {
  const picked = state.review.micrographs.filter((one) => !one.error);
  if (picked.length < ENOUGH) return () => false;
  const counts = picked.map((one) => one.picks);
  const usual = median(counts);
  const deviation = Math.max(1.4826 * median(counts.map((one) => Math.abs(one - usual))), Math.sqrt(usual), 1);
  return (one) => !one.error && Math.abs(one.picks - usual) > OUTLIER * deviation;
};
