/** Files of the corrected picks. */

import { at, counted } from "./dom.js";
import { ask, isBusy, tell } from "./server.js";

const ready = async () => {
  while (isBusy()) await new Promise((again) => setTimeout(again, 50));
};

/** Have the server write the files of the edition, and say where. */
export const writeFiles = async () => {
  at("write").disabled = true;
  try {
    await ready();
    tell("Writing …");
    const written = await ask("/api/edition", { method: "POST" });
    tell(`Wrote ${counted(written.picks, "picks")} of ${counted(written.micrographs, "micrographs")}: ${written.star}`);
  } catch (problem) {
    tell(problem.message);
  } finally {
    at("write").disabled = false;
  }
};
at("write").addEventListener("click", writeFiles);
