/** The table of agreement by micrograph. */

import { data, shown, unpicked } from "./data.js";
import { at, make, makeButton } from "./dom.js";
import { ratesNow, ratesOfMicrograph } from "./rates.js";
import { open } from "./viewer.js";
import { number } from "./words.js";

const COLUMNS = [
  ["Micrograph", null],
  ["Labels", (rates) => rates.wanted],
  ["Picks", (rates) => rates.picks],
  ["Hits", (rates) => rates.hits],
  ["Misses", (rates) => rates.wanted - rates.hits],
  ["False picks", (rates) => rates.picks - rates.hits],
  ["Precision", (rates) => rates.precision],
  ["Recall", (rates) => rates.recall],
  ["F1", (rates) => rates.f1],
];
const FIRST_FRACTION = 6;

const sorting = { column: 0, down: false };
const body = make("tbody");

const headings = COLUMNS.map(([name], column) => {
  const heading = make("th");
  heading.scope = "col";
  const button = makeButton("", name);
  button.addEventListener("click", () => {
    sorting.down = sorting.column === column ? !sorting.down : false;
    sorting.column = column;
    sortTable();
  });
  heading.append(button);
  return heading;
});

const makeRow = (name, index) => {
  const row = make("tr");
  const cells = COLUMNS.map(() => make("td"));
  const position = data.positions[index];
  if (shown.has(position)) {
    const button = makeButton("", name);
    button.addEventListener("click", () => open(position, button));
    cells[0].append(button);
  } else cells[0].textContent = name;
  cells[0].title = data.full_names[index];
  row.append(...cells);
  return { index, row, cells };
};
const nameOf = (name, index) => (unpicked.has(index) ? `${name} (not picked)` : name);
const rows = data.truth ? data.names.map((name, index) => makeRow(nameOf(name, index), index)) : [];
const total = COLUMNS.map(() => make("td"));
total[0].textContent = "All";

if (data.truth) {
  const [head, foot, line, last] = [make("thead"), make("tfoot"), make("tr"), make("tr")];
  line.append(...headings);
  head.append(line);
  last.append(...total);
  foot.append(last);
  body.append(...rows.map(({ row }) => row));
  at("agreement").append(head, body, foot);
}

export const sortTable = () => {
  const { column, down } = sorting;
  headings.forEach((heading, i) => {
    if (i === column) heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    else heading.removeAttribute("aria-sort");
  });
  const value = ({ index }) => (column ? COLUMNS[column][1](ratesOfMicrograph(index)) : index);
  const ordered = rows.map((row) => [value(row), row]);
  ordered.sort((a, b) => (down ? b[0] - a[0] : a[0] - b[0]) || a[1].index - b[1].index);
  body.replaceChildren(...ordered.map(([, { row }]) => row));
};

const fill = (cells, rates) => {
  for (let column = 1; column < COLUMNS.length; column++) {
    const text = number(COLUMNS[column][1](rates), column >= FIRST_FRACTION ? 3 : 0);
    if (cells[column].textContent !== text) cells[column].textContent = text;
  }
};
/** Fill the cells with the rates at the slider. */
export const fillTable = () => {
  fill(total, ratesNow());
  for (const { index, cells } of rows) fill(cells, ratesOfMicrograph(index));
};
