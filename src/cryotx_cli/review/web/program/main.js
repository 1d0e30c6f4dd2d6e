/** The page of a review: what is shown, and when it follows the server. */

import "./theme.js";
import { drawSoon } from "./circles.js";
import { findClasses } from "./classes.js";
import { mark, onRefusal, takeBack } from "./correct.js";
import { at, counted, number, onceAFrame, press } from "./dom.js";
import { following, nextOpen, onOpen, shortName } from "./list.js";
import { hiddenOf, picksOf } from "./picks.js";
import { enlarge, onTileProblem, prepare, showAll, showPicture } from "./picture.js";
import { ask, follow, isBusy, know, tell } from "./server.js";
import { isChoosing, onDistance, setUpSliders } from "./sliders.js";
import { changed, onChange, state } from "./state.js";
import "./turned.js";
import "./pointing.js";
import "./keys.js";

const PREPARE_MS = 1500;

const fetchView = (position) => {
  const { distance } = state.cut;
  return ask(`/api/micrographs/${position}${distance === null ? "" : `?distance=${distance}`}`);
};
const fail = (problem) => {
  at("problem").textContent = problem.message;
  at("problem").hidden = false;
};

const open = async (position) => {
  state.heading = position;
  try {
    const view = await fetchView(position);
    if (state.heading !== position) return; // somebody has gone on meanwhile
    at("problem").hidden = true;
    state.view = view;
    state.box = null;
    state.brush ||= view.diameter;
    showPicture(view);
    history.replaceState(null, "", `#${encodeURIComponent(view.name)}`);
    setTimeout(() => {
      if (state.heading === position && following() !== null) prepare(following());
    }, PREPARE_MS);
  } catch (problem) {
    fail(problem);
  }
  changed();
};
onOpen(open);
onTileProblem((address) => ask(address).catch(fail)); // it says why

/** Fetch the micrograph that is shown once more: its candidates, or what others have corrected. */
const refetch = async () => {
  const position = state.view?.position;
  if (position === undefined) return;
  try {
    const view = await fetchView(position);
    if (state.view.position === position && !isBusy()) state.view = view;
  } catch (problem) {
    fail(problem);
  }
  changed();
};
onDistance(refetch);
onRefusal((reason) => {
  tell(reason);
  refetch();
});

const list = async () => {
  const sliders = !state.review;
  state.review = await ask("/api/review");
  know(state.review.run);
  if (sliders) {
    Object.assign(state.cut, state.review.cut);
    setUpSliders();
    findClasses();
  }
  changed();
};

/** Take what others have changed, or the run has picked, since the last look. */
const take = async (news) => {
  if (news.version !== state.review.version) await list();
  for (const one of news.changed) {
    const listed = state.review.micrographs.find((other) => other.position === one.position);
    if (listed) Object.assign(listed, one);
  }
  const others = news.changed.some((one) => one.position === state.view?.position && one.last > state.view.seq);
  const cutMoved = news.cut.threshold !== state.review.cut.threshold || news.cut.distance !== state.review.cut.distance;
  if (cutMoved && !isBusy() && !isChoosing()) {
    state.review.cut = news.cut;
    const moved = news.cut.threshold !== state.cut.threshold || news.cut.distance !== state.cut.distance;
    Object.assign(state.cut, news.cut);
    if (moved) await list();
  }
  if ((others || cutMoved) && !isBusy()) await refetch();
  else if (news.changed.length) changed();
};

const describe = onceAFrame(() => {
  const { view, review } = state;
  if (!review) return;
  at("title").textContent = review.title;
  document.title = `${review.title}: cryotx review`;
  for (const id of ["done", "bad", "undo", "redo"]) at(id).disabled = !view;
  if (!view) return;
  const picks = picksOf(view, state.cut);
  const byHand = picks.filter((one) => one.added).length;
  const size = `${number(view.width)} × ${number(view.height)} px of ${view.pixel_size.toPrecision(3)} Å`;
  const corrections = `${number(byHand)} by hand, ${number(view.corrections.removed.length)} removed`;
  at("name").textContent = shortName(view.name);
  at("name").title = view.name;
  const hidden = hiddenOf(view, picks, state.hiddenClasses).length;
  const unseen = hidden ? [`${number(hidden)} hidden with their classes`] : [];
  at("facts").textContent = [counted(picks.length, "picks"), ...unseen, corrections, size].join(" · ");
  press(at("done"), view.corrections.mark === "done");
  press(at("bad"), view.corrections.mark === "bad");
  at("undo").disabled = !view.undo;
  at("redo").disabled = !view.redo;
});
onChange(describe);

at("done").addEventListener("click", () => mark("done"));
at("bad").addEventListener("click", () => mark("bad"));
at("undo").addEventListener("click", () => takeBack("undo"));
at("redo").addEventListener("click", () => takeBack("redo"));
at("zoom-in").addEventListener("click", () => enlarge(1.5));
at("zoom-out").addEventListener("click", () => enlarge(1 / 1.5));
at("zoom-all").addEventListener("click", showAll);
new ResizeObserver(drawSoon).observe(at("room"));

const start = async () => {
  const name = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", `/${location.hash}`); // the token has been used
  try {
    await list();
  } catch (problem) {
    fail(problem);
    return;
  }
  const named = state.review.micrographs.find((one) => one.name === name && !one.error);
  const first = named ?? state.review.micrographs.find((one) => !one.error);
  follow(state.review.seq, take);
  if (first) await open(first.position);
  else nextOpen();
};
start();
