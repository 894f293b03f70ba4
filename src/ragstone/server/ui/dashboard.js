// The view of the service's figures: nothing but what `/api/stats` says, and how it moved since the view was opened.
// Every figure carries the key under which it stands there.

import { byId, duration, element, update } from "./dom.js";
import { bars, curve } from "./charts.js";
import { showTuning } from "./tuning.js";

const KEPT = 60; // points of a curve: two minutes at one in two seconds
const PERCENTILES = ["p50", "p90", "p95", "p99"];
const LABELS = { search: "Search", ask: "Answer", index: "Indexing" };

const history = { search: [], ask: [] }; // p50 by time

export function showDashboard(place, stats) {
  if (!place.querySelector("h1")) {
    const parts = ["tiles", "moving", "latencies", "caches", "degraded", "tuning"].map((name) => element("div", { id: `status-${name}` }));
    place.replaceChildren(
      element("h1", { tabindex: "-1" }, "Status"),
      element("p", { class: "muted" }, "Of the service since it was started, as it is now."),
      ...parts,
    );
  }
  if (!stats) return;
  showTiles(byId("status-tiles"), stats);
  showMoving(byId("status-moving"), stats.latencies_ms);
  showLatencies(byId("status-latencies"), stats.latencies_ms);
  showCaches(byId("status-caches"), stats.caches);
  showDegraded(byId("status-degraded"), stats.degraded);
  showTuning(byId("status-tuning"), stats.tuning);
}

/** A figure: its text, with the key and the exact value for whoever looks closer. */
function figure(key, value, text = whole(value)) {
  return element("span", { class: "figure", "data-key": key, "data-value": JSON.stringify(value), title: String(value) }, text);
}

function showTiles(place, stats) {
  const tile = (label, ...content) => element("div", { class: "tile" }, element("dt", {}, label), element("dd", {}, ...content));
  const { recall } = stats;
  update(
    place,
    element(
      "dl",
      { class: "tiles" },
      tile("Documents", figure("documents", stats.documents)),
      tile("Passages", figure("chunks", stats.chunks)),
      tile("On disk", figure("bytes", stats.bytes, bytes(stats.bytes))),
      tile("Waiting for a vector", figure("unembedded", stats.unembedded)),
      tile("Waiting for a segment", figure("pending", stats.pending)),
      tile("Segments", figure("segments", stats.segments)),
      tile("Names and links", figure("graph_nodes", stats.graph_nodes), " · ", figure("graph_edges", stats.graph_edges)),
      tile("Model", figure("model", stats.model, stats.model ?? "none yet")),
      tile("Index plan", figure("index_types", stats.index_types, plans(stats))),
      tile("Recall", recall ? figure("recall.mean", recall.mean, percent(recall.mean)) : figure("recall", null, "exact")),
    ),
  );
}

function showMoving(place, latencies) {
  for (const name of Object.keys(history)) {
    if (!latencies[name]) continue;
    history[name] = [...history[name], latencies[name].p50].slice(-KEPT);
  }
  update(
    place,
    ...Object.entries(history)
      .filter(([, values]) => values.length)
      .map(([name, values]) => curve(values, `${LABELS[name]}, median of the latest: ${duration(values.at(-1))}`)),
  );
}

function showLatencies(place, latencies) {
  const operations = Object.keys(latencies).filter((name) => !name.includes("."));
  update(
    place,
    element("h2", {}, "Latency"),
    operations.length ? "" : element("p", { class: "muted" }, "Nothing has been asked yet."),
    ...operations.map((operation) => latencyTable(operation, latencies)),
  );
}

function latencyTable(operation, latencies) {
  const names = [operation, ...Object.keys(latencies).filter((name) => name.startsWith(`${operation}.`))];
  const most = Math.max(...names.map((name) => latencies[name].p99));
  const row = (name) => {
    const found = latencies[name];
    const label = name === operation ? "all of it" : name.slice(operation.length + 1).replaceAll("_", " ");
    return element(
      "tr",
      { class: name === operation ? "whole" : null },
      element("th", { scope: "row" }, label),
      element("td", { class: "bar-cell" }, bars(found.p50, found.p99, most)),
      ...PERCENTILES.map((which) => element("td", {}, figure(`latencies_ms.${name}.${which}`, found[which], duration(found[which])))),
      element("td", {}, figure(`latencies_ms.${name}.count`, found.count)),
    );
  };
  return table(LABELS[operation] ?? operation, ["Stage", "p50 to p99", ...PERCENTILES, "Calls"], names.map(row));
}

function showCaches(place, caches) {
  const rows = Object.entries(caches).map(([name, cache]) => {
    const asked = cache.hits + cache.misses;
    const rate = asked ? cache.hits / asked : null;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, name.replaceAll("_", " ")),
      element("td", { class: "bar-cell" }, bars(rate ?? 0, rate ?? 0, 1)),
      element("td", {}, rate === null ? "–" : percent(rate)),
      ...["hits", "misses", "evictions", "entries", "capacity"].map((which) =>
        element("td", {}, which in cache ? figure(`caches.${name}.${which}`, cache[which]) : "–"),
      ),
    );
  });
  const heads = ["Cache", "", "Found", "Hits", "Misses", "Dropped", "Kept", "Room"];
  update(place, element("h2", {}, "Caches"), table("", heads, rows));
}

function showDegraded(place, degraded) {
  if (!degraded) return;
  const found = Object.entries(degraded);
  update(
    place,
    element("h2", {}, "Sources that did not take part"),
    found.length
      ? element("ul", {}, ...found.map(([source, times]) => element("li", {}, `${source}: `, figure(`degraded.${source}`, times), " times")))
      : element("p", { class: "muted" }, "None; every search had all its sources."),
  );
}

function table(caption, heads, rows) {
  return element(
    "div",
    { class: "scrolled", tabindex: "0", role: "region", "aria-label": caption || heads[0] },
    element(
      "table",
      {},
      caption ? element("caption", {}, caption) : null,
      element("thead", {}, element("tr", {}, ...heads.map((head, index) => element("th", { scope: "col", class: index === 1 ? "bar-cell" : null }, head || element("span", { class: "unseen" }, "drawn"))))),
      element("tbody", {}, ...rows),
    ),
  );
}

const whole = (value) => (typeof value === "number" ? value.toLocaleString("en") : String(value ?? "–"));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plans = ({ index_types: types, pending }) => [...new Set(types)].join(", ") || (pending ? "exact, in memory" : "none yet");

function bytes(size) {
  if (size < 1e6) return `${(size / 1e3).toFixed(1)} kB`;
  return size < 1e9 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e9).toFixed(2)} GB`;
}
