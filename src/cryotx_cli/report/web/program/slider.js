/** The bar that stays in view: the sliders, the totals at them, and the command that makes them so. */

import { areAsWritten, classes, numbersDropped, picksAt } from "./class_counts.js";
import { sum } from "./counts.js";
import { count, data, SCORES, scoreAt } from "./data.js";
import { at } from "./dom.js";
import { decoys, showFalsePicks } from "./false_picks.js";
import { best, ratesNow, written } from "./rates.js";
import { state } from "./state.js";
import { number } from "./words.js";

const sliders = document.querySelectorAll("input.cut");
/** The slider's setting whose total comes nearest to the picks of the run, which may have had a cut per micrograph. */
const equivalentCut = () => {
  if (data.threshold !== null) return Math.max(data.floor, Math.round(data.threshold * 100));
  const total = sum(data.picks);
  let nearest = data.floor;
  let gap = Infinity;
  for (let k = data.floor; k < SCORES; k++) {
    const here = Math.abs(sum(picksAt(k)) - total);
    if (here < gap) [nearest, gap] = [k, here];
  }
  return nearest;
};
const start = equivalentCut();

const asPicked = data.keeps_nothing ? "nothing is kept, as picked" : "a cut for each micrograph, as picked";

const showRates = () => {
  const rates = ratesNow();
  for (const name of ["f1", "precision", "recall"]) at(`now-${name}`).textContent = number(rates[name], 3);
};

const showSliders = (here) => {
  const perMicrograph = state.cut === null && data.threshold === null;
  const value = perMicrograph ? (data.keeps_nothing ? "none" : data.own_cuts) : number(scoreAt(here), 2);
  for (const input of sliders) {
    input.value = here / 100;
    at(`${input.id}-value`).textContent = value;
    input.setAttribute("aria-valuetext", perMicrograph ? asPicked : value);
  }
};

/** The command that makes the picks those of the page. */
const commandNow = () => {
  const words = [data.command];
  if (state.cut !== null) words.push("--threshold", number(scoreAt(state.cut), 2));
  if (!areAsWritten()) words.push("--drop-classes", numbersDropped().join(",") || "none");
  return words.join(" ");
};

export const showBar = () => {
  const total = sum(state.picks);
  const change = total - written.picks;
  const here = state.cut === null ? start : state.cut;
  showSliders(here);
  at("total").textContent = number(total);
  at("change").textContent = change ? `(${change > 0 ? "+" : "−"}${number(Math.abs(change))}) ` : "";
  const { middle } = state.spread;
  at("typical").textContent = count ? `· ${number(middle, middle % 1 ? 1 : 0)} per micrograph, median` : "";
  const isAsPicked = state.cut === null && areAsWritten();
  at("as-picked").hidden = !isAsPicked;
  at("other").hidden = isAsPicked;
  at("command").textContent = commandNow();
  if (data.truth) showRates();
  if (decoys) showFalsePicks();
};

/** Call `moved` with the cut whenever a slider moves or another cut is chosen, and `settled` once it rests. */
export const watchCut = (moved, settled) => {
  for (const input of sliders) {
    input.min = data.floor / 100;
    input.addEventListener("input", () => moved(Math.round(Number(input.value) * 100)));
    input.addEventListener("change", settled);
  }
};

at("bar").hidden = !count || !(data.adjustable || classes.length);
for (const input of sliders) input.closest(".slide").hidden = !data.adjustable;
at("command").hidden = data.command === null;
at("copy").hidden = data.command === null;
at("copy").addEventListener("click", async () => {
  const button = at("copy");
  try {
    await navigator.clipboard.writeText(at("command").textContent);
  } catch {
    getSelection().selectAllChildren(at("command")); // no clipboard for this page: selected, for the user to copy
    if (!document.execCommand("copy")) return;
  }
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
});
if (data.truth) {
  at("best").hidden = !best || !data.adjustable;
  if (best) at("best").textContent = `Highest F1: ${number(best.f1, 3)} at ${number(scoreAt(best.k), 2)}`;
}
