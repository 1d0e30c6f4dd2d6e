/** Circles around picks, the outline of film, the eraser and the box: drawn over the micrograph. */

import { BY_HAND, colourOf, colourOfClass, FILM, PLAIN } from "./colours.js";
import { at, onceAFrame } from "./dom.js";
import { classesOf, picksOf, rejectedOf } from "./picks.js";
import { placing, viewer } from "./picture.js";
import { onChange, state } from "./state.js";

const canvas = at("circles");
const pen = canvas.getContext("2d");
/** Where the pointer is, in px of the micrograph, and the stroke under way. */
export const pointer = { at: null, stroke: [] };

const resize = () => {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
};

const circle = (place, x, y, radius, colour, width) => {
  const [cx, cy, r] = [place.scale * x + place.left, place.scale * y + place.top, Math.max(3, place.scale * radius)];
  if (cx < -r || cy < -r || cx > canvas.clientWidth + r || cy > canvas.clientHeight + r) return;
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(cx, cy, r, 0, 2 * Math.PI);
  pen.stroke();
};

const drawPicks = (place, picks) => {
  const { colours, rejected } = state.look;
  if (colours === "none") return;
  if (rejected) {
    pen.setLineDash([3, 4]);
    for (const [x, y, score, diameter] of rejectedOf(state.view, picks))
      circle(place, x, y, diameter / 2, colours === "score" ? colourOf(score) : "#bbb", 1);
    pen.setLineDash([]);
  }
  const classOf = state.view.classes.length ? classesOf(state.view) : () => 0;
  // The best above the others, and above all what was added, the newest last.
  const added = picks.filter((one) => one.added);
  for (const one of [...picks.slice(added.length).reverse(), ...added]) {
    const number = classOf(one);
    if (state.hiddenClasses.has(number)) continue;
    circle(place, one.x, one.y, one.diameter / 2, "#0009", 3.5);
    circle(place, one.x, one.y, one.diameter / 2, colour(one, number, colours), 2);
  }
};

const colour = (one, number, colours) => {
  if (one.added) return BY_HAND;
  if (colours === "class") return colourOfClass(number);
  return colours === "score" ? colourOf(one.score) : PLAIN;
};

const drawFilm = (place) => {
  pen.strokeStyle = FILM;
  pen.lineWidth = 2;
  for (const outline of state.view.film) {
    pen.beginPath();
    for (const [x, y] of outline) pen.lineTo(place.scale * x + place.left, place.scale * y + place.top);
    pen.closePath();
    pen.stroke();
  }
};

const drawStroke = (place) => {
  const radius = place.scale * state.brush;
  if (pointer.stroke.length) {
    pen.strokeStyle = "#ff5a4d66";
    pen.lineWidth = 2 * radius;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    for (const [x, y] of pointer.stroke) pen.lineTo(place.scale * x + place.left, place.scale * y + place.top);
    pen.lineTo(place.scale * pointer.stroke[0][0] + place.left, place.scale * pointer.stroke[0][1] + place.top);
    if (pointer.stroke.length > 1) {
      pen.beginPath();
      for (const [x, y] of pointer.stroke) pen.lineTo(place.scale * x + place.left, place.scale * y + place.top);
    }
    pen.stroke();
  }
  if (pointer.at) circle(place, ...pointer.at, state.brush, "#ff5a4d", 2);
};

const drawBox = (place) => {
  const [x0, y0, x1, y1] = state.box;
  const corner = [place.scale * x0 + place.left, place.scale * y0 + place.top];
  const size = [place.scale * (x1 - x0), place.scale * (y1 - y0)];
  pen.fillStyle = "#4ff0ff22";
  pen.fillRect(...corner, ...size);
  for (const [colour, width] of [
    ["#000a", 4],
    ["#fff", 2],
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(...corner, ...size);
  }
};

const draw = () => {
  resize();
  const place = placing();
  if (!place || !state.view) return;
  canvas.dataset.place = [place.scale, place.left, place.top].join(" "); // for those who drive the page by program
  if (state.look.film) drawFilm(place);
  drawPicks(place, picksOf(state.view, state.cut));
  if (state.mode === "erase") drawStroke(place);
  if (state.box) drawBox(place);
};

export const drawSoon = onceAFrame(draw);

viewer.addHandler("update-viewport", drawSoon);
viewer.addHandler("open", drawSoon);
new ResizeObserver(drawSoon).observe(canvas);
onChange(drawSoon);
