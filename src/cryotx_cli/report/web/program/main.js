/** Everything that follows the threshold, and when it is drawn. */

import { drawAgreementPlots } from "./agreement_plots.js";
import { forget } from "./canvas.js";
import { dropAsWritten } from "./class_counts.js";
import { drawWhere, updateClasses, watchMarks } from "./class_marks.js";
import { showCrops } from "./crops.js";
import { count, data, scoreAt } from "./data.js";
import { at } from "./dom.js";
import { arrange, drawVisibleCards, fillCards, showCounts } from "./gallery.js";
import { showOutliers } from "./outliers.js";
import { drawPlots } from "./plots.js";
import { watchPrint } from "./print.js";
import { best } from "./rates.js";
import { showBar, watchCut } from "./slider.js";
import { recount, state } from "./state.js";
import { fillTable, sortTable } from "./table.js";
import { watchTheme } from "./theme.js";
import { drawViewer } from "./viewer.js";
import { number } from "./words.js";

const draw = () => {
  forget();
  drawPlots();
  if (data.truth) drawAgreementPlots();
  drawVisibleCards();
  drawWhere();
  drawViewer();
};
const update = () => {
  recount();
  showBar();
  showOutliers();
  showCounts();
  if (data.truth) {
    fillTable();
    showCrops();
  }
  updateClasses();
  draw();
};
const sort = () => {
  arrange();
  if (data.truth) sortTable();
};

let waiting = false;
const soon = (work) => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    work();
  });
};

const setCut = (cut) => {
  state.cut = cut;
  update();
  arrange();
};
watchCut(
  (cut) => {
    state.cut = cut;
    soon(update);
  },
  // Cards change places when the slider is let go, not under the eye that compares them.
  () => requestAnimationFrame(sort),
);
at("reset").addEventListener("click", () => {
  dropAsWritten();
  setCut(null);
  at("cut").focus();
});
at("best")?.addEventListener("click", () => setCut(best.k));

watchMarks(
  () => soon(draw),
  () => {
    update();
    arrange();
  },
);

const showKeys = () => {
  const rings = at("show").value === "agreement";
  at("score-key").hidden = rings;
  if (data.truth) at("agreement-key").hidden = !rings;
};
at("show").addEventListener("change", () => {
  showKeys();
  draw();
});
watchTheme(draw);
watchPrint(draw, arrange);
addEventListener("resize", () => soon(draw));
const resized = new ResizeObserver(() => soon(draw));
for (const plot of document.querySelectorAll("canvas.plot")) resized.observe(plot);
// The pictures stand at the end of the file: what is in view fills in when they have arrived.
addEventListener("DOMContentLoaded", () => {
  drawVisibleCards();
  drawWhere();
  if (data.truth) showCrops();
  fillCards();
});

const colours = data.colours.filter((_, k) => k % 10 === 0);
at("key").style.background = `linear-gradient(to right, ${colours.join(", ")})`;
at("key-low").textContent = `score ${number(data.scores[0])}`;
at("key-high").textContent = number(data.scores[1]);
if (data.floor > 0) {
  at("floor-note").hidden = false;
  at("floor-note").textContent =
    `Candidates with a score below ${number(scoreAt(data.floor), 2)} are not in this file.`;
}
at("live").hidden = !count;
at("defocus-section").hidden = data.defocus.every((value) => value === null);
if (data.truth) at("reliability-section").hidden = data.scores[0] !== 0 || data.scores[1] !== 1 || !data.adjustable;
showKeys();
update();
sort();
