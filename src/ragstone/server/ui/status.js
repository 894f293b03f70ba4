// What the service is doing, asked for now and then while the page is seen: its figures, and how far indexing is.

import { get } from "./api.js";
import { connectionLost, isLost, pause } from "./connection.js";
import { byId, element, say } from "./dom.js";
import { learn } from "./offered.js";
import { outcome, showProgress } from "./progress.js";
import { isShown } from "./views.js";

const BUSY_POLL_MS = 700; // while indexing: a number that moves, at 1.5 small requests a second
const WATCHED_POLL_MS = 2_000; // while the figures are looked at
const IDLE_POLL_MS = 10_000;

let wake = () => {};

/** Ask now instead of later. */
export const askNow = () => wake();

/** Poll for news; `onNews(stats, progress)` after each time. */
export async function watchService(onNews) {
  let before = "";
  document.addEventListener("visibilitychange", askNow);
  addEventListener("hashchange", askNow);
  for (;;) {
    let wait = isShown("#/status") ? WATCHED_POLL_MS : IDLE_POLL_MS;
    const woken = new Promise((resolve) => (wake = resolve));
    if (!document.hidden && !isLost()) {
      try {
        await learn();
        const progress = await get("/api/index/progress", {}, { background: true });
        showIndexing(progress, before);
        if (progress.state === "running") wait = BUSY_POLL_MS;
        onNews(await get("/api/stats", {}, { background: true }), progress);
        before = progress.state;
      } catch (error) {
        if (!error.status) connectionLost(askNow);
      }
    }
    await Promise.race([pause(wait), woken]);
  }
}

/** A job as `/api/index/progress` would tell it. */
export function progressOf({ state, progress, result, error }) {
  return { state, ...progress, error, failed: result?.documents?.failed ?? 0, failures: result?.failures ?? [] };
}

function showIndexing(progress, before) {
  const place = byId("indexing");
  if (progress.state === "running") {
    place.hidden = false;
    const begun = place.querySelector("progress");
    showProgress(place, progress, "Indexing");
    if (!begun) place.append(element("p", { class: "small muted" }, "What has been read can already be searched."));
    return;
  }
  if (before === "running") say(progress.state === "done" ? "Indexing is finished." : "Indexing stopped.");
  if (before === progress.state) return; // what is open stays open
  const notes = outcome(progress);
  place.hidden = !notes.length;
  place.replaceChildren(...notes);
}
