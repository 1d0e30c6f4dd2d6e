/** Colours of scores, the same as in the pictures of a run: viridis. */

const STOPS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [109, 205, 89],
  [180, 222, 44],
  [253, 231, 37],
];

const mixed = (score) => {
  const place = Math.min(1, Math.max(0, score)) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[low].map((one, i) => Math.round(one + (place - low) * (STOPS[low + 1][i] - one)));
};

const TABLE = Array.from({ length: 101 }, (_, i) => `rgb(${mixed(i / 100).join(" ")})`);

export const colourOf = (score) => TABLE[Math.round(100 * Math.min(1, Math.max(0, score)))];

/** Colours of classes that lie far apart for neighbours: turns of the golden angle. */
export const colourOfClass = (number) => (number ? `hsl(${Math.round(number * 137.5) % 360} 90% 62%)` : "#ddd");

export const BY_HAND = "#4ff0ff";
export const PLAIN = "#ffd02e";
export const FILM = "#ff7a3c";

export const gradient = `linear-gradient(90deg, ${STOPS.map((one) => `rgb(${one.join(" ")})`).join(", ")})`;
