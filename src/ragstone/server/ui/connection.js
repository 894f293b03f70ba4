// Nobody answers: said on the page, tried again with growing pauses, and what waited goes on.

import { get } from "./api.js";
import { byId, element, say } from "./dom.js";

const RETRY_MS = [500, 1000, 2000, 4000, 8000]; // the last one repeats

let retrying = null;

export const isLost = () => retrying !== null;

/** Say that nobody answers, try again with growing pauses, and call `resume` once it works. */
export async function connectionLost(resume) {
  if (retrying) {
    retrying.resumes.push(resume);
    return;
  }
  const state = { resumes: [resume], wake: () => {} };
  retrying = state;
  for (let tries = 0; ; tries += 1) {
    const wait = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)];
    await countDown(wait, state);
    try {
      await get("/health/live");
      break;
    } catch (error) {
      if (error.status) break; // it answers, if only to refuse
    }
  }
  retrying = null;
  byId("connection").hidden = true;
  say("Connected again.");
  state.resumes.forEach((next) => next());
}

async function countDown(wait, state) {
  const place = byId("connection");
  const seconds = element("span", {});
  const text = element("p", {}, "No connection to ragstone. Trying again in ", seconds, ".");
  const now = element("button", { type: "button", click: () => state.wake() }, "Try now");
  const hint = element("p", { class: "small" }, "Is it still running? Start it with ", element("code", {}, "ragstone serve"), ".");
  seconds.textContent = `${Math.ceil(wait / 1000)} s`;
  place.hidden = false;
  place.replaceChildren(text, hint, now);
  const woken = new Promise((resolve) => (state.wake = () => resolve(true)));
  for (let left = wait; left > 0; left -= 500) {
    seconds.textContent = `${Math.ceil(left / 1000)} s`;
    if (await Promise.race([pause(Math.min(left, 500)), woken])) return;
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(() => resolve(false), ms));
