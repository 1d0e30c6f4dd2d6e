"use strict";
/**
 * What the true coordinates add to a report: rates, curves, a table, and galleries of misses and false picks.
 * `page` holds what report.js shares; the result is what report.js calls when the threshold moves.
 */
const agreementOf = (page) => {
  const { data, at, make, number, bytes, colour, state, scoreAt, cutNow } = page;
  const truth = data.truth;
  const count = data.names.length;
  const SCORES = 101;
  const rate = (part, whole) => (whole > 0 ? part / whole : 1);
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  // ---- counting ----------------------------------------------------------------------------------------------------

  const hitsAt = new Uint16Array(count * SCORES);
  {
    const raw = new DataView(bytes(truth.hits_at_cuts).buffer);
    for (let i = 0; i < hitsAt.length; i++) hitsAt[i] = raw.getUint16(2 * i, true);
  }
  const labels = sum(truth.labels);
  const ratesOf = (picks, wanted, hits) => ({
    picks,
    wanted,
    hits,
    precision: picks || wanted ? (picks ? hits / picks : 0) : 1,
    recall: wanted ? hits / wanted : picks ? 0 : 1,
    f1: rate(2 * hits, picks + wanted),
  });
  const hitsOf = (index) => (state.cut === null ? truth.hits[index] : hitsAt[index * SCORES + state.cut]);
  const ratesOfMicrograph = (index) => ratesOf(state.picks[index], truth.labels[index], hitsOf(index));
  const curve = [];
  for (let k = data.floor; k < SCORES; k++) {
    let [picks, hits] = [0, 0];
    for (let index = 0; index < count; index++) {
      picks += page.atLeast[index * SCORES + k];
      hits += hitsAt[index * SCORES + k];
    }
    if (picks) curve.push({ k, ...ratesOf(picks, labels, hits) });
  }
  const best = curve.reduce((found, point) => (!found || point.f1 > found.f1 ? point : found), null);
  const written = ratesOf(sum(data.picks), labels, sum(truth.hits));
  const now = () => {
    const hits = sum(data.picks.map((_, index) => hitsOf(index)));
    return ratesOf(sum(state.picks), labels, hits);
  };

  // ---- one micrograph ----------------------------------------------------------------------------------------------

  const unpacked = new Map();
  const truthOf = (position) => {
    if (!unpacked.has(position)) {
      const element = at("m" + position);
      if (!element) return null; // still being loaded
      const raw = new Uint16Array(bytes(element.dataset.truth).buffer);
      const n = truth.labels[page.indexOf.get(position)];
      const pairs = (raw.length - 2 * n) / 2;
      unpacked.set(position, {
        n,
        x: raw.subarray(0, n),
        y: raw.subarray(n, 2 * n),
        candidate: raw.subarray(2 * n, 2 * n + pairs),
        label: raw.subarray(2 * n + pairs),
      });
    }
    return unpacked.get(position);
  };
  /** One to one, nearest first: of the candidates before `end` those with a label, and the labels with a pick. */
  const pairUp = (position, end) => {
    const { n, candidate, label } = truthOf(position);
    const [hit, found] = [new Uint8Array(end), new Uint8Array(n)];
    for (let i = 0; i < candidate.length; i++) {
      const [pick, wanted] = [candidate[i], label[i]];
      if (pick < end && !hit[pick] && !found[wanted]) hit[pick] = found[wanted] = 1;
    }
    return { hit, found };
  };
  const drawPicks = (context, position, candidates, end, width, height) => {
    const here = truthOf(position);
    if (!here) return;
    const { hit, found } = pairUp(position, end);
    const unit = (page.shown.get(position).diameter / 255) * width;
    const misses = (truth.diameters[page.indexOf.get(position)] * width) / 2;
    const line = Math.min(width > 500 ? 2 : 1.5, Math.max(0.8, misses / 6));
    for (const [wanted, name, thickness] of [[1, "hit", 1], [0, "false", 1.5]])
      for (let i = 0; i < end; i++) {
        if (hit[i] !== wanted) continue;
        const radius = Math.max(1.5, (candidates.diameter[i] * unit) / 2);
        const [x, y] = [(candidates.x[i] / 65535) * width, (candidates.y[i] / 65535) * height];
        page.circle(context, x, y, radius, thickness * line, colour(name));
      }
    for (let j = 0; j < here.n; j++) {
      if (found[j]) continue;
      const [x, y] = [(here.x[j] / 65535) * width, (here.y[j] / 65535) * height];
      page.circle(context, x, y, Math.max(1.5, misses), 1.5 * line, colour("miss"), [4, 3]);
    }
  };
  /** Corners around the place that was clicked in one of the galleries of crops. */
  const drawMark = ({ context, width, height }, entry, mark) => {
    const x = ((mark.x + 0.5) / entry.width) * width;
    const y = ((mark.y + 0.5) / entry.height) * height;
    const half = Math.max(14, (0.8 * mark.diameter * width) / entry.width);
    const arm = half / 2.5;
    for (const [style, thickness] of [["#000b", 5], ["#fff", 2.5]]) {
      context.strokeStyle = style;
      context.lineWidth = thickness;
      context.beginPath();
      for (const [sx, sy] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
        context.moveTo(x + sx * half, y + sy * (half - arm));
        context.lineTo(x + sx * half, y + sy * half);
        context.lineTo(x + sx * (half - arm), y + sy * half);
      }
      context.stroke();
    }
  };

  // ---- plots -------------------------------------------------------------------------------------------------------

  const path = (context, points) => {
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  };
  const dot = (context, x, y, radius, fill) => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) context.fill();
    else context.stroke();
  };

  const drawCurve = () => {
    const canvas = at("curve");
    const { context, x, y, box } = page.axes(canvas, [0, 1], 1, "recall", "precision", { fractions: true });
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    context.clip();
    context.lineWidth = 1;
    context.strokeStyle = context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.textBaseline = "bottom";
    for (const f1 of [0.2, 0.4, 0.6, 0.8]) {
      const points = [];
      for (let recall = f1 / (2 - f1); recall < 1.005; recall += 0.01)
        points.push([x(recall), y((f1 * recall) / (2 * recall - f1))]);
      path(context, points);
      context.fillText(number(f1, 1), box.right - 3, y(f1 / (2 - f1)) - 2);
    }
    context.restore();
    context.strokeStyle = colour("accent");
    context.lineWidth = 2;
    path(context, curve.map((point) => [x(point.recall), y(point.precision)]));
    if (best && data.adjustable) {
      const [bx, by] = [x(best.recall), y(best.precision)];
      context.strokeStyle = colour("outlier");
      path(context, [[bx, by - 7], [bx + 7, by], [bx, by + 7], [bx - 7, by], [bx, by - 7]]);
    }
    context.strokeStyle = context.fillStyle = colour("accent");
    dot(context, x(written.recall), y(written.precision), 5, true);
    if (state.cut !== null) {
      const here = now();
      context.fillStyle = colour("panel");
      dot(context, x(here.recall), y(here.precision), 5, true);
      dot(context, x(here.recall), y(here.precision), 5, false);
    }
    canvas.setAttribute(
      "aria-label",
      `Precision over recall. Picks as they are: precision ${number(written.precision, 3)}, recall ` +
        `${number(written.recall, 3)}. Average precision ${number(truth.average_precision, 3)}.`,
    );
  };

  const drawRates = () => {
    const canvas = at("rates");
    const ends = [scoreAt(data.floor), scoreAt(SCORES - 1)];
    const { context, x, y, box } = page.axes(canvas, ends, 1, "threshold", "", { fractions: true });
    for (const [name, width, dash] of [["precision", 2, [7, 4]], ["recall", 2, [2, 3]], ["f1", 3, []]]) {
      context.strokeStyle = colour(name);
      context.lineWidth = width;
      context.setLineDash(dash);
      path(context, curve.map((point) => [x(scoreAt(point.k)), y(point[name])]));
    }
    context.setLineDash([]);
    const cut = cutNow();
    if (cut !== null) {
      context.strokeStyle = colour("text");
      context.lineWidth = 1.5;
      path(context, [[x(cut), box.top - 4], [x(cut), box.bottom]]);
    }
    const summary = best ? `highest F1 ${number(best.f1, 3)} at ${number(scoreAt(best.k), 2)}` : "no picks";
    canvas.setAttribute("aria-label", `Precision, recall and F1 over the threshold: ${summary}.`);
  };

  const drawReliability = () => {
    const canvas = at("reliability");
    const { context, x, y } = page.axes(canvas, [0, 1], 1, "score", "share with a label", { fractions: true });
    context.strokeStyle = colour("soft");
    context.lineWidth = 1;
    context.setLineDash([5, 4]);
    path(context, [[x(0), y(0)], [x(1), y(1)]]);
    context.setLineDash([]);
    context.strokeStyle = context.fillStyle = colour("accent");
    const said = [];
    for (let from = 0; from < 100; from += 10) {
      let [all, hits, scores] = [0, 0, 0];
      for (let k = from; k < (from === 90 ? SCORES : from + 10); k++) {
        all += page.perScore[k];
        hits += truth.chances[k];
        scores += page.perScore[k] * Math.min(1, (k + 0.5) / 100);
      }
      if (all < 10) continue;
      // Wilson's interval: it stays between 0 and 1 and holds for few candidates.
      const [share, z2] = [hits / all, 1.96 ** 2];
      const middle = (share + z2 / (2 * all)) / (1 + z2 / all);
      const half = (1.96 / (1 + z2 / all)) * Math.sqrt((share * (1 - share)) / all + z2 / (4 * all * all));
      const px = x(scores / all);
      context.lineWidth = 2;
      path(context, [[px, y(middle - half)], [px, y(middle + half)]]);
      dot(context, px, y(share), 4, true);
      said.push(`${number(scores / all, 2)}: ${number(share, 2)}`);
    }
    canvas.setAttribute("aria-label", `Share of candidates with a label over their score. ${said.join(", ")}.`);
  };

  // ---- table -------------------------------------------------------------------------------------------------------

  const COLUMNS = [
    ["Micrograph", null],
    ["Labels", (r) => r.wanted],
    ["Picks", (r) => r.picks],
    ["Hits", (r) => r.hits],
    ["Misses", (r) => r.wanted - r.hits],
    ["False picks", (r) => r.picks - r.hits],
    ["Precision", (r) => r.precision],
    ["Recall", (r) => r.recall],
    ["F1", (r) => r.f1],
  ];
  const shownAs = (value, column) => number(value, column >= 6 ? 3 : 0);
  const sorting = { column: 0, down: false };
  const headings = COLUMNS.map(([name], column) => {
    const heading = make("th");
    heading.scope = "col";
    const button = make("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => {
      sorting.down = sorting.column === column ? !sorting.down : false;
      sorting.column = column;
      sortTable();
    });
    heading.append(button);
    return heading;
  });
  const rows = data.names.map((name, index) => {
    const row = make("tr");
    const cells = COLUMNS.map(() => make("td"));
    if (page.shown.has(data.positions[index])) {
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => page.open(data.positions[index], button));
      cells[0].append(button);
    } else cells[0].textContent = name;
    cells[0].title = data.full_names[index];
    row.append(...cells);
    return { index, row, cells };
  });
  const total = COLUMNS.map(() => make("td"));
  total[0].textContent = "All";
  const body = make("tbody");
  {
    const [head, foot, line, last] = [make("thead"), make("tfoot"), make("tr"), make("tr")];
    line.append(...headings);
    head.append(line);
    last.append(...total);
    foot.append(last);
    body.append(...rows.map(({ row }) => row));
    at("agreement").append(head, body, foot);
  }
  const sortTable = () => {
    const { column, down } = sorting;
    headings.forEach((heading, i) => {
      if (i === column) heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    const value = ({ index }) => (column ? COLUMNS[column][1](ratesOfMicrograph(index)) : index);
    const ordered = rows.map((row) => [value(row), row]).sort((a, b) => (down ? b[0] - a[0] : a[0] - b[0]) || a[1].index - b[1].index);
    body.replaceChildren(...ordered.map(([, { row }]) => row));
  };
  const fill = (cells, rates) => {
    for (let column = 1; column < COLUMNS.length; column++) {
      const text = shownAs(COLUMNS[column][1](rates), column);
      if (cells[column].textContent !== text) cells[column].textContent = text;
    }
  };

  // ---- galleries of crops ------------------------------------------------------------------------------------------

  const { diameters, crops } = JSON.parse(at("crop-data").textContent);
  const lists = { miss: at("misses"), false: at("false") };
  const cards = crops.map((crop) => {
    const name = data.names[page.indexOf.get(crop.position)];
    const score = crop.score === null ? "–" : number(crop.score, 2);
    const item = make("li");
    const button = make("button");
    button.type = "button";
    button.tabIndex = -1;
    const picture = make("span", "crop");
    if (crop.jpeg) {
      const image = make("img");
      image.alt = "";
      image.loading = "lazy";
      image.src = "data:image/jpeg;base64," + crop.jpeg;
      picture.append(image);
    }
    const circle = make("span", "circle");
    circle.style.width = circle.style.height = 100 / diameters + "%";
    picture.append(circle);
    button.append(picture, make("span", "value", score));
    button.title = data.full_names[page.indexOf.get(crop.position)];
    const candidate = crop.score === null ? "no candidate" : `rejected candidate ${score}`;
    button.setAttribute("aria-label", crop.kind === "miss" ? `Miss on ${name}, ${candidate}` : `False pick on ${name}, score ${score}`);
    button.addEventListener("click", () => page.open(crop.position, button, crop));
    item.append(button);
    lists[crop.kind].append(item);
    return { crop, item, button };
  });
  for (const list of Object.values(lists)) page.roving(list, () => [...list.querySelectorAll("li:not([hidden]) button")]);
  const showCrops = () => {
    const agreed = new Map();
    for (const { crop, item } of cards) {
      if (!agreed.has(crop.position)) {
        const candidates = page.candidatesOf(crop.position);
        const end = candidates && truthOf(crop.position) ? page.endOf(crop.position, candidates) : null;
        agreed.set(crop.position, end === null ? null : { end, ...pairUp(crop.position, end) });
      }
      const here = agreed.get(crop.position);
      if (!here) continue; // still being loaded: as it is written
      const hidden = crop.kind === "miss" ? here.found[crop.index] === 1 : crop.index >= here.end || here.hit[crop.index] === 1;
      if (item.hidden !== hidden) item.hidden = hidden;
    }
    const rates = now();
    for (const [kind, id, all] of [
      ["miss", "misses-count", rates.wanted - rates.hits],
      ["false", "false-count", rates.picks - rates.hits],
    ]) {
      const visible = cards.filter(({ crop, item }) => crop.kind === kind && !item.hidden);
      const here = data.adjustable ? " at this threshold" : "";
      const text = all === 0 ? `None${here}.` : `${number(visible.length)} of the ${number(all)}${here} are shown.`;
      at(id).textContent = text;
      if (!visible.some(({ button }) => button.tabIndex === 0)) {
        for (const { crop, button } of cards) if (crop.kind === kind) button.tabIndex = -1;
        if (visible.length) visible[0].button.tabIndex = 0;
      }
    }
  };

  // ---- what report.js calls ----------------------------------------------------------------------------------------

  if (best && data.adjustable) {
    at("best").textContent = `Highest F1: ${number(best.f1, 3)} at ${number(scoreAt(best.k), 2)}`;
    at("best").addEventListener("click", () => page.setCut(best.k));
  } else at("best").hidden = true;
  at("reliability-section").hidden = data.scores[0] !== 0 || data.scores[1] !== 1 || !data.adjustable;

  return {
    drawPicks,
    drawMark,
    f1Of: (position) => ratesOfMicrograph(page.indexOf.get(position)).f1,
    captionOf: (index) => `F1 ${number(ratesOfMicrograph(index).f1, 2)}`,
    factsOf: (index) => {
      const { hits, picks, wanted, f1 } = ratesOfMicrograph(index);
      return `${number(hits)} hits, ${number(picks - hits)} false, ${number(wanted - hits)} missed, F1 ${number(f1, 3)}`;
    },
    sort: sortTable,
    draw: () => {
      drawCurve();
      if (data.adjustable) drawRates();
      if (!at("reliability-section").hidden) drawReliability();
    },
    update: () => {
      const rates = now();
      for (const name of ["f1", "precision", "recall"]) at("now-" + name).textContent = number(rates[name], 3);
      fill(total, rates);
      for (const { index, cells } of rows) fill(cells, ratesOfMicrograph(index));
      showCrops();
    },
    loaded: showCrops,
  };
};
