/** What is drawn on a micrograph: its picks as the reader wants to see them, and a scale bar. */

import { circle, cleared, colour } from "./canvas.js";
import { classAt, isDropped } from "./class_counts.js";
import { data, indexOf, shown } from "./data.js";
import { at } from "./dom.js";
import { drawFilm } from "./film.js";
import { drawAgreement } from "./pairs.js";
import { candidatesOf, endOf } from "./pictures.js";
import { state } from "./state.js";

const FAINT = 0.4; // what is not of the class that is marked
/** Round lengths of a scale bar. */
export const BARS_NM = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/**
 * Draw the picks and the film of a micrograph on a canvas that shows all of it, or the part that `frame` says: the size
 * of the whole and where its corner lies on the canvas. Return the context and the frame.
 */
export const drawPicks = (canvas, position, frame = null) => {
  const whole = cleared(canvas);
  const drawn = { left: 0, top: 0, shown: whole, ...whole, ...frame };
  const { context, width, height, left, top } = drawn;
  const { diameter } = shown.get(position);
  const candidates = candidatesOf(position);
  const show = at("show").value;
  if (!candidates) return drawn;
  if (show !== "none") drawFilm(drawn, shown.get(position));
  const end = endOf(position, candidates);
  const unit = (diameter / 255) * width;
  const circleOf = (i) => [
    left + (candidates.x[i] / 65535) * width,
    top + (candidates.y[i] / 65535) * height,
    Math.max(1.5, (candidates.diameter[i] * unit) / 2),
  ];
  if (show === "agreement") {
    drawAgreement(drawn, position, end, circleOf);
    return drawn;
  }
  // Thin where particles are small: what is in the circle has to be seen.
  const thickness = Math.min(width > 500 ? 2 : 1.5, Math.max(0.8, (diameter * width) / 12));
  const index = indexOf.get(position);
  const slotOf = (i) => classAt(index, i);
  const drawCircle = (i) => {
    if (i < end && !isDropped(slotOf(i))) circle(context, ...circleOf(i), thickness, data.colours[candidates.score[i]]);
    else if (show === "all") circle(context, ...circleOf(i), 1, "#ffffffb0", [3, 3]);
  };
  context.globalAlpha = state.marked ? FAINT : 1;
  // The best on top.
  const last = { all: candidates.n, none: 0 }[show] ?? end;
  for (let i = last - 1; i >= 0; i--) drawCircle(i);
  context.globalAlpha = 1;
  for (let i = end - 1; i >= 0 && state.marked; i--)
    if (slotOf(i) === state.marked)
      circle(context, ...circleOf(i), 1.8 * thickness, colour("mark"), isDropped(state.marked) ? [3, 3] : []);
  return drawn;
};

export const drawScaleBar = ({ context, width, shown: { width: room, height } }, entry) => {
  if (entry.pixel_size === null) return;
  const perPixel = (entry.pixel_size * entry.width) / width / 10; // nm
  const length = BARS_NM.filter((nm) => nm / perPixel <= room / 4).pop();
  if (!length) return;
  context.font = "600 13px system-ui, sans-serif";
  context.lineJoin = "round";
  context.fillStyle = "#000c";
  context.fillRect(12, height - 20, length / perPixel + 4, 8);
  context.lineWidth = 3;
  context.strokeStyle = "#000c";
  context.strokeText(`${length} nm`, 14, height - 27);
  context.fillStyle = "#fff";
  context.fillRect(14, height - 18, length / perPixel, 4);
  context.fillText(`${length} nm`, 14, height - 27);
};

/** Corners around a place of a micrograph, in its pixels. */
export const drawMark = ({ context, width, height, left, top }, entry, mark) => {
  const x = left + ((mark.x + 0.5) / entry.width) * width;
  const y = top + ((mark.y + 0.5) / entry.height) * height;
  const half = Math.max(14, (0.8 * mark.diameter * width) / entry.width);
  const arm = half / 2.5;
  for (const [style, thickness] of [
    ["#000b", 5],
    ["#fff", 2.5],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = thickness;
    context.beginPath();
    for (const [sx, sy] of [
      [-1, -1],
      [1, -1],
      [1, 1],
      [-1, 1],
    ]) {
      context.moveTo(x + sx * half, y + sy * (half - arm));
      context.lineTo(x + sx * half, y + sy * half);
      context.lineTo(x + sx * (half - arm), y + sy * half);
    }
    context.stroke();
  }
};
