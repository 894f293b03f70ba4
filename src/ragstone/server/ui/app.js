// The page: search while typing, ask on Enter, and the keys.

import { ConnectionLost, ask, askStream, get, wasAborted } from "./api.js";
import { AnswerView, hideAnswer } from "./answer.js";
import { byId, count, element, notice, say } from "./dom.js";
import { hideResults, moveAlongCards, showResults, showSources } from "./passages.js";
import { setUpKey } from "./key.js";
import { setUpReader } from "./reader.js";
import { connectionLost, watchService } from "./status.js";

const TYPING_PAUSE_MS = 140; // a fast typist's gap between keys; a search takes less than what is left to 200 ms

const input = byId("question");
let searching = null; // the AbortController of the search under way
let asking = null; // and of the answer
let typing = 0;
let documents = null; // how many there are, once known

async function search() {
  const query = input.value.trim();
  searching?.abort();
  if (!query) {
    hideResults();
    showWelcome();
    return;
  }
  const mine = (searching = new AbortController());
  try {
    const result = await get("/api/search", { q: query, k: 10, ...chosen() }, mine.signal);
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

async function answer() {
  const question = input.value.trim();
  if (!question) return;
  stopAll();
  const mine = (asking = new AbortController());
  const view = new AnswerView(question);
  const { filter } = chosen();
  const body = filter ? { question, filter } : { question };
  byId("welcome").hidden = true;
  hideResults();
  setAsking(true);
  say("Looking for an answer.");
  try {
    const done = await streamedOrWhole(body, question, view, mine.signal);
    view.finish(done);
    showEvidence(question, done);
  } catch (error) {
    if (wasAborted(error) || mine.signal.aborted) view.stop();
    else if (error instanceof ConnectionLost) {
      view.stop();
      connectionLost(() => input.value.trim() === question && answer());
    } else view.fail(error, answer);
  } finally {
    if (asking === mine) {
      asking = null;
      setAsking(false);
    }
  }
}

/** The finished answer; when the stream breaks or is switched off, asked once more without it. */
async function streamedOrWhole(body, question, view, signal) {
  const hits = [];
  let done = null;
  const on = {
    source: (source) => {
      hits.push(source);
      view.addSource(source);
      showSources(question, hits);
    },
    token: ({ text }) => view.addText(text),
    done: (whole) => (done = whole),
  };
  try {
    await askStream(body, on, signal);
    return done;
  } catch (error) {
    if (!(error instanceof ConnectionLost) && error.code !== "streaming_off") throw error;
    say("The answer broke off; asking again.");
    return await ask(body, signal);
  }
}

function showEvidence(question, done) {
  const cited = new Set(done.citations.map((citation) => citation.n));
  if (done.grounded) {
    showSources(question, done.hits, { cited });
    say(`Answer ready, ${count(cited.size, "source")}.`);
  } else {
    showSources(question, done.hits, { title: "The closest passages", numbered: false });
  }
}

function showSearchProblem(error) {
  byId("welcome").hidden = true;
  byId("results").hidden = false;
  byId("results-title").textContent = "Not searched";
  byId("results-meta").textContent = "";
  byId("cards").replaceChildren();
  byId("results-notes").replaceChildren(notice("bad", error.message, error.hint, { label: "Try again", run: search }));
}

function showWelcome() {
  const place = byId("welcome");
  const idle = !input.value.trim() && byId("answer").hidden;
  place.hidden = documents === null || (documents > 0 && !idle);
  if (place.hidden) return;
  if (documents) {
    place.replaceChildren(
      element("p", {}, "Type to search. Press Enter to get an answer with its sources."),
    );
    return;
  }
  place.replaceChildren(
    element("h1", {}, "Nothing to search yet"),
    element("p", {}, "Index a folder of documents, then ask them:"),
    element("pre", {}, element("code", {}, "ragstone index ~/Documents")),
  );
}

function showCounts(stats, progress) {
  const before = documents;
  documents = progress.state === "running" && !stats.documents ? null : stats.documents;
  byId("counts").textContent = stats.documents
    ? `${count(stats.documents, "document")} · ${count(stats.chunks, "passage")}`
    : "";
  if (before !== documents) showWelcome();
}

function chosen() {
  return { filter: byId("filter").value.trim(), mode: byId("mode").value };
}

function stopAll() {
  clearTimeout(typing);
  searching?.abort();
  asking?.abort();
}

function setAsking(on) {
  byId("go").textContent = on ? "Stop" : "Ask";
  byId("go").classList.toggle("stop", on);
}

function searchSoon() {
  stopAll();
  hideAnswer();
  typing = setTimeout(search, TYPING_PAUSE_MS);
}

function onKey(event) {
  if (byId("reader").open || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target.matches("input, select, textarea");
  if (event.key === "/" && !writing) focusQuestion();
  else if (event.key === "Escape") onEscape();
  else if (event.key === "ArrowDown" && !event.target.matches("select")) {
    if (!moveAlongCards(1)) return;
  } else if (event.key === "ArrowUp" && !writing) {
    if (!moveAlongCards(-1)) focusQuestion();
  } else return;
  event.preventDefault();
}

function onEscape() {
  if (asking) {
    asking.abort();
    say("Stopped.");
  } else if (document.activeElement === input && input.value) {
    input.value = "";
    searchSoon();
  }
  input.focus();
}

function focusQuestion() {
  input.focus();
  input.select();
}

setUpKey();
setUpReader();
input.addEventListener("input", searchSoon);
byId("filter").addEventListener("input", searchSoon);
byId("mode").addEventListener("change", searchSoon);
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (asking) asking.abort();
  else answer();
});
document.addEventListener("keydown", onKey);
watchService(showCounts);
