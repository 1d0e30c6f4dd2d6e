/** What the mouse, a pen or fingers do on the micrograph. */

import { drawSoon, pointer } from "./circles.js";
import { erase, removeBox, toggle } from "./correct.js";
import { at, counted, onceAFrame, press } from "./dom.js";
import { isIn, picksOf } from "./picks.js";
import { pixelAt, viewer } from "./picture.js";
import { changed, onChange, state } from "./state.js";

const LEAST_STEP = 0.3; // of the eraser's radius
const buttons = [...at("modes").querySelectorAll("button")];

export const setMode = (mode) => {
  state.mode = mode;
  state.box = null;
  pointer.stroke = [];
  changed();
};

const draws = () => state.view && (state.mode === "erase" || state.mode === "box");

viewer.addHandler("canvas-click", (event) => {
  if (!event.quick || !state.view) return;
  const place = pixelAt(event.position);
  at("cross").hidden = true;
  if (state.mode === "pick") toggle(place);
  if (state.mode === "erase") erase([place]);
});

viewer.addHandler("canvas-drag", (event) => {
  if (!draws()) return;
  event.preventDefaultAction = true;
  const place = pixelAt(event.position);
  if (state.mode === "box") {
    const start = pointer.stroke[0] ?? pixelAt(event.position.minus(event.delta));
    pointer.stroke = [start];
    state.box = [...start, ...place];
    changed();
    return;
  }
  const last = pointer.stroke.at(-1);
  if (!last) pointer.stroke.push(pixelAt(event.position.minus(event.delta)));
  if (!last || Math.hypot(last[0] - place[0], last[1] - place[1]) > LEAST_STEP * state.brush)
    pointer.stroke.push(place);
  pointer.at = place;
  drawSoon();
});

viewer.addHandler("canvas-drag-end", (event) => {
  if (!draws()) return;
  event.preventDefaultAction = true;
  if (state.mode === "erase" && pointer.stroke.length) erase([...pointer.stroke, pixelAt(event.position)]);
  pointer.stroke = [];
  changed();
});

at("room").addEventListener("pointermove", (event) => {
  if (state.mode !== "erase" || !state.view) return;
  const room = at("room").getBoundingClientRect();
  pointer.at = pixelAt({ x: event.clientX - room.left, y: event.clientY - room.top });
  drawSoon();
});
at("room").addEventListener("pointerleave", () => {
  pointer.at = null;
  drawSoon();
});

for (const button of buttons) button.addEventListener("click", () => setMode(button.dataset.mode));

export const dropBox = () => {
  state.box = null;
  changed();
};
at("remove-selected").addEventListener("click", removeBox);
at("drop-selection").addEventListener("click", dropBox);

const show = onceAFrame(() => {
  at("room").dataset.mode = state.mode;
  for (const button of buttons) press(button, button.dataset.mode === state.mode);
  at("selection").hidden = !state.box || pointer.stroke.length > 0;
  if (state.box && state.view) {
    const region = { kind: "box", box: state.box };
    const inside = picksOf(state.view, state.cut).filter(({ x, y }) => isIn(region, x, y));
    at("selected").textContent = `${counted(inside.length, "picks")} in the box`;
  }
});
onChange(show);
