/** Support film and large ice crystals that were left out: outlined and hatched, and told of in words. */

import { colour, line } from "./canvas.js";
import { data } from "./data.js";
import { number } from "./words.js";

const HATCH = 14; // px between its lines

/** Draw the film of a micrograph. `drawn`: the context, the size of the whole micrograph on it, and its corner. */
export const drawFilm = ({ context, width, height, left, top }, entry) => {
  if (!entry.film.length) return;
  const shape = new Path2D();
  for (const outline of entry.film) {
    for (const [i, [x, y]] of outline.entries()) {
      const place = [left + ((x + 0.5) / entry.width) * width, top + ((y + 0.5) / entry.height) * height];
      if (i) shape.lineTo(...place);
      else shape.moveTo(...place);
    }
    shape.closePath();
  }
  const { clientWidth, clientHeight } = context.canvas;
  context.save();
  context.clip(shape, "evenodd");
  context.strokeStyle = colour("film");
  context.lineWidth = 1;
  for (let x = Math.round(left + top) % HATCH; x < clientWidth + clientHeight; x += HATCH)
    line(context, [
      [x, 0],
      [x - clientHeight, clientHeight],
    ]);
  context.restore();
  for (const [style, thickness] of [
    ["#000a", 4],
    [colour("film"), 2],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = thickness;
    context.stroke(shape);
  }
};

/** What the caption of a micrograph says of its film; nothing where there is none. */
export const filmOf = (index) => {
  const share = 100 * (data.film[index] ?? 0);
  return share > 0 ? `film or ice on ${share < 1 ? "less than 1" : number(share)} %` : "";
};
