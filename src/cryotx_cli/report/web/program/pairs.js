/** Picks against the labels of one micrograph: hits, false picks and misses. */

import { circle, colour } from "./canvas.js";
import { data, indexOf } from "./data.js";
import { truthOf } from "./pictures.js";

/** One to one, nearest first: of the candidates before `end` those with a label, and the labels with a pick. */
export const pairUp = ({ n, candidate, label }, end) => {
  const [hit, found] = [new Uint8Array(end), new Uint8Array(n)];
  for (let i = 0; i < candidate.length; i++) {
    const [pick, wanted] = [candidate[i], label[i]];
    if (pick < end && !hit[pick] && !found[wanted]) {
      hit[pick] = 1;
      found[wanted] = 1;
    }
  }
  return { hit, found };
};

/** Draw hits, false picks above them, and misses on a micrograph; `circleOf` gives x, y and radius of a candidate. */
export const drawAgreement = ({ context, width, height, left, top }, position, end, circleOf) => {
  const truth = truthOf(position);
  if (!truth) return;
  const { hit, found } = pairUp(truth, end);
  const radius = (data.truth.diameters[indexOf.get(position)] * width) / 2;
  const thickness = Math.min(width > 500 ? 2 : 1.5, Math.max(0.8, radius / 6));
  for (const [wanted, name, factor] of [
    [1, "hit", 1],
    [0, "false", 1.5],
  ])
    for (let i = 0; i < end; i++)
      if (hit[i] === wanted) circle(context, ...circleOf(i), factor * thickness, colour(name));
  for (let j = 0; j < truth.n; j++) {
    if (found[j]) continue;
    const [x, y] = [left + (truth.x[j] / 65535) * width, top + (truth.y[j] / 65535) * height];
    circle(context, x, y, Math.max(1.5, radius), 1.5 * thickness, colour("miss"), [4, 3]);
  }
};
