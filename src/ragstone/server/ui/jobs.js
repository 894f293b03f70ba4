// Uploads and indexing as jobs of the service: started here, followed, cancelled and taken up again.

import { send, get } from "./api.js";
import { byId, count, element, say, trouble } from "./dom.js";
import { offers } from "./offered.js";
import { outcome, showProgress } from "./progress.js";
import { askNow, progressOf } from "./status.js";

const POLL_MS = 700;
const SHOWN = 10; // the latest
const ENDED = new Set(["done", "failed", "cancelled"]);
const NAMES = { index: "Indexing", upload: "Upload", tune: "Tuning" };

const started = new Map(); // id → how to start it again
const states = new Map(); // id → the state seen last
let following = 0;
let onEnd = () => {};

/** Call `listener` when a job has ended. */
export const onJobEnd = (listener) => (onEnd = listener);

/** Send files, which the service reads in a job. */
export async function upload(files) {
  const form = new FormData();
  files.forEach((file) => form.append("files", file, file.name));
  const total = files.reduce((sum, file) => sum + file.size, 0);
  said(element("p", {}, `Sending ${count(files.length, "file")}, ${(total / 1e6).toFixed(1)} MB…`));
  await start(() => send("POST", "/api/documents", form), () => upload(files));
}

/** Index the folders that the service was started with. */
export const indexAll = () => start(() => send("POST", "/api/index", {}), indexAll);

async function start(request, again) {
  try {
    const job = await request();
    started.set(job.id, again);
    said();
    askNow();
    follow();
  } catch (error) {
    said(trouble(error, again));
  }
}

/** Show the jobs, again and again while one of them goes on and the view is open. */
export async function follow() {
  const mine = (following += 1);
  for (;;) {
    const jobs = await known();
    if (mine !== following || byId("jobs") === null) return;
    byId("jobs").hidden = !jobs.length;
    [...jobs].reverse().forEach((job) => show(job)); // a new one goes to the top
    for (const row of [...byId("jobs").children]) if (!jobs.some(({ id }) => row.dataset.id === id)) row.remove();
    if (jobs.every(({ state }) => ENDED.has(state))) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (byId("view-documents").hidden) return;
  }
}

async function known() {
  try {
    return (await get("/api/jobs", {}, { background: true })).jobs.slice(0, SHOWN);
  } catch {
    return [...states].map(([id, state]) => ({ id, state, progress: {} })); // the connection's own notice says why
  }
}

/** Bring a job's row up to date; what can be pressed stays where it is. */
function show(job) {
  const list = byId("jobs");
  let row = [...list.children].find(({ dataset }) => dataset.id === job.id);
  const changed = states.get(job.id) !== job.state;
  if (!row) {
    row = element("li", { "data-id": job.id }, element("h3", {}), element("div", { class: "job-progress" }), element("div", { class: "buttons" }));
    list.prepend(row);
  }
  const kind = NAMES[job.kind] ?? "Job";
  const name = [kind, shortened(job.label ?? "")].filter(Boolean).join(" · ");
  row.querySelector("h3").textContent = `${name} · ${job.state}`;
  const progress = row.querySelector(".job-progress");
  if (!ENDED.has(job.state)) showProgress(progress, job.progress ?? {}, kind);
  if (!changed && row.dataset.shown) return;
  row.dataset.shown = "yes";
  if (ENDED.has(job.state)) progress.replaceChildren(...outcome(progressOf(job)));
  row.querySelector(".buttons").replaceChildren(...buttons(job, name));
  if (ENDED.has(job.state) && states.has(job.id)) {
    say(`${name} is ${job.state}.`);
    askNow();
    onEnd();
  }
  states.set(job.id, job.state);
}

function buttons(job, name) {
  const again = started.get(job.id) ?? (job.kind === "index" && offers("POST /api/index") ? indexAll : null);
  if (!ENDED.has(job.state)) {
    const cancel = () => send("DELETE", `/api/jobs/${job.id}`).then(follow, (error) => say(error.message));
    return [element("button", { type: "button", class: "button", "aria-label": `Cancel: ${name}`, click: cancel }, "Cancel")];
  }
  if (job.state === "done" || !again) return [];
  return [element("button", { type: "button", class: "button", "aria-label": `Resume: ${name}`, click: again }, "Resume")];
}

const shortened = (label) => (label.length > 80 ? `${label.slice(0, 80)}…` : label);

function said(...nodes) {
  byId("sending")?.replaceChildren(...nodes);
}
