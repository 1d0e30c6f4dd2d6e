(() => {
  const SCORES = 101; // 0.00, 0.01 ... 1.00
  const OUTLIER = 3.5;
  const ENOUGH = 5; // micrographs, below which none stands out
  const BARS_NM = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const count = data.names.length;
  const shown = new Map(data.gallery.map((entry) => [entry.position, entry])); // by position in the input
  const indexOf = new Map(data.positions.map((position, index) => [position, index]));

  const formats = []; // making one takes far longer than using it
  const number = (value, digits = 0) => {
    const fixed = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    return (formats[digits] ??= new Intl.NumberFormat("en", fixed)).format(value);
  };
  const counted = (value) => `${number(value)} ${value === 1 ? "pick" : "picks"}`;
  const short = (text, room) =>
    text.length <= room ? text : text.slice(0, Math.ceil(room / 2) - 1) + "…" + text.slice(-Math.floor(room / 2));
  const scoreAt = (k) => data.scores[0] + ((data.scores[1] - data.scores[0]) * k) / 100;
  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text; // never markup: names come from files
    return element;
  };

  // ---- counting ----------------------------------------------------------------------------------------------------

  // atLeast[index * SCORES + k]: candidates of a micrograph with a score of at least k / 100
  const atLeast = new Uint32Array(count * SCORES);
  const perScore = new Float64Array(SCORES);
  {
    const raw = new DataView(bytes(data.counts).buffer);
    for (let index = 0; index < count; index++) {
      let sum = 0;
      for (let k = SCORES - 1; k >= 0; k--) {
        const here = raw.getUint16(2 * (index * SCORES + k), true);
        perScore[k] += here;
        atLeast[index * SCORES + k] = sum += here;
      }
    }
  }
  const picksAt = (cut) =>
    cut === null ? data.picks : data.picks.map((_, index) => atLeast[index * SCORES + cut]);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const median = (values) => {
    const sorted = Float64Array.from(values).sort();
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  };
  const spread = (values) => {
    const middle = count ? median(values) : 0;
    const deviation = count ? 1.4826 * median(values.map((value) => Math.abs(value - middle))) : 0;
    return { middle, deviation: Math.max(deviation, Math.sqrt(middle), 1) };
  };

  /** The slider's setting whose total comes nearest to the picks of the run, which may have had a cut per micrograph. */
  const equivalent = () => {
    if (data.threshold !== null) return Math.max(data.floor, Math.round(data.threshold * 100));
    const total = sum(data.picks);
    let best = data.floor;
    let gap = Infinity;
    for (let k = data.floor; k < SCORES; k++) {
      const here = Math.abs(sum(picksAt(k)) - total);
      if (here < gap) [best, gap] = [k, here];
    }
    return best;
  };

  // cut: hundredths, or null for the picks as they are written
  const state = { cut: null, picks: data.picks, spread: spread(data.picks), open: null, from: null, mark: null };
  /** Score of the cut that all micrographs share; null where each has its own. */
  const cutNow = () => (state.cut === null ? data.threshold : scoreAt(state.cut));
  const isOutlier = (index) =>
    count >= ENOUGH && Math.abs(state.picks[index] - state.spread.middle) > OUTLIER * state.spread.deviation;
  const side = (index) => (state.picks[index] < state.spread.middle ? "few" : "many");

  // ---- pictures ----------------------------------------------------------------------------------------------------

  const unpacked = new Map();
  const candidatesOf = (position) => {
    if (!unpacked.has(position)) {
      const element = at("m" + position);
      if (!element) return null; // still being loaded
      const raw = bytes(element.dataset.candidates);
      const n = raw.length / 6;
      unpacked.set(position, {
        n,
        x: new Uint16Array(raw.buffer, 0, n),
        y: new Uint16Array(raw.buffer, 2 * n, n),
        score: raw.subarray(4 * n, 5 * n),
        diameter: raw.subarray(5 * n),
      });
    }
    return unpacked.get(position);
  };
  /** The best come first: picks are those before the end. */
  const endOf = (position, candidates) => {
    const end = state.cut === null ? data.picks[indexOf.get(position)] : candidates.score.findIndex((k) => k < state.cut);
    return end < 0 || end > candidates.n ? candidates.n : end;
  };
  const showPicture = (image, position) => {
    const element = at("m" + position);
    if (element && element.textContent && image.dataset.position !== String(position)) {
      image.src = "data:image/jpeg;base64," + element.textContent;
      image.dataset.position = position;
    }
  };

  const sized = (canvas) => {
    const scale = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  };

  // Circles are stamped: stroking thousands of them at every move of the slider is what would make it slow.
  const stamps = new Map();
  const stampOf = (radius, line, style, dash) => {
    const scale = window.devicePixelRatio || 1;
    const size = Math.round(radius * scale * 4) / 4; // pixels of the screen
    const key = [size, line, style, dash, scale].join();
    if (!stamps.has(key)) {
      const stamp = make("canvas");
      stamp.width = stamp.height = 2 * Math.ceil(size + 1.8 * line * scale) + 1;
      const context = stamp.getContext("2d");
      context.arc(stamp.width / 2, stamp.height / 2, size, 0, 2 * Math.PI);
      for (const [colour, width, dashes] of [["#00000070", 1.8, []], [style, 1, dash]]) {
        // A dark rim below: light colours vanish on bright ice.
        context.strokeStyle = colour;
        context.lineWidth = width * line * scale;
        context.setLineDash(dashes.map((length) => length * scale));
        context.stroke();
      }
      stamps.set(key, stamp);
    }
    return stamps.get(key);
  };
  /** A circle around (x, y), the colour `style` on a dark rim. */
  const circle = (context, x, y, radius, line, style, dash = []) => {
    const scale = window.devicePixelRatio || 1;
    const stamp = stampOf(radius, line, style, dash);
    const corner = (value) => Math.round(value * scale - stamp.width / 2) / scale; // whole pixels stay sharp
    context.drawImage(stamp, corner(x), corner(y), stamp.width / scale, stamp.height / scale);
  };

  const drawPicks = (canvas, position) => {
    const { context, width, height } = sized(canvas);
    const entry = shown.get(position);
    const candidates = candidatesOf(position);
    const show = at("show").value;
    if (!candidates || show === "none") return { context, width, height };
    const end = endOf(position, candidates);
    if (show === "agreement") {
      agreement.drawPicks(context, position, candidates, end, width, height);
      return { context, width, height };
    }
    const unit = (entry.diameter / 255) * width;
    // Thin where particles are small: what is in the circle has to be seen.
    const line = Math.min(width > 500 ? 2 : 1.5, Math.max(0.8, (entry.diameter * width) / 12));
    for (let i = (show === "all" ? candidates.n : end) - 1; i >= 0; i--) { // the best on top
      const x = (candidates.x[i] / 65535) * width;
      const y = (candidates.y[i] / 65535) * height;
      const radius = Math.max(1.5, (candidates.diameter[i] * unit) / 2);
      if (i < end) circle(context, x, y, radius, line, data.colours[candidates.score[i]]);
      else circle(context, x, y, radius, 1, "#ffffffb0", [3, 3]);
    }
    return { context, width, height };
  };

  const drawScaleBar = ({ context, width, height }, entry) => {
    if (entry.pixel_size === null) return;
    const perPixel = (entry.pixel_size * entry.width) / width / 10; // nm
    const length = BARS_NM.filter((nm) => nm / perPixel <= width / 4).pop();
    if (!length) return;
    context.font = "600 13px system-ui, sans-serif";
    context.lineJoin = "round";
    context.fillStyle = "#000c";
    context.fillRect(12, height - 20, length / perPixel + 4, 8);
    context.lineWidth = 3;
    context.strokeStyle = "#000c";
    context.strokeText(length + " nm", 14, height - 27);
    context.fillStyle = "#fff";
    context.fillRect(14, height - 18, length / perPixel, 4);
    context.fillText(length + " nm", 14, height - 27);
  };

  // ---- plots -------------------------------------------------------------------------------------------------------

  const palette = new Map(); // of the theme; looking up a colour can make the browser lay out the page
  const colour = (name) => {
    if (!palette.has(name))
      palette.set(name, getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim());
    return palette.get(name);
  };
  const ticks = (low, high, wanted, whole) => {
    const rough = Math.max((high - low) / wanted || 1, whole ? 1 : 0); // 1.5 micrographs are none
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step || 0); // no -0
    return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  };

  /** Axes with ticks; returns the context and the functions that place a value. */
  const axes = (canvas, [left, right], top, xLabel, yLabel, { whole = false, fractions = false } = {}) => {
    const { context, width, height } = sized(canvas);
    const box = { left: 52, right: width - 10, top: 28, bottom: height - 40 };
    const x = (value) => box.left + ((value - left) / (right - left || 1)) * (box.right - box.left);
    const y = (value) => box.bottom - (Math.min(value, top) / (top || 1)) * (box.bottom - box.top);
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 1;
    context.fillStyle = colour("quiet");
    context.textAlign = "right";
    context.textBaseline = "middle";
    const vertical = ticks(0, top, 5, !fractions);
    for (const value of vertical.found) {
      context.strokeStyle = colour("line");
      context.beginPath();
      context.moveTo(box.left, Math.round(y(value)) + 0.5);
      context.lineTo(box.right, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillText(number(value, vertical.digits), box.left - 8, y(value));
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const across = ticks(left, right, Math.max(2, Math.floor(width / 80)), whole);
    for (const value of across.found) context.fillText(number(value, across.digits), x(value), box.bottom + 7);
    context.textAlign = "right";
    context.textBaseline = "bottom";
    context.fillText(xLabel, box.right, height - 1);
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(yLabel, 0, 0);
    return { context, x, y, box };
  };

  const drawScores = () => {
    const canvas = at("scores");
    const kept = state.cut === null ? data.picked_counts : [...perScore].map((n, k) => (k >= state.cut ? n : 0));
    const step = 2;
    const bins = [];
    for (let k = 0; k < SCORES - 1; k += step) {
      const last = k + step >= SCORES - 1 ? SCORES : k + step; // a score of 1 belongs to the last bar
      let [all, picked] = [0, 0];
      for (let j = k; j < last; j++) [all, picked] = [all + perScore[j], picked + kept[j]];
      bins.push({ k, all, picked });
    }
    // The many candidates that are next to nothing would press all others flat: such bars are cut and say so.
    const highest = Math.max(1, ...bins.map((bin) => bin.all));
    const above = Math.max(1, ...bins.filter((bin) => bin.k >= 10).map((bin) => bin.all));
    const top = highest > 4 * above ? 1.5 * above : 1.05 * highest;
    const { context, x, y, box } = axes(canvas, data.scores, top, "score", "candidates");
    const width = x(scoreAt(step)) - x(scoreAt(0));
    for (const { k, all, picked } of bins) {
      const left = x(scoreAt(k)) + 0.5;
      context.fillStyle = colour("soft");
      context.fillRect(left, y(all), width - 1, box.bottom - y(all));
      context.fillStyle = colour("accent");
      context.fillRect(left, box.bottom - (y(0) - y(picked)), width - 1, y(0) - y(picked));
    }
    if (highest > top) {
      context.fillStyle = colour("quiet");
      context.textAlign = "left";
      context.textBaseline = "bottom";
      context.fillText(`lowest scores: up to ${number(highest)} a bar`, box.left + 6, box.top - 4);
    }
    const cut = cutNow();
    if (cut !== null) {
      const right = x(cut) > box.right - 60;
      context.strokeStyle = context.fillStyle = colour("text");
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(x(cut), box.top - 4);
      context.lineTo(x(cut), box.bottom);
      context.stroke();
      context.textBaseline = "bottom";
      context.textAlign = right ? "right" : "left";
      context.fillText(`cut ${number(cut, 2)}`, x(cut) + (right ? -5 : 5), box.top + 8);
    }
    canvas.setAttribute(
      "aria-label",
      `Histogram of ${number(sum([...perScore]))} candidates by score, ${number(sum(state.picks))} of them picks.`,
    );
  };

  const points = { series: [], defocus: [] }; // where each micrograph lies in a plot, for the pointer

  const drawPoints = (id, plot, xOf) => {
    const { context, x, y } = plot;
    points[id] = [];
    const [accent, outlier] = [colour("accent"), colour("outlier")];
    const radius = count > 600 ? 1.6 : count > 120 ? 2.4 : 3.4;
    for (let index = 0; index < count; index++) {
      const value = xOf(index);
      if (value === null) continue;
      const [px, py] = [x(value), y(state.picks[index])];
      points[id].push({ index, px, py });
      context.beginPath();
      if (isOutlier(index)) {
        context.strokeStyle = outlier;
        context.lineWidth = 2;
        context.arc(px, py, radius + 2, 0, 2 * Math.PI);
        context.stroke();
      } else {
        context.fillStyle = accent;
        context.arc(px, py, radius, 0, 2 * Math.PI);
        context.fill();
      }
    }
  };
  const topOf = (values) => Math.max(4, 1.08 * values.reduce((most, value) => Math.max(most, value), 0));

  const drawSeries = () => {
    const canvas = at("series");
    const last = count + data.skipped.length;
    const plot = axes(canvas, [0.5, last + 0.5], topOf(state.picks), "micrograph", "picks", { whole: true });
    const { context, x, y, box } = plot;
    const { middle, deviation } = state.spread;
    const bandTop = y(middle + OUTLIER * deviation);
    at("band-note").hidden = count < ENOUGH;
    if (count >= ENOUGH) {
      context.fillStyle = colour("band");
      context.fillRect(box.left, bandTop, box.right - box.left, y(Math.max(0, middle - OUTLIER * deviation)) - bandTop);
    }
    context.strokeStyle = colour("soft");
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(box.left, y(middle));
    context.lineTo(box.right, y(middle));
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colour("outlier");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    for (const position of data.skipped) context.fillText("×", x(position + 1), box.bottom + 2);
    drawPoints("series", plot, (index) => data.positions[index] + 1);
    const outliers = data.picks.filter((_, index) => isOutlier(index)).length;
    const skipped = data.skipped.length ? ` ${data.skipped.length} were skipped (×).` : "";
    canvas.setAttribute(
      "aria-label",
      `Picks of ${number(count)} micrographs in the order of acquisition: median ${number(middle)}, ${outliers} outliers.` + skipped,
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
      tip.style.left = Math.min(event.clientX + 14, innerWidth - room.width - 8) + "px";
      tip.style.top = event.clientY - room.height - 12 + "px";
    });
    at(id).addEventListener("pointerleave", () => (at("tip").hidden = true));
    at(id).addEventListener("click", (event) => {
      const point = nearest(id, event);
      if (point && shown.has(data.positions[point.index])) open(data.positions[point.index]);
    });
  }

  // ---- gallery -----------------------------------------------------------------------------------------------------

  const cards = new Map();
  const visible = new Set();
  const watcher = new IntersectionObserver(
    (changes) => {
      for (const { target, isIntersecting } of changes) {
        const position = Number(target.dataset.position);
        if (isIntersecting) {
          visible.add(position);
          drawCard(position);
        } else {
          visible.delete(position);
          const canvas = target.querySelector("canvas");
          [canvas.width, canvas.height] = [0, 0]; // hundreds of canvases would hold a lot of memory
        }
      }
    },
    { rootMargin: "300px" },
  );
  const drawCard = (position) => {
    const { image, canvas } = cards.get(position);
    showPicture(image, position);
    drawPicks(canvas, position);
  };
  for (const { position, width, height } of data.gallery) {
    const index = indexOf.get(position);
    const item = make("li");
    const button = make("button");
    button.type = "button";
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
    button.addEventListener("click", () => open(position));
    item.append(button);
    cards.set(position, { item, button, image, canvas, picks });
    watcher.observe(button);
  }

  /** Positions in the order in which the gallery shows them. */
  let order = [];
  const arrange = () => {
    const by = at("order").value;
    const picksOf = (position) => state.picks[indexOf.get(position)];
    order = data.gallery.map((entry) => entry.position);
    if (at("only-outliers").checked) order = order.filter((position) => isOutlier(indexOf.get(position)));
    if (by === "worst") order.sort((a, b) => agreement.f1Of(a) - agreement.f1Of(b) || a - b);
    else if (by !== "position") order.sort((a, b) => (by === "most" ? picksOf(b) - picksOf(a) : picksOf(a) - picksOf(b)) || a - b);
    const items = order.map((position) => cards.get(position).item);
    const present = [...at("gallery").children];
    if (items.length !== present.length || items.some((item, i) => item !== present[i])) {
      const focused = document.activeElement;
      at("gallery").replaceChildren(...items);
      if (focused && focused.isConnected) focused.focus({ preventScroll: true });
    }
    at("gallery-empty").hidden = order.length > 0;
    if (!order.some((position) => cards.get(position).button.tabIndex === 0)) {
      for (const { button } of cards.values()) button.tabIndex = -1;
      if (order.length) cards.get(order[0]).button.tabIndex = 0;
    }
  };

  // One stop for the Tab key; arrows move within the grid.
  const roving = (grid, buttons) => {
    grid.addEventListener("keydown", (event) => {
      const all = buttons();
      const here = all.indexOf(event.target);
      const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: all.length - 1 - here };
      if (here < 0 || !(event.key in steps)) return;
      event.preventDefault();
      all[here + steps[event.key]]?.focus();
    });
    grid.addEventListener("focusin", (event) => {
      for (const button of grid.querySelectorAll("button")) button.tabIndex = button === event.target ? 0 : -1;
    });
  };
  roving(at("gallery"), () => order.map((position) => cards.get(position).button));

  // ---- one micrograph ----------------------------------------------------------------------------------------------

  const viewer = at("viewer");
  const drawViewer = () => {
    if (state.open === null) return;
    const entry = shown.get(state.open);
    const index = indexOf.get(state.open);
    const room = at("viewer-room").getBoundingClientRect();
    const scale = Math.min(room.width / entry.width, room.height / entry.height);
    const picture = viewer.querySelector(".picture");
    picture.style.width = Math.floor(entry.width * scale) + "px";
    picture.style.height = Math.floor(entry.height * scale) + "px";
    showPicture(viewer.querySelector("img"), state.open);
    const drawn = drawPicks(viewer.querySelector("canvas"), state.open);
    drawScaleBar(drawn, entry);
    if (state.mark) agreement.drawMark(drawn, entry, state.mark);
    const place = order.indexOf(state.open);
    const defocus = data.defocus[index] === null ? "" : `defocus ${number(data.defocus[index] / 1e4, 2)} µm, `;
    at("viewer-name").textContent = data.full_names[index];
    at("viewer-facts").textContent =
      `${counted(state.picks[index])}${isOutlier(index) ? ` (outlier: ${side(index)})` : ""}, ` +
      (agreement ? `${agreement.factsOf(index)}, ` : "") +
      defocus +
      (entry.pixel_size === null ? "" : `${entry.pixel_size.toLocaleString("en", { maximumFractionDigits: 3 })} Å per pixel, `) +
      `micrograph ${number(state.open + 1)} of ${number(count + data.skipped.length)}`;
    at("previous").disabled = place <= 0;
    at("next").disabled = place < 0 || place >= order.length - 1;
    if (!viewer.contains(document.activeElement) || document.activeElement.disabled) at("viewer-room").focus();
  };
  /** Show a micrograph; `from` gets the focus back, `mark` is a place to point at. */
  const open = (position, from = null, mark = null) => {
    [state.open, state.from, state.mark] = [position, from, mark];
    const image = viewer.querySelector("img");
    image.removeAttribute("src");
    delete image.dataset.position;
    if (!viewer.open) viewer.showModal();
    drawViewer();
  };
  const step = (by) => {
    const there = order[order.indexOf(state.open) + by];
    if (order.includes(state.open) && there !== undefined) open(there);
  };
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => {
    const { open: position, from } = state;
    state.open = state.from = state.mark = null;
    if (from && from.checkVisibility()) from.focus();
    else if (order.includes(position)) cards.get(position).button.focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.target.type === "range") return; // there the arrows move the threshold
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  // ---- the truth, where it is known --------------------------------------------------------------------------------

  const setCut = (cut) => {
    state.cut = cut;
    update();
    arrange();
  };
  const agreement =
    data.truth &&
    agreementOf({
      data, at, make, number, bytes, colour, state, scoreAt, cutNow, shown, indexOf, atLeast, perScore,
      candidatesOf, endOf, circle, axes, roving, open, setCut,
    });

  // ---- everything that follows the threshold -----------------------------------------------------------------------

  const written = sum(data.picks);
  const start = equivalent();
  const showBar = () => {
    const total = sum(state.picks);
    const change = total - written;
    const here = state.cut === null ? start : state.cut;
    const value = number(scoreAt(here), 2);
    for (const input of document.querySelectorAll("input.cut")) {
      input.value = here / 100;
      const perMicrograph = state.cut === null && data.threshold === null;
      const text = perMicrograph ? "auto" : value;
      at(input.id + "-value").textContent = text;
      input.setAttribute("aria-valuetext", perMicrograph ? "a cut for each micrograph, as picked" : text);
    }
    at("total").textContent = number(total);
    at("change").textContent = change ? `(${change > 0 ? "+" : "−"}${number(Math.abs(change))}) ` : "";
    at("typical").textContent = count ? `· ${number(state.spread.middle, state.spread.middle % 1 ? 1 : 0)} per micrograph, median` : "";
    at("as-picked").hidden = state.cut !== null;
    at("other").hidden = state.cut === null;
    at("command").hidden = at("copy").hidden = data.command === null;
    at("command").textContent = `${data.command} ${value}`;
  };
  const showOutliers = () => {
    const found = data.picks.map((_, index) => index).filter(isOutlier);
    const worst = [...found].sort(
      (a, b) => Math.abs(state.picks[b] - state.spread.middle) - Math.abs(state.picks[a] - state.spread.middle),
    );
    const few = count < ENOUGH ? "Too few micrographs to tell." : "None.";
    const chips = worst.slice(0, 12).map((index) => {
      const item = make("li");
      const position = data.positions[index];
      const chip = make(shown.has(position) ? "button" : "span");
      if (shown.has(position)) {
        chip.type = "button";
        chip.addEventListener("click", () => open(position));
      }
      chip.append(short(data.names[index], 48) + " ", make("b", "", counted(state.picks[index])));
      item.append(chip);
      return item;
    });
    const rest = worst.length - chips.length;
    if (rest > 0) chips.push(make("li", "quiet", `and ${number(rest)} more, among the micrographs below`));
    if (!chips.length) chips.push(make("li", "quiet", few));
    at("outliers").replaceChildren(...chips);
  };
  const showCounts = () => {
    for (const [position, { picks, button }] of cards) {
      const index = indexOf.get(position);
      picks.textContent = counted(state.picks[index]);
      picks.classList.toggle("flag", isOutlier(index));
      if (isOutlier(index)) picks.textContent += `, ${side(index)}`;
      if (agreement) picks.textContent += ` · ${agreement.captionOf(index)}`;
      button.setAttribute("aria-label", `${data.names[index]}, ${picks.textContent}`);
    }
  };
  const draw = () => {
    palette.clear();
    if (stamps.size > 2000) stamps.clear();
    drawScores();
    drawSeries();
    drawDefocus();
    agreement?.draw();
    visible.forEach(drawCard);
    drawViewer();
  };
  const showKeys = () => {
    const rings = at("show").value === "agreement";
    at("score-key").hidden = rings;
    if (agreement) at("agreement-key").hidden = !rings;
  };
  const update = () => {
    state.picks = picksAt(state.cut);
    state.spread = spread(state.picks);
    showBar();
    showOutliers();
    showCounts();
    agreement?.update();
    draw();
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

  for (const input of document.querySelectorAll("input.cut")) {
    input.min = data.floor / 100;
    input.addEventListener("input", () => {
      state.cut = Math.round(Number(input.value) * 100);
      soon(update);
    });
    // Cards change places when the slider is let go, not under the eye that compares them.
    input.addEventListener("change", () => requestAnimationFrame(() => {
      arrange();
      agreement?.sort();
    }));
  }
  at("reset").addEventListener("click", () => {
    state.cut = null;
    update();
    arrange();
    at("cut").focus();
  });
  at("copy").addEventListener("click", async () => {
    const button = at("copy");
    try {
      await navigator.clipboard.writeText(at("command").textContent);
    } catch {
      getSelection().selectAllChildren(at("command")); // no clipboard for this page: selected, for the user to copy
      if (!document.execCommand("copy")) return;
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  at("order").addEventListener("change", arrange);
  at("only-outliers").addEventListener("change", arrange);
  at("show").addEventListener("change", () => {
    showKeys();
    draw();
  });

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => (at("theme").textContent = isDark() ? "Light theme" : "Dark theme");
  at("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
    draw();
  });
  dark.addEventListener("change", () => {
    nameTheme();
    draw();
  });
  addEventListener("resize", () => soon(draw));
  const resized = new ResizeObserver(() => soon(draw));
  for (const plot of document.querySelectorAll("canvas.plot")) resized.observe(plot);
  // The pictures stand at the end of the file: what is in view fills in when they have arrived.
  addEventListener("DOMContentLoaded", () => {
    visible.forEach(drawCard);
    agreement?.loaded();
  });

  at("key").style.background = `linear-gradient(to right, ${data.colours.filter((_, k) => k % 10 === 0).join(", ")})`;
  [at("key-low").textContent, at("key-high").textContent] = [`score ${number(data.scores[0])}`, number(data.scores[1])];
  if (data.floor > 0) {
    at("floor-note").hidden = false;
    at("floor-note").textContent = `Candidates with a score below ${number(scoreAt(data.floor), 2)} are not in this file.`;
  }
  at("live").hidden = !count;
  at("defocus-section").hidden = data.defocus.every((value) => value === null);
  at("bar").hidden = !count || !data.adjustable;
  viewer.querySelector(".slide").hidden = !data.adjustable;
  at("theme").hidden = false;
  nameTheme();
  showKeys();
  update();
  arrange();
  agreement?.sort();
})();
