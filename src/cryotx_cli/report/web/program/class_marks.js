/** Where the picks of a class lie: marked on all micrographs, and shown on one of them beside the averages. */

import {
  areAsWritten,
  classes,
  drop,
  dropAsWritten,
  inDropped,
  isDropped,
  numbersDropped,
  picksOfClass,
  picksOfClassOn,
  unclassed,
} from "./class_counts.js";
import { showClasses, showMarked, watchClasses } from "./class_gallery.js";
import { data, indexOf, shown } from "./data.js";
import { at } from "./dom.js";
import { drawPicks } from "./picks.js";
import { showPicture } from "./pictures.js";
import { state } from "./state.js";
import { open } from "./viewer.js";
import { counted, number } from "./words.js";

const be = (value) => (value === 1 ? "is" : "are");
const slots = classes.map((_, i) => i + 1);
const suggestions = slots.filter((slot) => classes[slot - 1].suggested);
const where = { slot: 0, position: null }; // what is shown beside the averages

/** The picture that shows most picks of a class. */
const bestPicture = (slot) => {
  let [best, most] = [data.gallery[0]?.position ?? null, -1];
  for (const { position } of data.gallery) {
    const here = picksOfClassOn(indexOf.get(position), slot, state.cut);
    if (here > most) [best, most] = [position, here];
  }
  return best;
};

/** Draw the micrograph beside the averages. */
export const drawWhere = () => {
  if (!classes.length || where.position === null) return;
  const figure = at("where");
  showPicture(figure.querySelector("img"), where.position);
  drawPicks(figure.querySelector("canvas"), where.position);
};
const showWhere = () => {
  const slot = state.marked || where.slot || 1;
  const position = slot === where.slot && state.marked !== slot ? where.position : bestPicture(slot);
  Object.assign(where, { slot, position });
  at("where").hidden = position === null;
  if (position === null) return;
  const { width, height } = shown.get(position);
  at("where").querySelector(".picture").style.aspectRatio = `${width} / ${height}`;
  const index = indexOf.get(position);
  const here = picksOfClassOn(index, slot, state.cut);
  at("where").querySelector("figcaption").textContent = state.marked
    ? `Class ${classes[slot - 1].number}: ${number(here)} of its ${counted(picksOfClass(slot, state.cut))} ${here === 1 ? "lies" : "lie"} on ${data.names[index]}.`
    : `${data.names[index]}. Point at a class, and its picks are marked here and on the micrographs below.`;
};

const tellOfDropped = () => {
  const more = slots.filter((slot) => classes[slot - 1].resolution !== null);
  const kept = more.filter((slot) => !isDropped(slot));
  const lost = inDropped((slot) => picksOfClass(slot, state.cut));
  const parts = [
    numbersDropped().length
      ? `Dropped: ${numbersDropped().join(", ")}, with ${counted(lost)}. Of ${number(more.length)} classes that are more than noise ${number(kept.length)} ${be(kept.length)} kept.`
      : `${number(more.length)} of ${number(classes.length)} classes are more than noise. None is dropped.`,
  ];
  const few = classes.filter(({ verdict }) => verdict === "too few");
  if (few.length) parts.push(`${number(few.length)} ${few.length === 1 ? "has" : "have"} too few picks to tell.`);
  const unclear = classes.filter(({ verdict }) => verdict === "unclear");
  if (unclear.length)
    parts.push(
      `${number(unclear.length)} ${be(unclear.length)} unclear: averages show nothing sure, but the scores do.`,
    );
  const rest = unclassed(state.cut);
  if (rest) parts.push(`${counted(rest)} ${be(rest)} in no class.`);
  at("classes-told").textContent = parts.join(" ");
  at("drop-as-written").hidden = areAsWritten();
  at("drop-suggested").hidden = !suggestions.some((slot) => !isDropped(slot));
};

/** Follow the slider and what is dropped. */
export const updateClasses = () => {
  if (!classes.length) return;
  showClasses();
  tellOfDropped();
  showWhere();
};

/** Call `marked` when other picks are to be marked, `changed` when other classes are dropped. */
export const watchMarks = (marked, changed) => {
  if (!classes.length) return;
  let [pointedAt, keptMark] = [0, 0];
  const mark = () => {
    const before = state.marked;
    state.marked = pointedAt || keptMark;
    showMarked(keptMark);
    at("viewer-class").value = state.marked;
    if (before === state.marked) return;
    showWhere();
    marked();
  };
  const keep = (slot) => {
    keptMark = slot;
    mark();
  };
  watchClasses({
    pointed: (slot) => {
      pointedAt = slot;
      mark();
    },
    clicked: (slot) => keep(keptMark === slot ? 0 : slot),
    ticked: changed,
  });
  at("viewer-class").append(new Option("none", 0));
  for (const slot of slots) {
    const { number: name, ...one } = classes[slot - 1];
    at("viewer-class").append(new Option(`${name}, ${one.words}`, slot));
  }
  at("viewer-class").addEventListener("change", () => {
    pointedAt = 0;
    keep(Number(at("viewer-class").value));
  });
  const picture = at("where").querySelector("button");
  picture.addEventListener("click", () => {
    pointedAt = 0;
    keep(where.slot);
    open(where.position, picture);
  });
  const numbers = suggestions.map((slot) => classes[slot - 1].number).sort((a, b) => a - b);
  at("drop-suggested").textContent = `Drop ${numbers.join(", ")}, as auto would`;
  at("drop-suggested").addEventListener("click", () => {
    drop([...slots.filter(isDropped), ...suggestions]);
    changed();
  });
  at("drop-as-written").addEventListener("click", () => {
    dropAsWritten();
    changed();
  });
};
