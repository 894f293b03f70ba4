// What the last tuning measured: the indexes that no other beats in time, memory and recall together.

import { get } from "./api.js";
import { bars } from "./charts.js";
import { duration, element } from "./dom.js";
import { offers } from "./offered.js";

/** Show the front of the latest tuning, if the service has tuned. */
export async function showTuning(place) {
  if (!offers("GET /api/jobs")) return;
  try {
    const { jobs } = await get("/api/jobs", {}, { background: true });
    const tuned = jobs.find(({ kind, state }) => kind === "tune" && state === "done");
    if (tuned) place.replaceChildren(element("h2", {}, "Tuning"), table(tuned.result));
  } catch {
    // the connection's own notice says why
  }
}

function table({ front, best }) {
  const slowest = Math.max(...front.map(({ p95_ms: ms }) => ms));
  const name = ({ index_type: type, parameters }) =>
    [type, ...Object.entries(parameters ?? {}).map(([key, value]) => `${key} ${value}`)].join(", ");
  const cells = (result) => [
    element("td", { class: "bar-cell" }, bars(result.p50_ms, result.p95_ms, slowest)),
    ...[
      `${(100 * result.recall_10).toFixed(1)} %`,
      duration(result.p50_ms),
      duration(result.p95_ms),
      `${(result.memory_bytes / 1e6).toFixed(1)} MB`,
    ].map((text) => element("td", {}, text)),
  ];
  const heads = ["Index", "p50 to p95", "Recall", "p50", "p95", "Memory"];
  return element(
    "div",
    { class: "scrolled", tabindex: "0", role: "region", "aria-label": "What the last tuning measured" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head, index) => element("th", { scope: "col", class: index === 1 ? "bar-cell" : null }, head)))),
      element(
        "tbody",
        {},
        ...front.map((result) =>
          element("tr", { class: name(result) === name(best) ? "whole" : null }, element("th", { scope: "row" }, name(result)), ...cells(result)),
        ),
      ),
    ),
  );
}
