/** One micrograph, as large as the window. */

import { classes, picksOfClassOn } from "./class_counts.js";
import { count, data, indexOf, shown, unpicked } from "./data.js";
import { at } from "./dom.js";
import { filmOf } from "./film.js";
import { cards, order } from "./gallery.js";
import { drawMark, drawPicks, drawScaleBar } from "./picks.js";
import { showPicture } from "./pictures.js";
import { factsOf } from "./rates.js";
import { isOutlier, side, state } from "./state.js";
import { counted, number } from "./words.js";
import { frameIn, showWhole, watchZoom, zoomByKey } from "./zoom.js";

const viewer = at("viewer");
const picture = viewer.querySelector(".picture");
let from = null; // gets the focus back
let mark = null; // a place to point at
let isDue = false; // to be drawn when the screen shows its next picture

const showFacts = (index, entry) => {
  const outlier = isOutlier(index) ? ` (outlier: ${side(index)})` : "";
  const defocus = data.defocus[index] === null ? "" : `defocus ${number(data.defocus[index] / 1e4, 2)} µm, `;
  const film = filmOf(index) && `${filmOf(index)}, `;
  const size = entry.pixel_size?.toLocaleString("en", { maximumFractionDigits: 3 });
  const marked = state.marked
    ? `class ${classes[state.marked - 1].number}: ${counted(picksOfClassOn(index, state.marked, state.cut))}, `
    : "";
  at("viewer-name").textContent = data.full_names[index];
  at("viewer-facts").textContent =
    `${unpicked.has(index) ? "not picked" : counted(state.picks[index])}${outlier}, ${marked}${factsOf(index)}${defocus}${film}` +
    (size === undefined ? "" : `${size} Å per pixel, `) +
    `micrograph ${number(entry.position + 1)} of ${number(count + data.skipped.length)}`;
};

const place = (element, { width, height }) => {
  element.style.width = `${width}px`;
  element.style.height = `${height}px`;
};
export const drawViewer = () => {
  isDue = false;
  if (state.open === null) return;
  const entry = shown.get(state.open);
  showFacts(indexOf.get(state.open), entry); // first: long words leave less room
  const room = at("viewer-room").getBoundingClientRect();
  const scale = Math.min(room.width / entry.width, room.height / entry.height);
  const fit = { width: Math.floor(entry.width * scale), height: Math.floor(entry.height * scale) };
  const frame = frameIn(room, fit);
  place(picture, frame.shown);
  const image = viewer.querySelector("img");
  place(image, frame);
  image.style.transform = `translate(${frame.left}px, ${frame.top}px)`;
  showPicture(image, state.open);
  const drawn = drawPicks(viewer.querySelector("canvas"), state.open, frame);
  drawScaleBar(drawn, entry);
  if (mark) drawMark(drawn, entry, mark);
  const here = order.indexOf(state.open);
  at("previous").disabled = here <= 0;
  at("next").disabled = here < 0 || here >= order.length - 1;
  if (!viewer.contains(document.activeElement) || document.activeElement.disabled) at("viewer-room").focus();
};

/** Show a micrograph; `opener` gets the focus back, `pointAt` is a place to point at. */
export const open = (position, opener = null, pointAt = null) => {
  [state.open, from, mark] = [position, opener, pointAt];
  showWhole();
  const image = viewer.querySelector("img");
  image.removeAttribute("src");
  delete image.dataset.position;
  if (!viewer.open) viewer.showModal();
  drawViewer();
};
const step = (by) => {
  const there = order[order.indexOf(state.open) + by];
  if (order.includes(state.open) && there !== undefined) open(there);
};

for (const [position, { button }] of cards) button.addEventListener("click", () => open(position));
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => {
  const [position, opener] = [state.open, from];
  [state.open, from, mark] = [null, null, null];
  if (opener?.checkVisibility()) opener.focus();
  else if (order.includes(position)) cards.get(position).button.focus();
});
viewer.addEventListener("keydown", (event) => {
  if (event.target.matches("[type=range], select")) return; // there the arrows choose
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
  if (zoomByKey(event.key)) drawViewer();
  else if (event.key === "ArrowLeft" || event.key === "PageUp") step(-1);
  else if (event.key === "ArrowRight" || event.key === "PageDown") step(1);
  else return;
  event.preventDefault();
});
watchZoom(picture, () => {
  if (!isDue) requestAnimationFrame(drawViewer);
  isDue = true;
});
