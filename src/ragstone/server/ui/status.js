// What the service is doing: how many documents, how far indexing is, whether it answers at all.

import { get } from "./api.js";
import { byId, count, element, notice, say } from "./dom.js";

const BUSY_POLL_MS = 700; // while indexing: a number that moves, at 1.5 small requests a second
const IDLE_POLL_MS = 10_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000]; // the last one repeats

const WORK = { scan: ["Looking at", "file"], read: ["Reading", "file"], embed: ["Embedding", "passage"], seal: ["Sealing", "segment"] };

let retrying = null;

/** Poll for news while the page is seen; `onCounts(stats, progress)` after each one. */
export async function watchService(onCounts) {
  let before = "";
  for (;;) {
    let wait = IDLE_POLL_MS;
    if (!document.hidden && !retrying) {
      try {
        const progress = await get("/api/index/progress");
        showIndexing(progress, before);
        if (progress.state === "running") wait = BUSY_POLL_MS;
        onCounts(await get("/api/stats"), progress);
        before = progress.state;
      } catch (error) {
        if (!error.status) connectionLost(() => {});
      }
    }
    await Promise.race([pause(wait), seenAgain()]);
  }
}

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

function showIndexing(progress, before) {
  const place = byId("indexing");
  if (progress.state === "running") {
    place.hidden = false;
    updateIndexing(place, progress);
    return;
  }
  if (before === "running") say(progress.state === "done" ? "Indexing is finished." : "Indexing stopped.");
  const notes = outcome(progress);
  place.hidden = !notes.length;
  place.replaceChildren(...notes);
}

function updateIndexing(place, { stage, done, total, per_second: rate, seconds_left: left }) {
  const [verb, unit] = WORK[stage] ?? ["Starting", ""];
  const facts = [];
  if (stage) facts.push(total ? `${verb} ${done.toLocaleString("en")} of ${count(total, unit)}` : `${verb} ${count(done, unit)}`);
  else facts.push("Indexing begins");
  if (rate) facts.push(`${rate >= 10 ? Math.round(rate) : rate}/s`);
  if (left) facts.push(`${remaining(left)} left`);
  if (!place.querySelector("progress")) {
    place.replaceChildren(
      element("progress", { "aria-label": "Indexing" }),
      element("p", { class: "small" }),
      element("p", { class: "small muted" }, "What has been read can already be searched."),
    );
  }
  const bar = place.querySelector("progress");
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  place.querySelector("p").textContent = facts.join(" · ");
}

function outcome({ state, failed, failures, error }) {
  if (state === "failed") return [notice("bad", `Indexing stopped: ${error.message}`, error.hint)];
  if (!failed) return [];
  const rows = failures.map(({ path, code, message }) =>
    element("li", {}, element("span", { class: "path" }, path), ` ${code.replaceAll("_", " ")}: ${message}`),
  );
  const list = element("details", { class: "notice quiet" }, element("summary", {}, `${count(failed, "file")} could not be read`));
  list.append(element("ul", { class: "small" }, ...rows));
  return [list];
}

function remaining(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const pause = (ms) => new Promise((resolve) => setTimeout(() => resolve(false), ms));
const seenAgain = () =>
  new Promise((resolve) => document.addEventListener("visibilitychange", () => resolve(false), { once: true }));
