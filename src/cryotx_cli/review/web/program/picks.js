/** The picks of a micrograph: what the cut chooses, corrected. The server does the same when it writes files. */

const key = (x, y) => `${x},${y}`;

const inBox = ([x0, y0, x1, y1], x, y) =>
  x >= Math.min(x0, x1) && x <= Math.max(x0, x1) && y >= Math.min(y0, y1) && y <= Math.max(y0, y1);

const nearSegment = ([ax, ay], [bx, by], x, y, radius) => {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const along = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2 <= radius * radius;
};

const nearLine = (points, x, y, radius) => {
  if (points.length === 1) return nearSegment(points[0], points[0], x, y, radius);
  return points.slice(1).some((point, i) => nearSegment(points[i], point, x, y, radius));
};

/** Whether a place lies in a region that was erased. */
export const isIn = (region, x, y) =>
  region.kind === "box" ? inBox(region.box, x, y) : nearLine(region.points, x, y, region.radius);

const chosen = (view, cut) => {
  if (view.corrections.labels) return view.corrections.labels;
  if (cut.threshold === null) return view.candidates.slice(0, view.chosen);
  return view.candidates.filter((one) => one[2] >= cut.threshold);
};

/** All picks as {x, y, score, diameter, added}; those that people have added first. */
export const picksOf = (view, cut) => {
  const { added, removed, erased } = view.corrections;
  const [byHand, gone] = [new Set(), new Set(removed.map(([x, y]) => key(x, y)))];
  for (const [x, y] of added) byHand.add(key(x, y));
  const picks = added.length ? withDiameters(view, added) : [];
  for (const [x, y, score, diameter] of chosen(view, cut)) {
    const place = key(x, y);
    if (byHand.has(place) || gone.has(place) || erased.some((region) => isIn(region, x, y))) continue;
    picks.push({ x, y, score, diameter, added: false });
  }
  return picks;
};

/** A function that tells the class of a pick, 0 for none. */
/** The picks whose class the gallery hides: they are there, and no circle shows it. */
export const hiddenOf = (view, picks, hiddenClasses) => {
  if (!hiddenClasses.size) return [];
  const classOf = classesOf(view);
  return picks.filter((one) => hiddenClasses.has(classOf(one)));
};

export const classesOf = (view) => {
  const known = new Map(view.candidates.map(([x, y], i) => [key(x, y), view.classes[i] ?? 0]));
  return ({ x, y }) => known.get(key(x, y)) ?? 0;
};

const withDiameters = (view, added) => {
  const known = new Map(view.candidates.map(([x, y, , diameter]) => [key(x, y), diameter]));
  return added.map(([x, y]) => ({
    x,
    y,
    score: 1,
    diameter: known.get(key(x, y)) ?? view.diameter,
    added: true,
  }));
};

/** Candidates that are no picks. */
export const rejectedOf = (view, picks) => {
  const shown = new Set(picks.map(({ x, y }) => key(x, y)));
  return view.candidates.filter(([x, y]) => !shown.has(key(x, y)));
};

/** The corrections after a change, as the server will answer it. */
export const corrected = (corrections, change) => {
  const touched = new Set((change.points ?? []).map(([x, y]) => key(x, y)));
  const others = (list) => list.filter(([x, y]) => !touched.has(key(x, y)));
  if (change.kind === "add")
    return {
      ...corrections,
      added: [...others(corrections.added), ...change.points],
      removed: others(corrections.removed),
    };
  if (change.kind === "remove")
    return {
      ...corrections,
      added: others(corrections.added),
      removed: [...corrections.removed, ...change.points],
    };
  if (change.kind === "box" || change.kind === "stroke")
    return {
      ...corrections,
      added: corrections.added.filter(([x, y]) => !isIn(change, x, y)),
      erased: [...corrections.erased, change],
    };
  return corrections;
};
