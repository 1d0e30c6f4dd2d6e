/** Axes of a plot, with ticks at round numbers. */

import { cleared, colour, line, paint } from "./canvas.js";
import { number } from "./words.js";

const ticks = (low, high, wanted, whole) => {
  const rough = Math.max((high - low) / wanted || 1, whole ? 1 : 0); // 1.5 micrographs are none
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step || 0); // no -0
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
};

/**
 * Draw axes from `left` to `right` and from 0 to `top`; return the context and the functions that place a value.
 * `whole`: only whole numbers lie across; `fractions`: up there are also others.
 */
export const axes = (canvas, [left, right], top, xLabel, yLabel, { whole = false, fractions = false } = {}) => {
  const { context, width, height } = cleared(canvas);
  const box = { left: 52, right: width - 12, top: 28, bottom: height - 40 };
  const x = (value) => box.left + ((value - left) / (right - left || 1)) * (box.right - box.left);
  const y = (value) => box.bottom - (Math.min(value, top) / (top || 1)) * (box.bottom - box.top);
  const text = (words, px, py, align, baseline) => {
    context.textAlign = align;
    context.textBaseline = baseline;
    context.fillText(words, px, py);
  };
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1;
  context.fillStyle = colour("quiet");
  context.strokeStyle = colour("line");
  const up = ticks(0, top, 5, !fractions);
  for (const value of up.found) {
    const level = Math.round(y(value)) + 0.5; // sharp
    line(context, [
      [box.left, level],
      [box.right, level],
    ]);
    text(number(value, up.digits), box.left - 8, y(value), "right", "middle");
  }
  const across = ticks(left, right, Math.max(2, Math.floor(width / 80)), whole);
  for (const value of across.found) text(number(value, across.digits), x(value), box.bottom + 7, "center", "top");
  text(xLabel, box.right, height - 1, "right", "bottom");
  text(yLabel, 0, 0, "left", "top");
  return { context, x, y, box };
};

/** Draw where the cut lies across; what is written next has its colour. */
export const drawCut = ({ context, x, box }, cut) => {
  paint(context, colour("text"));
  context.lineWidth = 1.5;
  line(context, [
    [x(cut), box.top - 4],
    [x(cut), box.bottom],
  ]);
};
