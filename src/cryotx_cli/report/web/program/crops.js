/** Galleries of misses and false picks, cut out of their micrographs. */

import { sum } from "./counts.js";
import { data, indexOf, unpicked } from "./data.js";
import { at, keepOneStop, make, makeButton, roving } from "./dom.js";
import { pairUp } from "./pairs.js";
import { candidatesOf, endOf, truthOf } from "./pictures.js";
import { ratesNow } from "./rates.js";
import { open } from "./viewer.js";
import { number } from "./words.js";

const makePicture = (jpeg, diameters) => {
  const picture = make("span", "crop");
  if (jpeg) {
    const image = make("img");
    image.alt = "";
    image.src = `data:image/jpeg;base64,${jpeg}`;
    picture.append(image);
  }
  const ring = make("span", "circle");
  const side = `${100 / diameters}%`;
  ring.style.width = side;
  ring.style.height = side;
  picture.append(ring);
  return picture;
};

const labelOf = ({ kind, position, score }, words) => {
  const name = data.names[indexOf.get(position)];
  if (kind === "false") return `False pick on ${name}, score ${words}`;
  return `Miss on ${name}, ${score === null ? "no candidate" : `rejected candidate ${words}`}`;
};

const makeCrop = (crop, diameters) => {
  const score = crop.score === null ? "–" : number(crop.score, 2);
  const item = make("li");
  const button = makeButton();
  button.tabIndex = -1;
  button.append(makePicture(crop.jpeg, diameters), make("span", "value", score));
  button.title = data.full_names[indexOf.get(crop.position)];
  button.setAttribute("aria-label", labelOf(crop, score));
  button.addEventListener("click", () => open(crop.position, button, crop));
  item.append(button);
  return { crop, item, button };
};

const made = { miss: [], false: [] };
if (data.truth) {
  const { diameters, crops } = JSON.parse(at("crop-data").textContent);
  const lists = { miss: at("misses"), false: at("false") };
  for (const crop of crops) {
    const one = makeCrop(crop, diameters);
    made[crop.kind].push(one);
    lists[crop.kind].append(one.item);
  }
  for (const list of Object.values(lists)) roving(list, () => [...list.querySelectorAll("li:not([hidden]) button")]);
}

/** Picks and labels of a micrograph at the slider; null while it is being loaded. */
const pairsAt = (position) => {
  const [candidates, truth] = [candidatesOf(position), truthOf(position)];
  if (!candidates || !truth) return null;
  const end = endOf(position, candidates);
  return { end, ...pairUp(truth, end) };
};
const isRight = ({ kind, index }, { end, hit, found }) =>
  kind === "miss" ? found[index] === 1 : index >= end || hit[index] === 1;

const showKind = (kind, id, all) => {
  const visible = made[kind].filter(({ item }) => !item.hidden);
  const here = data.adjustable ? " at this threshold" : "";
  at(id).textContent = all === 0 ? `None${here}.` : `${number(visible.length)} of the ${number(all)}${here} are shown.`;
  keepOneStop(
    made[kind].map(({ button }) => button),
    visible.map(({ button }) => button),
  );
};
/** Hide the crops that are no longer wrong at the slider. */
export const showCrops = () => {
  const known = new Map();
  for (const { crop, item } of [...made.miss, ...made.false]) {
    if (!known.has(crop.position)) known.set(crop.position, pairsAt(crop.position));
    const pairs = known.get(crop.position);
    if (!pairs) continue; // as it is written
    const hidden = isRight(crop, pairs);
    if (item.hidden !== hidden) item.hidden = hidden;
  }
  const { wanted, picks, hits } = ratesNow();
  const elsewhere = sum([...unpicked].map((index) => data.truth.labels[index]));
  showKind("miss", "misses-count", wanted - hits - elsewhere);
  showKind("false", "false-count", picks - hits);
};
