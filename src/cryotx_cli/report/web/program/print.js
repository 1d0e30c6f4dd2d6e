/** On paper: by day, and every picture, whatever the screen shows. */

import { setInk } from "./canvas.js";
import { make } from "./dom.js";
import { clearHiddenCards, drawAllCards, showAllCards } from "./gallery.js";

const INK = 2; // pixels for each of the page

/**
 * Put a bitmap in the place of what is drawn on a canvas: Chromium prints a canvas stroke by stroke, in another scale, on
 * white. Return the bitmap.
 */
const asBitmap = (canvas) => {
  const drawn = new OffscreenCanvas(canvas.width, canvas.height);
  drawn.getContext("2d").drawImage(canvas, 0, 0);
  const bitmap = make("canvas", canvas.className);
  [bitmap.width, bitmap.height] = [canvas.width, canvas.height];
  bitmap.getContext("bitmaprenderer").transferFromImageBitmap(drawn.transferToImageBitmap());
  canvas.replaceWith(bitmap);
  return bitmap;
};

/** `draw` draws all but the hidden cards, `arrange` shows the cards that the reader has chosen. */
export const watchPrint = (draw, arrange) => {
  const root = document.documentElement;
  let theme = null; // of the screen, while paper has its own
  let bitmaps = [];

  addEventListener("beforeprint", () => {
    if (theme !== null) return;
    theme = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    root.classList.add("paper");
    setInk(INK);
    showAllCards();
    draw();
    drawAllCards();
    const drawn = [...document.querySelectorAll("main canvas")].filter(({ width }) => width > 0);
    bitmaps = drawn.map((canvas) => [canvas, asBitmap(canvas)]);
  });
  addEventListener("afterprint", () => {
    if (theme === null) return;
    for (const [canvas, bitmap] of bitmaps) bitmap.replaceWith(canvas);
    bitmaps = [];
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    theme = null;
    root.classList.remove("paper");
    setInk(null);
    arrange();
    clearHiddenCards();
    draw();
  });
};
