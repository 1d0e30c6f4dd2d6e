/** The class of each candidate, and how many picks there are without those of the classes that are dropped. */

import { atLeast, sum } from "./counts.js";
import { bytes, count, data, SCORES, uint16s } from "./data.js";

/** The best first. What follows calls a class by its place here, from 1; 0 is none. */
export const classes = data.classes?.list ?? [];
/** How many of the best candidates of each micrograph the run has chosen, those of dropped classes among them. */
export const ends = data.classes?.ends ?? data.picks;

const packedClasses = data.classes ?? { of: "", lengths: [] };
const ofRank = packedClasses.wide ? uint16s(packedClasses.of) : bytes(packedClasses.of);
const columnStarts = [0];
for (const length of packedClasses.lengths) columnStarts.push(columnStarts.at(-1) + length);

/** Class of a candidate of a micrograph, by its rank among them. */
export const classAt = (index, rank) => (rank < packedClasses.lengths[index] ? ofRank[columnStarts[index] + rank] : 0);

const scoresOfRanks = new Uint8Array(ofRank.length);
for (let index = 0; index < packedClasses.lengths.length; index++) {
  let k = SCORES - 1;
  for (let rank = 0; rank < packedClasses.lengths[index]; rank++) {
    while (k > 0 && atLeast[index * SCORES + k] <= rank) k--; // the best come first
    scoresOfRanks[columnStarts[index] + rank] = k;
  }
}
/** Call `see` with micrograph, rank, class and score in hundredths of every candidate that is in a class. */
const forEachInClass = (see) => {
  for (let index = 0; index < packedClasses.lengths.length; index++)
    for (let i = columnStarts[index]; i < columnStarts[index + 1]; i++)
      if (ofRank[i]) see(index, i - columnStarts[index], ofRank[i], scoresOfRanks[i]);
};

// Candidates of each class by score, and those of them that the run has chosen.
const newTables = () => [{}, ...classes].map(() => new Uint32Array(SCORES));
const byScore = newTables();
const chosenByScore = newTables();
forEachInClass((index, rank, slot, k) => {
  byScore[slot][k]++;
  if (rank < ends[index]) chosenByScore[slot][k]++;
});

/** Picks of a class at a cut, whether it is dropped or not; null: as they are written. */
export const picksOfClass = (slot, cut) => sum(cut === null ? chosenByScore[slot] : byScore[slot].subarray(cut));
/** Those of them on one micrograph. */
export const picksOfClassOn = (index, slot, cut) => {
  const end = cut === null ? ends[index] : atLeast[index * SCORES + cut];
  let found = 0;
  for (let rank = 0; rank < Math.min(end, packedClasses.lengths[index]); rank++) found += classAt(index, rank) === slot;
  return found;
};
/** Picks in no class at a cut. */
export const unclassed = (cut) => {
  const all = cut === null ? sum(ends) : sum(data.picks.map((_, index) => atLeast[index * SCORES + cut]));
  return all - classes.reduce((total, _, i) => total + picksOfClass(i + 1, cut), 0);
};

const outAsWritten = new Set(classes.map((_, i) => i + 1).filter((slot) => classes[slot - 1].dropped));
const dropped = new Set(outAsWritten);
export const isDropped = (slot) => dropped.has(slot);
export const numbersDropped = () => [...dropped].map((slot) => classes[slot - 1].number).sort((a, b) => a - b);
/** Whether the classes that are dropped are those of the run as it is written. */
export const areAsWritten = () => dropped.size === outAsWritten.size && [...outAsWritten].every(isDropped);

// Candidates of dropped classes in each micrograph: with a score of at least k hundredths, and among those chosen.
const droppedFrom = new Uint32Array(classes.length ? count * SCORES : 0);
const droppedOfChosen = new Uint32Array(count);
const tally = () => {
  droppedFrom.fill(0);
  droppedOfChosen.fill(0);
  forEachInClass((index, rank, slot, k) => {
    if (!dropped.has(slot)) return;
    droppedFrom[index * SCORES + k]++;
    if (rank < ends[index]) droppedOfChosen[index]++;
  });
  for (let index = 0; index < count && classes.length; index++)
    for (let k = SCORES - 2; k >= 0; k--) droppedFrom[index * SCORES + k] += droppedFrom[index * SCORES + k + 1];
};
tally();

/** Drop exactly these classes. */
export const drop = (slots) => {
  dropped.clear();
  for (const slot of slots) dropped.add(slot);
  tally();
};
/** Drop one more class, or bring it back. */
export const dropOne = (slot, yes) => drop([...dropped].filter((one) => one !== slot).concat(yes ? [slot] : []));
export const dropAsWritten = () => drop(outAsWritten);

const droppedAt = (index, cut) =>
  cut === null ? droppedOfChosen[index] : classes.length ? droppedFrom[index * SCORES + cut] : 0;
/** Picks of every micrograph at a cut; null: as they are written. */
export const picksAt = (cut) =>
  ends.map((end, index) => (cut === null ? end : atLeast[index * SCORES + cut]) - droppedAt(index, cut));

/**
 * How much more, or less, of something there is than in the picks as they are written, because of the classes that are
 * dropped now and were not, and the other way round. `of` gives it for a class.
 */
export const changeByClasses = (of) => {
  let change = 0;
  for (let slot = 1; slot <= classes.length; slot++)
    change += of(slot) * (Number(outAsWritten.has(slot)) - Number(dropped.has(slot)));
  return change;
};
/** How much of something the dropped classes hold. */
export const inDropped = (of) => [...dropped].reduce((total, slot) => total + of(slot), 0);
/** Candidates of a class by score; null: those that the run has chosen. */
export const scoresOfClass = (slot, cut) => (cut === null ? chosenByScore : byScore)[slot];
/** How many of them are expected to be false, from a cut on; null: of those that the run has chosen. */
export const falseOfClass = (slot, cut) => {
  const { of_scores, written: chosen } = data.classes.false[slot - 1];
  return cut === null ? chosen : sum(of_scores.slice(cut));
};
