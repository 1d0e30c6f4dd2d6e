/** Which part of a micrograph the viewer shows: enlarged by wheel, pinch, keys and buttons, moved by hand and arrows. */

import { at } from "./dom.js";
import { number } from "./words.js";

const MOST = 16;
const STEP = 1.5; // of a key or a button
const CLOSE = 3; // what a double click enlarges to
const NUDGE = 0.2; // of what is shown, for an arrow key

const view = { zoom: 1, x: 0.5, y: 0.5 }; // the place in the middle, as a fraction of the micrograph
let whole = null; // how large the micrograph is where all of it is shown
let part = null; // how much of it was shown when it was drawn last

const clamped = (value, low, high) => Math.min(Math.max(value, low), high);

export const isEnlarged = () => view.zoom > 1;
const sizeNow = () => ({ width: whole.width * view.zoom, height: whole.height * view.zoom });
/** Show all of the micrograph again. */
export const showWhole = () => Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });

/**
 * Where the micrograph lies in a room that is `fit` large where all of it is shown: the size of the whole, its corner,
 * and the size of the part that is shown.
 */
export const frameIn = (room, fit) => {
  whole = fit;
  const { width, height } = sizeNow();
  const shown = { width: Math.min(width, room.width), height: Math.min(height, room.height) };
  const half = { x: shown.width / width / 2, y: shown.height / height / 2 };
  view.x = clamped(view.x, half.x, 1 - half.x);
  view.y = clamped(view.y, half.y, 1 - half.y);
  part = shown;
  at("zoom-value").textContent = `${number(view.zoom, view.zoom % 1 ? 1 : 0)}×`;
  at("zoom-out").disabled = view.zoom <= 1;
  at("zoom-in").disabled = view.zoom >= MOST;
  return { width, height, left: shown.width / 2 - view.x * width, top: shown.height / 2 - view.y * height, shown };
};

/** Move what is shown by so many px. */
const moveBy = (dx, dy) => {
  const { width, height } = sizeNow();
  view.x -= dx / width;
  view.y -= dy / height;
};
/** Enlarge by a factor; what lies `dx`, `dy` px from the middle stays where it is. */
const zoomBy = (factor, dx = 0, dy = 0) => {
  moveBy(-dx, -dy);
  view.zoom = clamped(view.zoom * factor, 1, MOST);
  moveBy(dx, dy);
};

const KEYS = { "+": STEP, "=": STEP, "-": 1 / STEP, _: 1 / STEP };
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
/** Do what a key says; return whether it says anything here. */
export const zoomByKey = (key) => {
  if (key in KEYS) zoomBy(KEYS[key]);
  else if (key === "0") showWhole();
  else if (key in ARROWS && isEnlarged()) {
    const [dx, dy] = ARROWS[key];
    moveBy(dx * NUDGE * part.width, dy * NUDGE * part.height);
  } else return false;
  return true;
};

/** Follow the pointers over `picture`, and the buttons; call `changed` when another part is to be shown. */
export const watchZoom = (picture, changed) => {
  const fromMiddle = (event) => {
    const { left, top, width, height } = picture.getBoundingClientRect();
    return [event.clientX - left - width / 2, event.clientY - top - height / 2];
  };
  picture.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
      zoomBy(2 ** (-clamped(event.deltaY * lines, -240, 240) / 240), ...fromMiddle(event));
      changed();
    },
    { passive: false },
  );
  picture.addEventListener("dblclick", (event) => {
    if (isEnlarged()) showWhole();
    else zoomBy(CLOSE, ...fromMiddle(event));
    changed();
  });

  const pointers = new Map();
  const middleOf = () => {
    const all = [...pointers.values()];
    const mean = (name) => all.reduce((total, pointer) => total + pointer[name], 0) / all.length;
    const [clientX, clientY] = [mean("clientX"), mean("clientY")];
    const gap = all.length > 1 ? Math.hypot(all[0].clientX - all[1].clientX, all[0].clientY - all[1].clientY) : 0;
    return { clientX, clientY, gap };
  };
  const leave = (event) => {
    pointers.delete(event.pointerId);
    picture.classList.toggle("held", pointers.size > 0);
  };
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    picture.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    picture.classList.add("held");
  });
  picture.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middleOf();
    pointers.set(event.pointerId, event);
    const now = middleOf();
    moveBy(now.clientX - before.clientX, now.clientY - before.clientY);
    if (before.gap && now.gap) zoomBy(now.gap / before.gap, ...fromMiddle(now));
    changed();
  });
  for (const name of ["pointerup", "pointercancel"]) picture.addEventListener(name, leave);

  for (const [id, key] of [
    ["zoom-in", "+"],
    ["zoom-out", "-"],
    ["zoom-value", "0"],
  ])
    at(id).addEventListener("click", () => {
      zoomByKey(key);
      changed();
    });
};
