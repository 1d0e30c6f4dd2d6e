/** Changes that were made on a page of another run, after the review had gone on to the one that is shown. */

import { at, counted } from "./dom.js";
import { forgetNotTaken, notTaken } from "./server.js";

const MOST_NAMES = 10;

const names = (all) => {
  const found = [...new Set(all.filter(Boolean))].map((one) => one.slice(one.lastIndexOf("/") + 1));
  const more = found.length > MOST_NAMES ? [`${found.length - MOST_NAMES} more`] : [];
  return [...found.slice(0, MOST_NAMES), ...more].join(", ");
};

const lost = notTaken();
if (lost.length) {
  const were = lost.length > 1 ? "were" : "was";
  at("turned-words").textContent =
    `${counted(lost.length, "changes")} of this page came after the review had gone on to other picks, and ${were} not taken.`;
  at("turned-names").textContent =
    names(lost) && `On: ${names(lost)}. Look at them again on the picks that are shown now.`;
  at("turned").addEventListener("close", forgetNotTaken); // not before somebody has seen it
  at("turned").showModal();
}
