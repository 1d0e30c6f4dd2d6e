/** What the page asks of the server, and the changes that it sends: one after the other, until each is answered. */

import { at, counted } from "./dom.js";

const RETRY_MS = 1500;
const [MOST_CHANGES, MOST_LETTERS] = [200, 400_000];
const waiting = [];
let sending = false;

/** Of the run whose picks the page shows; null before it knows. */
let run = null;
/** Whether the review has gone on to another run, and the page is about to. */
let isLeaving = false;
const NOT_TAKEN = "not taken";

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16)).join("");

/** The address of something of this run. */
export const addressOf = (path) => {
  const found = new URL(path, location.href);
  if (run !== null) found.searchParams.set("run", run);
  return found.pathname + found.search;
};

/** From now on all requests are for what the page knows of this run. */
export const know = (one) => {
  run = one;
};

/** Show the other run that the review has gone on to; what waits was meant for picks that are shown no more. */
const leave = () => {
  if (isLeaving) return;
  isLeaving = true;
  const before = JSON.parse(sessionStorage.getItem(NOT_TAKEN) ?? "[]");
  const lost = waiting.splice(0).map((one) => JSON.parse(one.text).micrograph ?? "");
  if (lost.length) sessionStorage.setItem(NOT_TAKEN, JSON.stringify([...before, ...lost]));
  location.reload();
};

/** Names of micrographs, one for each change that was not taken because the page was of another run. */
export const notTaken = () => JSON.parse(sessionStorage.getItem(NOT_TAKEN) ?? "[]");
export const forgetNotTaken = () => sessionStorage.removeItem(NOT_TAKEN);

/** Whether changes wait for their answers. */
export const isBusy = () => waiting.length > 0;

const say = (text, look = "") => {
  if (isLeaving) return;
  at("saved").textContent = text;
  at("saved").className = look;
};

const ended = () => say("This address holds no longer: open the new one that cryotx review prints.", "lost");

/** Whether the server takes nothing more from this page; tell why, or show what there is instead. */
const isNoMore = ({ status }) => {
  if (status === 403) ended();
  if (status === 409) leave();
  return status === 403 || status === 409;
};

export const ask = async (path, options = {}) => {
  const answer = await fetch(addressOf(path), options);
  isNoMore(answer);
  const content = await answer.json().catch(() => ({ error: `The server answers ${answer.status}.` }));
  if (!answer.ok) throw new Error(content.error ?? `The server answers ${answer.status}.`);
  return content;
};

const post = (changes) =>
  fetch(addressOf("/api/changes"), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: `[${changes.map((one) => one.text).join(",")}]`,
  });

/** What goes with the next request: all that waits, as far as a request may be large. */
const together = (most) => {
  let [count, size] = [0, 0];
  while (count < Math.min(most, waiting.length) && (!count || size + waiting[count].text.length < MOST_LETTERS))
    size += waiting[count++].text.length;
  return waiting.slice(0, count);
};

/** Tell the senders of changes what the server has answered. */
const hand = (part, answer, content) => {
  for (const [i, { done, failed }] of part.entries())
    if (!answer.ok) failed(content.error ?? `The server answers ${answer.status}.`);
    else if (content[i]) done(content[i]);
  if (answer.ok) say(waiting.length ? "Saving …" : "All changes are saved", waiting.length ? "waiting" : "");
};

const drain = async () => {
  if (sending) return;
  sending = true;
  let most = MOST_CHANGES;
  while (waiting.length) {
    const part = together(most);
    try {
      const answer = await post(part);
      const content = await answer.json().catch(() => ({}));
      if (isNoMore(answer)) break;
      most = answer.ok ? MOST_CHANGES : 1; // none counts because of one: by themselves the others do
      if (!answer.ok && part.length > 1) continue;
      waiting.splice(0, part.length);
      hand(part, answer, content);
    } catch {
      // A change has an identity: sent twice, it counts once.
      say(`The server does not answer: ${counted(waiting.length, "changes")} not saved`, "lost");
      await new Promise((again) => setTimeout(again, RETRY_MS));
    }
  }
  sending = false;
};

/** Send a change; `done` gets the answer, `failed` the reason of a refusal. */
export const send = (change, done, failed = (reason) => say(reason, "lost")) => {
  if (isLeaving) return;
  waiting.push({ text: JSON.stringify({ ...change, id: random() }), done, failed });
  say("Saving …", "waiting");
  drain();
};

/** Wait until no change waits. */
export const allSent = async () => {
  while (isBusy()) await new Promise((again) => setTimeout(again, 50));
};

/** Ask again and again what others have changed; `take` gets each answer. */
export const follow = (seq, take) => {
  let after = seq;
  const look = async () => {
    try {
      const answer = await ask(`/api/changes?after=${after}`);
      after = answer.seq;
      take(answer);
      if (!waiting.length && at("saved").className === "lost") say("The server answers again");
      setTimeout(look, 1000);
    } catch (problem) {
      if (isLeaving) return null;
      if (!at("saved").textContent.startsWith("This address"))
        say(waiting.length ? at("saved").textContent : "The server does not answer: is it still running?", "lost");
      setTimeout(look, RETRY_MS);
      return problem;
    }
    return null;
  };
  setTimeout(look, 1000);
};

window.addEventListener("beforeunload", (event) => {
  if (waiting.length) event.preventDefault();
});

export const tell = (text) => say(text);
