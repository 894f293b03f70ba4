// Search while typing, and what stands on the page before anything was asked.

import { ConnectionLost, get, wasAborted } from "./api.js";
import { hasAnswer, showLatest } from "./asking.js";
import { connectionLost } from "./connection.js";
import { turns } from "./conversation.js";
import { byId, count, element, say, trouble } from "./dom.js";
import { hideResults, showResults } from "./passages.js";
import { preferences } from "./preferences.js";

const TYPING_PAUSE_MS = 140; // a fast typist's gap between keys; a search takes less than what is left to 200 ms

const input = byId("question");
let searching = null; // the AbortController of the search under way
let typing = 0;
let documents = null; // how many there are, once known

export function searchSoon() {
  stopSearch();
  typing = setTimeout(search, TYPING_PAUSE_MS);
}

export function stopSearch() {
  clearTimeout(typing);
  searching?.abort();
}

export async function search() {
  const query = input.value.trim();
  stopSearch();
  if (!query) {
    if (hasAnswer()) showLatest();
    else hideResults();
    showWelcome();
    return;
  }
  const mine = (searching = new AbortController());
  const { mode, collection } = preferences;
  const asked = { q: query, k: 10, mode, collection, filter: byId("filter").value.trim() };
  try {
    const result = await get("/api/search", asked, { signal: mine.signal });
    if (mine.signal.aborted) return; // a later key has been pressed since
    byId("welcome").hidden = true;
    showResults(query, result);
    say(result.hits.length ? count(result.hits.length, "passage") : "No passage found.");
  } catch (error) {
    if (wasAborted(error) || mine.signal.aborted) return;
    if (error instanceof ConnectionLost) {
      hideResults(); // they belong to an earlier query
      connectionLost(search);
    } else if (error.code === "not_found" && !documents) showWelcome(); // nothing has been indexed yet
    else showSearchProblem(error);
  }
}

/** Note how many documents there are, null while that is not known. */
export function noteDocuments(number) {
  if (documents === number) return;
  documents = number;
  showWelcome();
}

export function showWelcome() {
  const place = byId("welcome");
  const idle = !input.value.trim() && byId("answer").hidden && !turns().length;
  place.hidden = documents === null || (documents > 0 && !idle);
  if (place.hidden) return;
  if (documents) {
    place.replaceChildren(element("p", {}, "Type to search. Press Enter to get an answer with its sources."));
    return;
  }
  place.replaceChildren(
    element("h2", {}, "Nothing to search yet"),
    element("p", {}, "Index a folder of documents, then ask them:"),
    element("pre", { tabindex: "0" }, element("code", {}, "ragstone index ~/Documents")),
  );
}

function showSearchProblem(error) {
  byId("welcome").hidden = true;
  byId("results").hidden = false;
  byId("results-title").textContent = "Not searched";
  byId("results-meta").textContent = "";
  byId("cards").replaceChildren();
  byId("results-notes").replaceChildren(trouble(error, search));
}
