/** Teaching the model what is done, and picking again with it. */

import { at, counted, make, number } from "./dom.js";
import { shortName } from "./list.js";
import { allSent, ask } from "./server.js";
import { micrograph } from "./state.js";

const LOOK_MS = 1000;
const PHASES = {
  idle: "",
  training: "Learning from the micrographs that are done",
  picking: "Picking all micrographs again",
  done: "Done",
  failed: "It has failed: see what the commands say",
  stopped: "Stopped",
};
let timer = 0;

const cells = (tag, values) => values.map((value) => make(tag, "", `${value}`));
const row = (tag, values) => {
  const line = make("tr");
  line.append(...cells(tag, values));
  return line;
};

const showTable = ({ table }) => {
  const of = (one) => [
    one.weights,
    number(one.picks),
    ...[one.precision, one.recall, one.f1, one.ap].map((value) => value.toFixed(3)),
  ];
  const lines = table.map((one) => row("td", of(one)));
  if (lines.length) lines.unshift(row("th", ["Held back", "Picks", "Precision", "Recall", "F1", "AP"]));
  at("adapt-table").replaceChildren(...lines);
};

const showDifference = ({ difference }) => {
  if (!difference) {
    at("adapt-difference").replaceChildren();
    return;
  }
  const all = { name: "All", before: 0, after: 0, kept: 0 };
  const named = difference.micrographs.map((one) => ({
    ...one,
    name: shortName(micrograph(one.position)?.name ?? ""),
  }));
  for (const one of named) for (const what of ["before", "after", "kept"]) all[what] += one[what];
  const of = (one) => [
    one.name,
    number(one.before),
    number(one.after),
    number(one.after - one.kept),
    number(one.before - one.kept),
  ];
  const lines = [all, ...named].map((one) => row("td", of(one)));
  lines.unshift(row("th", ["Micrograph", "Picks before", "after", "new", "gone"]));
  at("adapt-difference").replaceChildren(...lines);
};

const words = ({ labelled, difference }) => {
  if (difference) return `Later, on the terminal: ${difference.command}`;
  return labelled < 2 ? "Mark two micrographs at least as done; five are a good number." : "";
};

const show = (status) => {
  const isRunning = status.phase === "training" || status.phase === "picking";
  at("adapt-about").textContent =
    `${counted(status.labelled, "micrographs")} marked as done: their picks are learned as particles, all other candidates on them as none. Then every micrograph of the run is picked again, into a run of its own.`;
  at("adapt-start").disabled = isRunning || status.labelled < 2;
  at("adapt-stop").disabled = !isRunning;
  at("adapt-settings").hidden = isRunning;
  at("adapt-phase").textContent =
    PHASES[status.phase] + (isRunning && status.steps ? `: ${status.step} of ${status.steps}` : "");
  at("adapt-bar").value = status.steps ? status.step / status.steps : 0;
  at("adapt-bar").hidden = !isRunning;
  at("adapt-show").hidden = status.phase !== "done";
  at("adapt-commands").hidden = !status.commands.length;
  at("adapt-commands").querySelector("pre").textContent = status.commands.join("\n");
  at("adapt-lines").textContent = status.lines.join("\n");
  at("adapt-verdict").textContent = status.verdict;
  at("adapt-words").textContent = words(status);
  if (status.phase === "failed") at("adapt").querySelector("details").open = true;
  showTable(status);
  showDifference(status);
  clearTimeout(timer);
  if (isRunning && at("adapt").open) timer = setTimeout(look, LOOK_MS);
};

const look = async (options = {}, place = "/api/adapt") => {
  try {
    show(await ask(place, options));
  } catch (problem) {
    at("adapt-phase").textContent = problem.message;
  }
};

export const openAdapt = () => {
  if (!at("adapt").open) at("adapt").showModal();
  look();
};
at("adapt-button").addEventListener("click", openAdapt);
at("adapt-start").addEventListener("click", () =>
  look({ method: "POST", body: JSON.stringify({ steps: Number(at("adapt-steps").value) }) }),
);
at("adapt-show").addEventListener("click", async () => {
  try {
    await allSent();
    await ask("/api/adapt/show", { method: "POST" });
    location.reload();
  } catch (problem) {
    at("adapt-phase").textContent = problem.message;
  }
});
at("adapt-stop").addEventListener("click", () => look({ method: "POST" }, "/api/adapt/stop"));
