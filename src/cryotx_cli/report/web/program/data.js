/** What the file holds, unpacked. */

export const data = JSON.parse(document.getElementById("data").textContent);
/** Settings of the slider: 0, 1 ... 100 hundredths of the way from the lowest to the highest score. */
export const SCORES = 101;
/** Micrographs that were picked; most lists are by their index among these. */
export const count = data.names.length;
/** Indices of those that have labels and were not picked after all: missed, and no measure for the others. */
export const unpicked = new Set(data.unpicked);
/** What the gallery shows, by position in the input. */
export const shown = new Map(data.gallery.map((entry) => [entry.position, entry]));
export const indexOf = new Map(data.positions.map((position, index) => [position, index]));
export const scoreAt = (k) => data.scores[0] + ((data.scores[1] - data.scores[0]) * k) / 100;

export const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
export const uint16s = (base64) => {
  const raw = new DataView(bytes(base64).buffer);
  return Uint16Array.from({ length: raw.byteLength / 2 }, (_, i) => raw.getUint16(2 * i, true));
};
