/** Keys: everything that the mouse does. */

import { openAdapt } from "./adapt.js";
import { drawSoon, pointer } from "./circles.js";
import { openClasses } from "./classes.js";
import { erase, mark, removeBox, takeBack, toggle } from "./correct.js";
import { at } from "./dom.js";
import { next, nextOpen, nextOutlier, previous, showList } from "./list.js";
import { enlarge, middle, move, pixelAt, showAll } from "./picture.js";
import { dropBox, setMode } from "./pointing.js";
import { changed, state } from "./state.js";
import { writeFiles } from "./writing.js";

const STEP_PX = 60;

const cross = () => {
  at("cross").hidden = false;
  return pixelAt(middle());
};
const pan = (x, y) => {
  cross();
  move(x, y);
};
const resize = (factor) => {
  state.brush *= factor;
  changed();
};
const remove = () => {
  if (state.box) removeBox();
  else erase([cross()]);
};
const turnCheck = (id) => at(id).click();
const turnColours = () => {
  const list = at("colours");
  list.selectedIndex = (list.selectedIndex + 1) % list.options.length;
  list.dispatchEvent(new Event("change"));
};
const leave = () => {
  dropBox();
  showList(false);
  pointer.stroke = [];
  drawSoon();
};

const keys = {
  ArrowLeft: () => pan(-STEP_PX, 0),
  ArrowRight: () => pan(STEP_PX, 0),
  ArrowUp: () => pan(0, -STEP_PX),
  ArrowDown: () => pan(0, STEP_PX),
  "+": () => enlarge(1.4),
  "=": () => enlarge(1.4),
  "-": () => enlarge(1 / 1.4),
  0: showAll,
  Enter: () => toggle(cross()),
  " ": () => toggle(cross()),
  Delete: remove,
  Backspace: remove,
  Escape: leave,
  PageDown: next,
  PageUp: previous,
  "[": () => resize(1 / 1.25),
  "]": () => resize(1.25),
  p: () => setMode("pick"),
  e: () => setMode("erase"),
  b: () => setMode("box"),
  v: () => setMode("look"),
  d: () => mark("done"),
  x: () => mark("bad"),
  u: nextOpen,
  o: nextOutlier,
  t: () => at("threshold").focus(),
  f: () => at("lowpass").focus(),
  s: () => at("contrast").focus(),
  a: openAdapt,
  g: openClasses,
  i: () => turnCheck("invert"),
  r: () => turnCheck("show-rejected"),
  c: turnColours,
  l: () => showList(),
  "?": () => at("help").showModal(),
};

const withControl = (event) => {
  const key = event.key.toLowerCase();
  if (key === "z") return () => takeBack(event.shiftKey ? "redo" : "undo");
  if (key === "y") return () => takeBack("redo");
  return key === "s" ? writeFiles : null;
};

/** Keys that a control needs for itself stay its own. */
const isOwn = (event) => {
  const { target, key } = event;
  if (target.matches('input[type="search"]')) return key !== "Escape" && key !== "PageDown" && key !== "PageUp";
  if (target.matches('input[type="range"], select'))
    return /^(Arrow|Home|End|Page|Enter| )/.test(key) || (target.matches("select") && /^[a-z]$/i.test(key));
  return target.matches('button, a, input[type="checkbox"]') && (key === "Enter" || key === " ");
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey || !state.review) return;
  if (event.ctrlKey || event.metaKey) {
    const work = event.target.matches('input[type="search"]') ? null : withControl(event);
    if (work && state.view) {
      event.preventDefault();
      work();
    }
    return;
  }
  if (isOwn(event)) return;
  const work = keys[event.key] ?? keys[event.key.toLowerCase()];
  if (!work || (!state.view && event.key !== "?")) return;
  event.preventDefault();
  work();
});
at("help-button").addEventListener("click", () => at("help").showModal());
