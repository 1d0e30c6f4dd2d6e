/** The list of micrographs, and going from one to the next. */

import { at, counted, make, number, onceAFrame } from "./dom.js";
import { outlierRule } from "./outliers.js";
import { tell } from "./server.js";
import { micrograph, onChange, state } from "./state.js";

const MARKS = { done: ["✓", "done"], bad: ["✗", "bad"] };
let open = () => {};
/** Call `work` with the position of a micrograph that is to be shown. */
export const onOpen = (work) => {
  open = work;
};

const isOpen = (one) => !one.mark && !one.error;
const filters = {
  all: () => true,
  open: isOpen,
  done: (one) => one.mark === "done",
  bad: (one) => one.mark === "bad",
  changed: (one) => one.corrected,
};
const orders = {
  position: () => 0,
  fewest: (a, b) => a.picks - b.picks,
  most: (a, b) => b.picks - a.picks,
  defocus: (a, b) => (b.defocus ?? 0) - (a.defocus ?? 0),
};

const shown = () => {
  const words = at("find").value.trim().toLowerCase();
  const wanted = filters[at("filter").value] ?? outlierRule();
  const found = state.review.micrographs.filter((one) => wanted(one) && one.name.toLowerCase().includes(words));
  return found.sort(orders[at("order").value]);
};

const more = (one, outlier) => {
  if (one.error) return "skipped";
  const parts = [];
  if (one.defocus) parts.push(`${(one.defocus / 10000).toFixed(2)} µm`);
  if (one.film > 0) parts.push(`film ${Math.round(100 * one.film)} %`);
  if (one.corrected) parts.push("corrected");
  if (outlier) parts.push("outlier");
  return parts.join(", ");
};

/** The name of a micrograph without the folder that all share. */
export const shortName = (name) => name.slice(sharedFolder(state.review.micrographs.map((one) => one.name)));

/** How many letters of all names are the folder that they share. */
const sharedFolder = (names) => {
  const folder = names[0]?.slice(0, names[0].lastIndexOf("/") + 1) ?? "";
  const parts = folder.split("/");
  while (parts.length > 1 && !names.every((name) => name.startsWith(parts.join("/")))) parts.splice(-2, 1);
  return parts.length > 1 ? parts.join("/").length : 0;
};

/** Rows as they were drawn, and of what: most stay the same when one micrograph changes. */
const drawn = new Map();
const rowOf = (one, isOutlier, begin) => {
  const outlier = isOutlier(one);
  const isShown = state.view?.position === one.position;
  const { name, picks, mark, corrected, error, defocus, film } = one;
  const of = [name, picks, mark, corrected, error, defocus, film, outlier, isShown, begin].join("\n");
  const before = drawn.get(one.position);
  if (before?.of === of) return before.item;
  const item = made(one, outlier, isShown, begin);
  drawn.set(one.position, { of, item });
  return item;
};

const made = (one, outlier, isShown, begin) => {
  const [item, button] = [make("li"), make("button")];
  button.type = "button";
  button.dataset.position = one.position;
  const [sign, word] = MARKS[one.mark] ?? ["", ""];
  const mark = make("span", `mark-${word}`, sign);
  if (word) mark.title = word;
  const name = make("span", "name");
  name.textContent = one.name.slice(begin);
  button.title = one.name;
  button.append(mark, name, make("span", "count", one.error ? "–" : number(one.picks)));
  const about = more(one, outlier);
  if (about) button.append(make("span", outlier ? "more outlier" : "more", about));
  if (isShown) button.setAttribute("aria-current", "true");
  item.append(button);
  return item;
};

/** Replace the rows that have changed, if they are of the same micrographs in the same order as before. */
const replacedAlone = (list, rows) => {
  const before = [...list.children];
  const place = (item) => item.firstChild.dataset.position;
  if (before.length !== rows.length || rows.some((one, i) => place(one) !== place(before[i]))) return false;
  for (const [i, one] of rows.entries()) if (one !== before[i]) before[i].replaceWith(one);
  return true;
};

let shownLast = null;
const draw = () => {
  if (!state.review) return;
  const isOutlier = outlierRule();
  const begin = sharedFolder(state.review.micrographs.map((one) => one.name));
  const list = at("micrographs");
  const focused = list.contains(document.activeElement);
  const rows = shown().map((one) => rowOf(one, isOutlier, begin));
  if (!replacedAlone(list, rows)) list.replaceChildren(...rows);
  const current = list.querySelector('[aria-current="true"]');
  if (focused && !list.contains(document.activeElement)) current?.focus();
  if (shownLast !== state.view?.position) current?.scrollIntoView({ block: "nearest" });
  shownLast = state.view?.position;
  const marked = state.review.micrographs.filter((one) => one.mark === "done").length;
  at("progress").textContent = `${counted(state.review.micrographs.length, "micrographs")}, ${number(marked)} done`;
};

/** Show the next micrograph of the list that is `wanted`, going round at its end; say `none` where there is none. */
const go = (step, wanted, none = "No other micrograph is in the list") => {
  const all = shown();
  const here = all.findIndex((one) => one.position === state.heading);
  for (let i = 1; i <= all.length; i++) {
    const one = all[(here + step * i + all.length * i) % all.length];
    if (wanted(one)) {
      if (one.position === state.heading) break;
      open(one.position);
      return;
    }
  }
  tell(none);
};
export const next = () => go(1, (one) => !one.error);
export const previous = () => go(-1, (one) => !one.error);
export const nextOpen = () => go(1, isOpen, "No other micrograph is left to review");
export const nextOutlier = () => go(1, outlierRule(), "No other micrograph has far more or fewer picks than usual");
/** Position of the micrograph behind the one that is shown; null where there is none. */
export const following = () => {
  const all = shown();
  const here = all.findIndex((one) => one.position === state.view?.position);
  return all[here + 1]?.position ?? null;
};

const drawSoon = onceAFrame(draw);
for (const [id, event] of [
  ["find", "input"],
  ["filter", "change"],
  ["order", "change"],
])
  at(id).addEventListener(event, drawSoon);
at("micrographs").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || micrograph(Number(button.dataset.position)).error) return;
  showList(false);
  open(Number(button.dataset.position));
});

export const showList = (wanted = !at("list").classList.contains("open")) => {
  at("list").classList.toggle("open", wanted);
  at("list-button").setAttribute("aria-expanded", wanted ? "true" : "false");
  if (wanted) at("find").focus();
};
at("list-button").addEventListener("click", () => showList());
for (const [id, work] of [
  ["next", next],
  ["previous", previous],
  ["next-open", nextOpen],
  ["next-outlier", nextOutlier],
])
  at(id).addEventListener("click", work);
onChange(drawSoon);
