/** What the page asks of the server, and the changes that it sends: one after the other, until each is answered. */

import { at, counted } from "./dom.js";

const RETRY_MS = 1500;
const waiting = [];
let sending = false;

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16)).join("");

/** Whether changes wait for their answers. */
export const isBusy = () => waiting.length > 0;

const say = (text, look = "") => {
  at("saved").textContent = text;
  at("saved").className = look;
};

const ended = () => say("This address holds no longer: open the new one that cryotx review prints.", "lost");

export const ask = async (path, options = {}) => {
  const answer = await fetch(path, options);
  if (answer.status === 403) ended();
  const content = await answer.json().catch(() => ({ error: `The server answers ${answer.status}.` }));
  if (!answer.ok) throw new Error(content.error ?? `The server answers ${answer.status}.`);
  return content;
};

const post = (body) =>
  fetch("/api/changes", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

const drain = async () => {
  if (sending) return;
  sending = true;
  while (waiting.length) {
    const { change, done, failed } = waiting[0];
    try {
      const answer = await post(change);
      const content = await answer.json().catch(() => ({}));
      if (answer.status === 403) {
        ended();
        break;
      }
      waiting.shift();
      if (answer.ok) done(content);
      else failed(content.error ?? `The server answers ${answer.status}.`);
      say(waiting.length ? "Saving …" : "All changes are saved", waiting.length ? "waiting" : "");
    } catch {
      // The change has an identity: sent twice, it counts once.
      say(`The server does not answer: ${counted(waiting.length, "changes")} not saved`, "lost");
      await new Promise((again) => setTimeout(again, RETRY_MS));
    }
  }
  sending = false;
};

/** Send a change; `done` gets the answer, `failed` the reason of a refusal. */
export const send = (change, done, failed = (reason) => say(reason, "lost")) => {
  waiting.push({ change: { ...change, id: random() }, done, failed });
  say("Saving …", "waiting");
  drain();
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
