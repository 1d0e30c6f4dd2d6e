/** Files of the corrected picks. */

import { at, counted } from "./dom.js";
import { allSent, ask, tell } from "./server.js";

/** Have the server write the files of the edition, and say where. */
export const writeFiles = async () => {
  at("write").disabled = true;
  try {
    await allSent();
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
