/** One micrograph, as large as the window. */

import { count, data, indexOf, shown } from "./data.js";
import { at } from "./dom.js";
import { cards, order } from "./gallery.js";
import { drawMark, drawPicks, drawScaleBar } from "./picks.js";
import { showPicture } from "./pictures.js";
import { factsOf } from "./rates.js";
import { isOutlier, side, state } from "./state.js";
import { counted, number } from "./words.js";

const viewer = at("viewer");
let from = null; // gets the focus back
let mark = null; // a place to point at

const showFacts = (index, entry) => {
  const outlier = isOutlier(index) ? ` (outlier: ${side(index)})` : "";
  const defocus = data.defocus[index] === null ? "" : `defocus ${number(data.defocus[index] / 1e4, 2)} µm, `;
  const size = entry.pixel_size?.toLocaleString("en", { maximumFractionDigits: 3 });
  at("viewer-name").textContent = data.full_names[index];
  at("viewer-facts").textContent =
    `${counted(state.picks[index])}${outlier}, ${factsOf(index)}${defocus}` +
    (size === undefined ? "" : `${size} Å per pixel, `) +
    `micrograph ${number(entry.position + 1)} of ${number(count + data.skipped.length)}`;
};

export const drawViewer = () => {
  if (state.open === null) return;
  const entry = shown.get(state.open);
  const room = at("viewer-room").getBoundingClientRect();
  const scale = Math.min(room.width / entry.width, room.height / entry.height);
  const picture = viewer.querySelector(".picture");
  picture.style.width = `${Math.floor(entry.width * scale)}px`;
  picture.style.height = `${Math.floor(entry.height * scale)}px`;
  showPicture(viewer.querySelector("img"), state.open);
  const drawn = drawPicks(viewer.querySelector("canvas"), state.open);
  drawScaleBar(drawn, entry);
  if (mark) drawMark(drawn, entry, mark);
  showFacts(indexOf.get(state.open), entry);
  const place = order.indexOf(state.open);
  at("previous").disabled = place <= 0;
  at("next").disabled = place < 0 || place >= order.length - 1;
  if (!viewer.contains(document.activeElement) || document.activeElement.disabled) at("viewer-room").focus();
};

/** Show a micrograph; `opener` gets the focus back, `place` is one to point at. */
export const open = (position, opener = null, place = null) => {
  [state.open, from, mark] = [position, opener, place];
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
  if (event.target.type === "range") return; // there the arrows move the threshold
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
viewer.querySelector(".slide").hidden = !data.adjustable;
