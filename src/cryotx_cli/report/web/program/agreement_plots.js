/** Plots of the agreement with the labels: precision over recall, rates over the threshold, reliability of scores. */

import { axes, drawCut } from "./axes.js";
import { colour, disc, line, paint, ring } from "./canvas.js";
import { perScore } from "./counts.js";
import { data, SCORES, scoreAt } from "./data.js";
import { at } from "./dom.js";
import { decoys, falseShareAt } from "./false_picks.js";
import { best, curve, ratesNow, written } from "./rates.js";
import { cutNow, state } from "./state.js";
import { number } from "./words.js";

const drawEqualF1 = ({ context, x, y, box }) => {
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  context.clip();
  context.lineWidth = 1;
  paint(context, colour("soft"));
  context.textAlign = "right";
  context.textBaseline = "bottom";
  for (const f1 of [0.2, 0.4, 0.6, 0.8]) {
    const points = [];
    for (let recall = f1 / (2 - f1); recall < 1.005; recall += 0.01)
      points.push([x(recall), y((f1 * recall) / (2 * recall - f1))]);
    line(context, points);
    context.fillText(number(f1, 1), box.right - 3, y(f1 / (2 - f1)) - 2);
  }
  context.restore();
};

const drawCurve = () => {
  const canvas = at("curve");
  const plot = axes(canvas, [0, 1], 1, "recall", "precision", { fractions: true });
  const { context, x, y } = plot;
  drawEqualF1(plot);
  context.strokeStyle = colour("accent");
  context.lineWidth = 2;
  const place = ({ recall, precision }) => [x(recall), y(precision)];
  line(context, curve.map(place));
  if (best && data.adjustable) {
    const [bx, by] = place(best);
    context.strokeStyle = colour("outlier");
    line(context, [
      [bx, by - 7],
      [bx + 7, by],
      [bx, by + 7],
      [bx - 7, by],
      [bx, by - 7],
    ]);
  }
  paint(context, colour("accent"));
  disc(context, ...place(written), 5);
  if (state.cut !== null) {
    context.fillStyle = colour("panel");
    disc(context, ...place(ratesNow()), 5);
    ring(context, ...place(ratesNow()), 5);
  }
  canvas.setAttribute(
    "aria-label",
    `Precision over recall. Picks as they are: precision ${number(written.precision, 3)}, recall ` +
      `${number(written.recall, 3)}. Average precision ${number(data.truth.average_precision, 3)}.`,
  );
};

const drawExpectedPrecision = ({ context, x, y }) => {
  context.strokeStyle = colour("precision");
  context.lineWidth = 1;
  line(
    context,
    curve.map(({ k, picks }) => [x(scoreAt(k)), y(1 - falseShareAt(k, picks))]),
  );
};

const drawRates = () => {
  const canvas = at("rates");
  const ends = [scoreAt(data.floor), scoreAt(SCORES - 1)];
  const plot = axes(canvas, ends, 1, "threshold", "", { fractions: true });
  const { context, x, y } = plot;
  for (const [name, width, dash] of [
    ["precision", 2, [7, 4]],
    ["recall", 2, [2, 3]],
    ["f1", 3, []],
  ]) {
    context.strokeStyle = colour(name);
    context.lineWidth = width;
    context.setLineDash(dash);
    line(
      context,
      curve.map((point) => [x(scoreAt(point.k)), y(point[name])]),
    );
  }
  context.setLineDash([]);
  if (decoys) drawExpectedPrecision(plot);
  const cut = cutNow();
  if (cut !== null) drawCut(plot, cut);
  const summary = best ? `highest F1 ${number(best.f1, 3)} at ${number(scoreAt(best.k), 2)}` : "no picks";
  canvas.setAttribute("aria-label", `Precision, recall and F1 over the threshold: ${summary}.`);
};

/** Candidates of a tenth of the scores: how many, how many with a label, and their mean score. */
const tenth = (from) => {
  let [all, hits, scores] = [0, 0, 0];
  for (let k = from; k < (from === 90 ? SCORES : from + 10); k++) {
    all += perScore[k];
    hits += data.truth.chances[k];
    scores += perScore[k] * Math.min(1, (k + 0.5) / 100);
  }
  return { all, share: hits / all, score: scores / all };
};
/** Wilson's interval: it stays between 0 and 1 and holds for few candidates. */
const interval = ({ all, share }) => {
  const z2 = 1.96 ** 2;
  const middle = (share + z2 / (2 * all)) / (1 + z2 / all);
  const half = (1.96 / (1 + z2 / all)) * Math.sqrt((share * (1 - share)) / all + z2 / (4 * all * all));
  return [middle - half, middle + half];
};

const drawReliability = () => {
  const canvas = at("reliability");
  const { context, x, y } = axes(canvas, [0, 1], 1, "score", "share with a label", { fractions: true });
  context.strokeStyle = colour("soft");
  context.lineWidth = 1;
  context.setLineDash([5, 4]);
  line(context, [
    [x(0), y(0)],
    [x(1), y(1)],
  ]);
  context.setLineDash([]);
  paint(context, colour("accent"));
  context.lineWidth = 2;
  const said = [];
  for (let from = 0; from < 100; from += 10) {
    const here = tenth(from);
    if (here.all < 10) continue;
    line(
      context,
      interval(here).map((share) => [x(here.score), y(share)]),
    );
    disc(context, x(here.score), y(here.share), 4);
    said.push(`${number(here.score, 2)}: ${number(here.share, 2)}`);
  }
  canvas.setAttribute("aria-label", `Share of candidates with a label over their score. ${said.join(", ")}.`);
};

export const drawAgreementPlots = () => {
  drawCurve();
  if (data.adjustable) drawRates();
  if (!at("reliability-section").hidden) drawReliability();
};
