/** Plots of the whole run: candidates by score, picks by micrograph and by defocus. */

import { axes, drawCut } from "./axes.js";
import { colour, disc, line, ring } from "./canvas.js";
import { changeByClasses, inDropped, scoresOfClass } from "./class_counts.js";
import { perScore, sum } from "./counts.js";
import { count, data, SCORES, scoreAt, shown, unpicked } from "./data.js";
import { at } from "./dom.js";
import { decoys } from "./false_picks.js";
import { areEnough, cutNow, isOutlier, OUTLIER, state } from "./state.js";
import { open } from "./viewer.js";
import { counted, number } from "./words.js";

const BAR = 2; // hundredths of the slider

/** Picks by score. */
const keptByScore = () => {
  const { cut } = state;
  const ofClass = (k) => (slot) => scoresOfClass(slot, cut)[k];
  if (cut === null) return data.picked_counts.map((n, k) => n + changeByClasses(ofClass(k)));
  return [...perScore].map((n, k) => (k >= cut ? n - inDropped(ofClass(k)) : 0));
};

const barsOfScores = () => {
  const kept = keptByScore();
  const bars = [];
  for (let k = 0; k < SCORES - 1; k += BAR) {
    const end = k + BAR >= SCORES - 1 ? SCORES : k + BAR; // a score of 1 belongs to the last bar
    const wrong = decoys ? sum(decoys.of_scores.slice(k, end)) : 0;
    bars.push({ k, all: sum(perScore.slice(k, end)), picked: sum(kept.slice(k, end)), wrong });
  }
  return bars;
};

/** How many candidates of each bar are expected to be false, and where the automatic cut lies. */
const drawFalse = ({ context, x, y, box }, bars) => {
  context.strokeStyle = colour("outlier");
  context.lineWidth = 2;
  line(
    context,
    bars.flatMap(({ k, wrong }) => [
      [x(scoreAt(k)), y(wrong)],
      [x(scoreAt(k + BAR)), y(wrong)],
    ]),
  );
  if (decoys.automatic === null) return;
  context.fillStyle = colour("text");
  const [tip, level] = [x(decoys.automatic), box.bottom];
  context.beginPath();
  for (const corner of [
    [tip, level - 1],
    [tip - 5, level + 7],
    [tip + 5, level + 7],
  ])
    context.lineTo(...corner);
  context.fill();
};

const drawScores = () => {
  const canvas = at("scores");
  const bars = barsOfScores();
  // The many candidates that are next to nothing would press all others flat: such bars are cut and say so.
  const highest = Math.max(1, ...bars.map((bar) => bar.all));
  const above = Math.max(1, ...bars.filter((bar) => bar.k >= 10).map((bar) => bar.all));
  const top = highest > 4 * above ? 1.5 * above : 1.05 * highest;
  const plot = axes(canvas, data.scores, top, "score", "candidates");
  const { context, x, y, box } = plot;
  const width = x(scoreAt(BAR)) - x(scoreAt(0)) - 1;
  for (const { k, all, picked } of bars) {
    const left = x(scoreAt(k)) + 0.5;
    context.fillStyle = colour("soft");
    context.fillRect(left, y(all), width, box.bottom - y(all));
    context.fillStyle = colour("accent");
    context.fillRect(left, y(picked), width, box.bottom - y(picked));
  }
  if (decoys) drawFalse(plot, bars);
  context.textBaseline = "bottom";
  if (highest > top) {
    context.fillStyle = colour("quiet");
    context.textAlign = "left";
    context.fillText(`lowest scores: up to ${number(highest)} a bar`, box.left + 6, box.top - 4);
  }
  const cut = cutNow();
  if (cut !== null) {
    const right = x(cut) > box.right - 60;
    drawCut(plot, cut);
    context.textAlign = right ? "right" : "left";
    context.fillText(`cut ${number(cut, 2)}`, x(cut) + (right ? -5 : 5), box.top + 8);
  }
  canvas.setAttribute(
    "aria-label",
    `Histogram of ${number(sum(perScore))} candidates by score, ${number(sum(state.picks))} of them picks.`,
  );
};

const points = { series: [], defocus: [] }; // where each micrograph lies in a plot, for the pointer

const drawPoints = (id, { context, x, y }, xOf) => {
  const radius = count > 600 ? 1.6 : count > 120 ? 2.4 : 3.4;
  context.strokeStyle = colour("outlier");
  context.fillStyle = colour("accent");
  context.lineWidth = 2;
  points[id] = [];
  for (let index = 0; index < count; index++) {
    const value = xOf(index);
    if (value === null || unpicked.has(index)) continue;
    const [px, py] = [x(value), y(state.picks[index])];
    points[id].push({ index, px, py });
    if (isOutlier(index)) ring(context, px, py, radius + 2);
    else disc(context, px, py, radius);
  }
};
const topOf = (values) => Math.max(4, 1.08 * values.reduce((most, value) => Math.max(most, value), 0));

const drawSeries = () => {
  const last = count + data.skipped.length;
  const plot = axes(at("series"), [0.5, last + 0.5], topOf(state.picks), "micrograph", "picks", { whole: true });
  const { context, x, y, box } = plot;
  const { middle, deviation } = state.spread;
  const bandTop = y(middle + OUTLIER * deviation);
  at("band-note").hidden = !areEnough;
  if (areEnough) {
    context.fillStyle = colour("band");
    context.fillRect(box.left, bandTop, box.right - box.left, y(Math.max(0, middle - OUTLIER * deviation)) - bandTop);
  }
  context.strokeStyle = colour("soft");
  context.setLineDash([5, 4]);
  line(context, [
    [box.left, y(middle)],
    [box.right, y(middle)],
  ]);
  context.setLineDash([]);
  context.fillStyle = colour("outlier");
  context.textAlign = "center";
  context.textBaseline = "bottom";
  const without = [...data.skipped, ...data.unpicked.map((index) => data.positions[index])];
  for (const position of without) context.fillText("×", x(position + 1), box.bottom + 2);
  drawPoints("series", plot, (index) => data.positions[index] + 1);
  const outliers = data.picks.filter((_, index) => isOutlier(index)).length;
  const skipped = without.length ? ` ${without.length} were ${data.truth ? "not picked" : "skipped"} (×).` : "";
  at("series").setAttribute(
    "aria-label",
    `Picks of ${number(count - unpicked.size)} micrographs in the order of the ${data.truth ? "labels" : "input"}: median ${number(middle)}, ` +
      `${outliers} outliers.${skipped}`,
  );
};

const drawDefocus = () => {
  const known = data.defocus.filter((value) => value !== null).map((value) => value / 1e4);
  if (!known.length) return;
  const low = known.reduce((least, value) => Math.min(least, value), Infinity);
  const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
  const margin = (high - low) * 0.05 || 0.1;
  const plot = axes(at("defocus"), [low - margin, high + margin], topOf(state.picks), "defocus (µm)", "picks");
  drawPoints("defocus", plot, (index) => (data.defocus[index] === null ? null : data.defocus[index] / 1e4));
  at("defocus").setAttribute(
    "aria-label",
    `Picks per micrograph over defocus, ${number(low, 2)} to ${number(high, 2)} µm.`,
  );
};

const nearest = (id, event) => {
  const { left, top } = at(id).getBoundingClientRect();
  const gap = ({ px, py }) => Math.hypot(px - (event.clientX - left), py - (event.clientY - top));
  const best = points[id].reduce((found, point) => (!found || gap(point) < gap(found) ? point : found), null);
  return best && gap(best) < 24 ? best : null;
};
for (const id of ["series", "defocus"]) {
  at(id).addEventListener("pointermove", (event) => {
    const point = nearest(id, event);
    const tip = at("tip");
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = `${data.names[point.index]}: ${counted(state.picks[point.index])}`;
    const room = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - room.width - 8)}px`;
    tip.style.top = `${event.clientY - room.height - 12}px`;
  });
  at(id).addEventListener("pointerleave", () => {
    at("tip").hidden = true;
  });
  at(id).addEventListener("click", (event) => {
    const point = nearest(id, event);
    if (point && shown.has(data.positions[point.index])) open(data.positions[point.index]);
  });
}

export const drawPlots = () => {
  drawScores();
  drawSeries();
  drawDefocus();
};
