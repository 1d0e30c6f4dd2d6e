/** Small pictures of micrographs and the candidates on them, which stand at the end of the file. */

import { ends } from "./class_counts.js";
import { bytes, data, indexOf, uint16s } from "./data.js";
import { at } from "./dom.js";
import { state } from "./state.js";

/** Unpack what the file holds of a micrograph once; null while it is still being loaded. */
const once = (unpack) => {
  const known = new Map();
  return (position) => {
    if (!known.has(position)) {
      const element = at(`m${position}`);
      if (!element) return null;
      known.set(position, unpack(element.dataset, position));
    }
    return known.get(position);
  };
};

/** Columns of the candidates of a micrograph, best first. */
export const candidatesOf = once((packed) => {
  const raw = bytes(packed.candidates);
  const n = raw.length / 6;
  return {
    n,
    x: new Uint16Array(raw.buffer, 0, n),
    y: new Uint16Array(raw.buffer, 2 * n, n),
    score: raw.subarray(4 * n, 5 * n),
    diameter: raw.subarray(5 * n),
  };
});

/** The best come first: picks are those before the end, but for those of dropped classes. */
export const endOf = (position, { n, score }) => {
  const end = state.cut === null ? ends[indexOf.get(position)] : score.findIndex((k) => k < state.cut);
  return end < 0 || end > n ? n : end;
};

/** Columns of the true particles of a micrograph and of the pairs, nearest first. */
export const truthOf = once((packed, position) => {
  const raw = uint16s(packed.truth);
  const n = data.truth.labels[indexOf.get(position)];
  const pairs = (raw.length - 2 * n) / 2;
  return {
    n,
    x: raw.subarray(0, n),
    y: raw.subarray(n, 2 * n),
    candidate: raw.subarray(2 * n, 2 * n + pairs),
    label: raw.subarray(2 * n + pairs),
  };
});

export const showPicture = (image, position) => {
  const element = at(`m${position}`);
  if (element?.textContent && image.dataset.position !== String(position)) {
    image.src = `data:image/jpeg;base64,${element.textContent}`;
    image.dataset.position = position;
  }
};
