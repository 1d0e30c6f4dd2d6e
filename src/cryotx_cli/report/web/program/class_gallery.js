/** Averages of the classes: ticked they are dropped, pointed at they show where their picks are. */

import { classes, dropOne, isDropped, picksOfClass } from "./class_counts.js";
import { data } from "./data.js";
import { at, keepOneStop, make, makeButton, roving } from "./dom.js";
import { BARS_NM } from "./picks.js";
import { state } from "./state.js";
import { counted, number } from "./words.js";

const makeBar = () => {
  const nm = BARS_NM.filter((length) => length <= data.classes.side / 30).pop();
  if (!nm) return "";
  const bar = make("span", "bar", `${nm} nm`);
  bar.style.width = `${(1000 * nm) / data.classes.side}%`;
  return bar;
};

/** A line of two parts, one at each end; return the second, which may change. */
const addLine = (button, first, second) => {
  const line = make("span", "facts");
  const last = make("span", "", second);
  line.append(typeof first === "string" ? make("span", "", first) : first, last);
  button.append(line);
  return last;
};

const makeClass = (one, i) => {
  const item = make("li", one.verdict === "noise" ? "noise" : one.resolution === null ? "untold" : "");
  const button = makeButton();
  button.dataset.slot = i + 1;
  button.tabIndex = -1;
  const picture = make("span", "average");
  const image = make("img");
  image.alt = "";
  image.src = `data:image/png;base64,${one.picture}`;
  picture.append(image, makeBar());
  const name = make("span", "which");
  name.append(make("b", "", number(one.number)), make("span", "resolution", one.words));
  button.append(picture, name);
  const picks = make("span");
  const share = addLine(button, picks, "");
  addLine(button, "score", number(one.score, 2));
  for (const remark of one.remarks) addLine(button, remark, "");
  const tick = make("input");
  tick.type = "checkbox";
  tick.tabIndex = -1;
  const label = make("label", "check");
  label.append(tick, " Drop");
  tick.setAttribute("aria-label", `Drop class ${one.number}`);
  item.append(button, label);
  if (one.suggested) item.append(make("span", "flag suggested", "auto would drop it"));
  return { item, button, tick, picks, share, slot: i + 1, ...one };
};
const averages = classes.map(makeClass);

/** Say how many picks each class has at the slider, and which are dropped. */
export const showClasses = () => {
  const counts = averages.map(({ slot }) => picksOfClass(slot, state.cut));
  const total = counts.reduce((all, one) => all + one, 0);
  for (const [i, { item, button, tick, picks, share, slot, ...one }] of averages.entries()) {
    picks.textContent = counted(counts[i]);
    const percent = (100 * counts[i]) / Math.max(1, total);
    share.textContent = `${number(percent, percent < 9.95 ? 1 : 0)} %`;
    item.classList.toggle("dropped", isDropped(slot));
    tick.checked = isDropped(slot);
    const words = [
      `class ${one.number}`,
      one.words,
      picks.textContent,
      share.textContent,
      `mean score ${number(one.score, 2)}`,
    ];
    if (one.suggested) words.push("auto would drop it");
    if (isDropped(slot)) words.push("dropped");
    button.setAttribute("aria-label", [...words, ...one.remarks].join(", "));
  }
};
/** Show which class is marked, and which stays so. */
export const showMarked = (kept) => {
  for (const { item, button, slot } of averages) {
    item.classList.toggle("marked", slot === state.marked);
    button.setAttribute("aria-pressed", slot === kept);
  }
};

/**
 * Call `pointed` with the class that a pointer or the keyboard is at (0: none), `clicked` with one that is clicked, and
 * `ticked` when another is dropped or comes back.
 */
export const watchClasses = ({ pointed, clicked, ticked }) => {
  for (const { item, button, tick, slot } of averages) {
    item.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && pointed(slot));
    item.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && pointed(0));
    item.addEventListener("focusin", ({ target }) => target.matches(":focus-visible") && pointed(slot));
    item.addEventListener("focusout", () => pointed(0));
    button.addEventListener("click", () => clicked(slot));
    tick.addEventListener("change", () => {
      dropOne(slot, tick.checked);
      ticked();
    });
  }
};

if (averages.length) {
  const grid = at("classes");
  grid.append(...averages.map(({ item }) => item));
  const buttons = averages.map(({ button }) => button);
  roving(grid, () => buttons);
  keepOneStop(buttons, buttons);
  // The tick of a class comes behind it, of the others it is passed over.
  const followTabStop = () => {
    for (const { button, tick } of averages) tick.tabIndex = button.tabIndex;
  };
  grid.addEventListener("focusin", (event) => {
    if (event.target.matches("input"))
      for (const { button, tick } of averages) button.tabIndex = tick === event.target ? 0 : -1;
    followTabStop();
  });
  followTabStop();
}
