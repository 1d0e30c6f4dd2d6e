/** The micrographs as cards, in an order that the reader chooses. */

import { data, indexOf, unpicked } from "./data.js";
import { at, keepOneStop, make, makeButton, roving } from "./dom.js";
import { filmOf } from "./film.js";
import { drawPicks } from "./picks.js";
import { showPicture } from "./pictures.js";
import { captionOf, ratesOfMicrograph } from "./rates.js";
import { isOutlier, side, state } from "./state.js";
import { counted } from "./words.js";

/** By position in the input. */
export const cards = new Map();
/** Positions in the order in which the gallery shows them. */
export let order = [];

const visible = new Set();
const drawCard = (position) => {
  const { image, canvas } = cards.get(position);
  showPicture(image, position);
  drawPicks(canvas, position);
};
export const drawVisibleCards = () => visible.forEach(drawCard);
/** For paper, which shows all of them at once; `clearHiddenCards` gives their memory back. */
export const drawAllCards = () => {
  for (const position of cards.keys()) drawCard(position);
};
const clearCard = ({ canvas }) => {
  [canvas.width, canvas.height] = [0, 0]; // hundreds of canvases would hold a lot of memory
};
export const clearHiddenCards = () => {
  for (const [position, card] of cards) if (!visible.has(position)) clearCard(card);
};

const whenIdle = window.requestIdleCallback ?? setTimeout;
/** Give all cards their picture, a few at a time: whoever prints the page prints all of them. */
export const fillCards = (positions = [...cards.keys()]) => {
  const [first, ...rest] = positions;
  if (first === undefined) return;
  showPicture(cards.get(first).image, first);
  whenIdle(() => fillCards(rest));
};

const watcher = new IntersectionObserver(
  (changes) => {
    for (const { target, isIntersecting } of changes) {
      const position = Number(target.dataset.position);
      if (isIntersecting) {
        visible.add(position);
        drawCard(position);
      } else {
        visible.delete(position);
        clearCard(cards.get(position));
      }
    }
  },
  { rootMargin: "300px" },
);

const makeCard = ({ position, width, height }) => {
  const index = indexOf.get(position);
  const item = make("li");
  const button = makeButton();
  button.tabIndex = -1;
  button.title = data.full_names[index];
  button.dataset.position = position;
  const picture = make("span", "picture");
  picture.style.aspectRatio = `${width} / ${height}`;
  const image = make("img");
  image.alt = "";
  const canvas = make("canvas");
  canvas.setAttribute("aria-hidden", "true");
  picture.append(image, canvas);
  const caption = make("span");
  const picks = make("span", "count");
  const name = make("span", "name"); // both ends matter: where it is too long its middle is left out
  name.append(make("span", "", data.names[index].slice(0, -10)), make("span", "", data.names[index].slice(-10)));
  caption.append(name, picks);
  button.append(picture, caption);
  item.append(button);
  return { item, button, image, canvas, picks };
};
for (const entry of data.gallery) {
  const card = makeCard(entry);
  cards.set(entry.position, card);
  watcher.observe(card.button);
}
roving(at("gallery"), () => order.map((position) => cards.get(position).button));

const ORDERS = {
  position: () => 0,
  fewest: (index) => (unpicked.has(index) ? Infinity : state.picks[index]),
  most: (index) => (unpicked.has(index) ? Infinity : -state.picks[index]),
  worst: (index) => (unpicked.has(index) ? Infinity : ratesOfMicrograph(index).f1),
};
const arrangeThose = (wanted) => {
  const value = (position) => ORDERS[at("order").value](indexOf.get(position));
  order = data.gallery.map((entry) => entry.position).filter(wanted);
  order.sort((a, b) => value(a) - value(b) || a - b); // infinities differ by NaN, which is as good as 0
  const items = order.map((position) => cards.get(position).item);
  const present = [...at("gallery").children];
  if (items.length !== present.length || items.some((item, i) => item !== present[i])) {
    const focused = document.activeElement;
    at("gallery").replaceChildren(...items);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }
  at("gallery-empty").hidden = order.length > 0;
  keepOneStop(
    [...cards.values()].map(({ button }) => button),
    order.map((position) => cards.get(position).button),
  );
};

/** Show the cards that the reader wants to see, in the order that the reader has chosen. */
export const arrange = () =>
  arrangeThose(at("only-outliers").checked ? (position) => isOutlier(indexOf.get(position)) : () => true);
/** Show all of them, whatever else the reader has chosen. */
export const showAllCards = () => arrangeThose(() => true);

/** Caption the cards with their picks. */
export const showCounts = () => {
  for (const [position, { picks, button }] of cards) {
    const index = indexOf.get(position);
    const outlier = isOutlier(index);
    picks.classList.toggle("flag", outlier);
    const found = counted(state.picks[index]) + (outlier ? `, ${side(index)}` : "") + captionOf(index);
    picks.textContent = unpicked.has(index) ? "not picked" : found;
    const words = [data.names[index], picks.textContent, filmOf(index)];
    button.setAttribute("aria-label", words.filter(Boolean).join(", "));
  }
};

for (const id of ["order", "only-outliers"]) at(id).addEventListener("change", arrange);
