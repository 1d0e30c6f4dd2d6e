/** How many picks are expected to be false, from what the run found in noise; nothing in a run without decoys. */

import { changeByClasses, falseOfClass, inDropped } from "./class_counts.js";
import { sum } from "./counts.js";
import { data, SCORES, scoreAt } from "./data.js";
import { at } from "./dom.js";
import { state } from "./state.js";
import { number } from "./words.js";

export const decoys = data.expected_false;

const falseFrom = new Float64Array(SCORES + 1); // of the candidates with a score of at least k hundredths
for (let k = SCORES - 1; k >= 0 && decoys; k--) falseFrom[k] = falseFrom[k + 1] + decoys.of_scores[k];

/** Share of false ones among so many picks with a score of at least k hundredths. */
export const falseShareAt = (k, picks) => falseFrom[k] / Math.max(picks, 1);

/** Say it for the picks at the slider. */
export const showFalsePicks = () => {
  const picks = sum(state.picks);
  const { cut } = state;
  const ofClass = (slot) => falseOfClass(slot, cut);
  const expected = cut === null ? decoys.written + changeByClasses(ofClass) : falseFrom[cut] - inDropped(ofClass);
  const share = Math.max(0, expected) / Math.max(picks, 1);
  at("false-total").textContent = number(Math.max(0, expected));
  at("false-share").textContent = picks ? `(${number(100 * share, 1)} %)` : "";
  if (data.truth) at("expected-precision").textContent = picks ? `(expected ${number(1 - share, 3)})` : "";
};

if (decoys) {
  const cut = decoys.automatic;
  at("automatic-cut").textContent = cut === null ? "automatic cut: none" : `automatic cuts ▲ around ${number(cut, 2)}`;
  for (const mark of document.querySelectorAll("i.automatic")) {
    mark.hidden = cut === null;
    const [low, high] = [scoreAt(data.floor), scoreAt(SCORES - 1)];
    mark.style.setProperty("--at", (Math.max(cut, low) - low) / (high - low || 1));
  }
}
