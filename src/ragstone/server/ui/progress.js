// How far a piece of indexing is: a bar and a line with count, rate and time left.

import { count, element, notice } from "./dom.js";

const WORK = {
  scan: ["Looking at", "file"],
  read: ["Reading", "file"],
  embed: ["Embedding", "passage"],
  seal: ["Sealing", "segment"],
  tune: ["Trying", "setting"],
};

/** Bring the bar and the line in `place` up to a progress `{stage,done,total,per_second,seconds_left}`. */
export function showProgress(place, { stage, done, total, per_second: rate, seconds_left: left }, label) {
  const [verb, unit] = WORK[stage] ?? ["Starting", ""];
  const facts = [];
  if (stage) facts.push(total ? `${verb} ${done.toLocaleString("en")} of ${count(total, unit)}` : `${verb} ${count(done, unit)}`);
  else facts.push(`${label} begins`);
  if (rate) facts.push(`${rate >= 10 ? Math.round(rate) : rate}/s`);
  if (left) facts.push(`${remaining(left)} left`);
  if (!place.querySelector("progress")) {
    place.replaceChildren(element("progress", { "aria-label": label }), element("p", { class: "small" }));
  }
  const bar = place.querySelector("progress");
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  place.querySelector("p").textContent = facts.join(" · ");
}

/** What is to be said when it has ended: the error, or the files that could not be read. */
export function outcome({ state, failed, failures, error }) {
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
