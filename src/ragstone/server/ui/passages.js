// The list of passages: search results while typing, sources under an answer.

import { send } from "./api.js";
import { byId, count, duration, element, notice, say } from "./dom.js";
import { offers } from "./offered.js";
import { openPassage } from "./reader.js";
import { markedNodes, matches, placeInDocument, queryTerms, shortPath, snippet } from "./text.js";

/** Show hits for a search; `timings` is the service's. */
export function showResults(query, result) {
  byId("results").hidden = false;
  byId("results-title").textContent = result.hits.length ? count(result.hits.length, "passage") : "No passage found";
  byId("results-meta").textContent = duration(result.timings_ms.total ?? sum(result.timings_ms));
  showNotes(byId("results-notes"), result.degraded);
  if (!result.hits.length) {
    byId("results-notes").append(element("p", { class: "muted" }, "Try fewer or other words, or ask a whole question."));
  }
  showCards(query, result.hits, () => null);
}

/** Show the numbered sources of an answer; `cited` holds the numbers that its text cites. */
export function showSources(query, hits, { title = "Sources", cited = new Set(), numbered = true } = {}) {
  byId("results").hidden = !hits.length;
  byId("results-title").textContent = title;
  byId("results-meta").textContent = cited.size ? `${cited.size} of ${hits.length} cited` : count(hits.length, "passage");
  byId("results-notes").replaceChildren();
  showCards(query, hits, (index) => (numbered ? { n: index + 1, cited: cited.has(index + 1) } : null));
}

export function hideResults() {
  byId("results").hidden = true;
  byId("cards").replaceChildren();
}

/** What did not take part, one line each, so that nothing is missing in silence. */
export function showNotes(place, degraded) {
  place.replaceChildren(
    ...degraded.map(({ source, reason }) => {
      const said = source === "citations" ? `A citation was ${reason}.` : `Without the ${source} source: ${reason}.`;
      return notice("quiet", said.replace(/[ .]+\.$/, "."));
    }),
  );
}

/** Move the focus along the cards from wherever it is; true when there was a card to go to. */
export function moveAlongCards(step) {
  const titles = [...byId("cards").querySelectorAll("h3 button")];
  const now = titles.indexOf(document.activeElement);
  const next = now === -1 ? (step > 0 ? 0 : -1) : now + step;
  if (next < 0) return false;
  titles[Math.min(next, titles.length - 1)]?.focus();
  return titles.length > 0;
}

function showCards(query, hits, label) {
  const terms = queryTerms(query);
  byId("cards").replaceChildren(...hits.map((hit, index) => card(query, hit, terms, label(index))));
}

function card(query, hit, terms, label) {
  const found = matches(hit.text, terms);
  const open = () => openPassage({ ...hit, quote: hit.text });
  const openUnlessSelecting = (event) => {
    if (!event.target.closest("button") && getSelection().isCollapsed) open();
  };
  const path = element("span", { title: hit.uri, class: "path" }, shortPath(hit.uri));
  const scores = Object.entries(hit.sources).map(([name, score]) => `${name} ${number(score)}`);
  return element(
    "li",
    { class: "card", click: openUnlessSelecting },
    element(
      "h3",
      {},
      label ? element("span", { class: label.cited ? "number cited" : "number" }, String(label.n)) : null,
      element("button", { type: "button", click: open }, hit.title || shortPath(hit.uri)),
    ),
    element("p", { class: "where small" }, path, ...placeInDocument(hit).map((place) => element("span", {}, place))),
    element("p", { class: "snippet" }, ...markedNodes(hit.text, found, snippet(hit.text, found))),
    element(
      "div",
      { class: "card-end" },
      element("p", { class: "small score" }, [`score ${number(hit.score)}`, ...scores].join(" · ")),
      offers("POST /api/feedback") ? votes(query, hit) : null,
    ),
  );
}

/** Whether the passage was of use, said once with a button; the service learns from it. */
function votes(query, hit) {
  const buttons = [
    ["Helpful", 1],
    ["Not helpful", -1],
  ].map(([label, value]) => {
    const vote = async () => {
      try {
        await send("POST", "/api/feedback", { query, id: hit.id, value, collection: hit.collection });
        buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));
        say("Noted.");
      } catch (error) {
        say(`Not noted: ${error.message}`);
      }
    };
    const chosen = element("button", { type: "button", class: "plain small", "aria-pressed": "false", click: vote }, label);
    return chosen;
  });
  return element("div", { class: "votes", role: "group", "aria-label": `Was this of use: ${hit.title}` }, ...buttons);
}

const number = (score) => (score === null ? "–" : score.toFixed(2));
const sum = (timings) => Object.values(timings).reduce((total, ms) => total + ms, 0);
