// What the last tuning measured: the indexes that no other beats in time, memory and recall together.

import { bars } from "./charts.js";
import { duration, element, update } from "./dom.js";

/** A plan, and how hard it is searched where that was measured: "IVF,SQ8, nlist 400, probes 8". */
const name = ({ index_type: type, parameters = {}, effort = {} }) =>
  [type, ...Object.entries({ ...parameters, ...effort }).flatMap(([key, value]) => (value ? `${key} ${value}` : []))].join(", ");

/** Show the front of the latest tuning, if there was one, and what is applied. */
export function showTuning(place, { applied, measured }) {
  if (!applied && !measured) return update(place);
  const inForce = applied ? `${name(applied)} is applied.` : "Nothing is applied: the collection chooses by its size.";
  update(place, element("h2", {}, "Tuning"), element("p", { class: "muted" }, inForce), measured ? table(measured) : "");
}

function table({ front, best }) {
  const slowest = Math.max(...front.map(({ p95_ms: ms }) => ms));
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
