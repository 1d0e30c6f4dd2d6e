/** The micrographs that stand out, the worst first. */

import { data, shown } from "./data.js";
import { at, make, makeButton } from "./dom.js";
import { areEnough, isOutlier, state } from "./state.js";
import { open } from "./viewer.js";
import { counted, number, short } from "./words.js";

const MOST_CHIPS = 12;

const makeChip = (index) => {
  const item = make("li");
  const position = data.positions[index];
  const chip = shown.has(position) ? makeButton() : make("span");
  if (shown.has(position)) chip.addEventListener("click", () => open(position));
  chip.append(`${short(data.names[index], 48)} `, make("b", "", counted(state.picks[index])));
  item.append(chip);
  return item;
};

export const showOutliers = () => {
  const gap = (index) => Math.abs(state.picks[index] - state.spread.middle);
  const found = data.picks.map((_, index) => index).filter(isOutlier);
  found.sort((a, b) => gap(b) - gap(a));
  const chips = found.slice(0, MOST_CHIPS).map(makeChip);
  const rest = found.length - chips.length;
  if (rest > 0) chips.push(make("li", "quiet", `and ${number(rest)} more, among the micrographs below`));
  if (!chips.length) chips.push(make("li", "quiet", areEnough ? "None." : "Too few micrographs to tell."));
  at("outliers").replaceChildren(...chips);
};
