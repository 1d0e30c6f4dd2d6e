/** Canvases as sharp as the screen, the colours of the theme, and circles that cost little. */

import { make } from "./dom.js";

let ink = null;
/** Pixels of a canvas for each of the page: those of the screen, or as many as paper needs; null: of the screen. */
export const setInk = (pixels) => {
  ink = pixels;
};
const sharpness = () => ink ?? (window.devicePixelRatio || 1);

/** Fit a canvas to its place on the page and clear it. */
export const cleared = (canvas) => {
  const scale = sharpness();
  const { width, height } = canvas.getBoundingClientRect();
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
};

const palette = new Map(); // of the theme; looking up a colour can make the browser lay out the page
/** A colour of the style sheet, by its name there. */
export const colour = (name) => {
  if (!palette.has(name))
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return palette.get(name);
};
/** Set the colour of lines and of what is filled. */
export const paint = (context, style) => {
  context.strokeStyle = style;
  context.fillStyle = style;
};
export const line = (context, points) => {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y); // the first begins the line
  context.stroke();
};
export const disc = (context, x, y, radius) => {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
};
export const ring = (context, x, y, radius) => {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
};

// Circles are stamped: stroking thousands of them at every move of the slider is what would make it slow.
const stamps = new Map();
const MOST_STAMPS = 2000;
const LARGEST_STAMP = 64; // radius in pixels of a canvas: few larger circles are in view at a time
const rim = (context, thickness, style, dash, scale) => {
  // Dark below: light colours vanish on bright ice.
  for (const [shade, width, dashes] of [
    ["#00000070", 1.8, []],
    [style, 1, dash],
  ]) {
    context.strokeStyle = shade;
    context.lineWidth = width * thickness;
    context.setLineDash(dashes.map((length) => length * scale));
    context.stroke();
  }
  context.setLineDash([]);
};
const stampOf = (radius, thickness, style, dash) => {
  const scale = sharpness();
  const size = Math.round(radius * scale * 4) / 4; // pixels of the screen
  const key = [size, thickness, style, dash, scale].join();
  if (!stamps.has(key)) {
    const stamp = make("canvas");
    stamp.width = 2 * Math.ceil(size + 1.8 * thickness * scale) + 1;
    stamp.height = stamp.width;
    const context = stamp.getContext("2d");
    context.arc(stamp.width / 2, stamp.height / 2, size, 0, 2 * Math.PI);
    rim(context, thickness * scale, style, dash, scale);
    stamps.set(key, stamp);
  }
  return stamps.get(key);
};
/** A circle around (x, y), the colour `style` on a dark rim. */
export const circle = (context, x, y, radius, thickness, style, dash = []) => {
  const { clientWidth, clientHeight } = context.canvas;
  const reach = radius + 2 * thickness;
  if (x < -reach || y < -reach || x > clientWidth + reach || y > clientHeight + reach) return;
  const scale = sharpness();
  if (radius * scale > LARGEST_STAMP) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    rim(context, thickness, style, dash, 1);
    return;
  }
  const stamp = stampOf(radius, thickness, style, dash);
  const corner = (value) => Math.round(value * scale - stamp.width / 2) / scale; // whole pixels stay sharp
  context.drawImage(stamp, corner(x), corner(y), stamp.width / scale, stamp.height / scale);
};

/** Before everything is drawn anew: the theme may be another. */
export const forget = () => {
  palette.clear();
  if (stamps.size > MOST_STAMPS) stamps.clear();
};
