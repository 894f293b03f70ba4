// The page: its views put together, the options beside the question, and the keys.

import { answer, beginAnew, clearAnswer, isAsking, stopAnswer } from "./asking.js";
import { showDashboard } from "./dashboard.js";
import { setUpDocuments } from "./documents.js";
import { byId, count, element, say } from "./dom.js";
import { learn, offers } from "./offered.js";
import { hideResults, moveAlongCards } from "./passages.js";
import { onPreference, prefer, preferences } from "./preferences.js";
import { setUpReader } from "./reader.js";
import { noteDocuments, search, searchSoon, showWelcome, stopSearch } from "./searching.js";
import { showSettings } from "./settings.js";
import { watchService } from "./status.js";
import { showHistory } from "./thread.js";
import { addView, go, isShown, startViews } from "./views.js";

const input = byId("question");
let stats = null; // as the service told them last

function submit() {
  const question = input.value.trim();
  if (isAsking()) stopAnswer();
  else if (question) {
    stopSearch();
    input.value = "";
    answer(question, byId("filter").value.trim());
  }
}

function showNews(told, progress) {
  stats = told;
  noteDocuments(progress.state === "running" && !stats.documents ? null : stats.documents);
  byId("counts").textContent = stats.documents
    ? `${count(stats.documents, "document")} · ${count(stats.chunks, "passage")}`
    : "";
  offerCollections(stats.collections.filter((name) => !name.endsWith(".memory")));
  byId("memory-field").hidden = !offers("GET /api/memory/search");
  if (isShown("#/status")) showDashboard(byId("view-status"), stats);
}

function offerCollections(names) {
  const select = byId("collection");
  byId("collection-field").hidden = names.length < 2;
  if (!names.includes(preferences.collection)) prefer("collection", "");
  if ([...select.options].map(({ value }) => value).join("\n") === ["", ...names].join("\n")) return;
  select.replaceChildren(
    element("option", { value: "" }, "the service's own"),
    ...names.map((name) => element("option", { value: name }, name)),
  );
  select.value = preferences.collection;
}

function onKey(event) {
  if (document.querySelector("dialog[open]") || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target.matches("input, select, textarea");
  const onAsk = isShown("#/");
  if (event.key === "/" && !writing) focusQuestion();
  else if (event.key === "Escape" && onAsk) onEscape();
  else if (event.key === "ArrowDown" && onAsk && !event.target.matches("select")) {
    if (!moveAlongCards(1)) return;
  } else if (event.key === "ArrowUp" && onAsk && !writing) {
    if (!moveAlongCards(-1)) focusQuestion();
  } else return;
  event.preventDefault();
}

function onEscape() {
  if (isAsking()) {
    stopAnswer();
    say("Stopped.");
  } else if (document.activeElement === input && input.value) {
    input.value = "";
    searchSoon();
  }
  input.focus();
}

function focusQuestion() {
  go("#/");
  input.focus();
  input.select();
}

function showOptions() {
  byId("mode").value = preferences.mode;
  byId("collection").value = preferences.collection;
  byId("memory").checked = preferences.memory;
}

setUpReader();
showOptions();
onPreference((name) => {
  showOptions();
  if (["mode", "collection"].includes(name)) searchSoon();
});
input.addEventListener("input", searchSoon);
byId("filter").addEventListener("input", searchSoon);
byId("mode").addEventListener("change", () => prefer("mode", byId("mode").value));
byId("collection").addEventListener("change", () => prefer("collection", byId("collection").value));
byId("memory").addEventListener("change", () => prefer("memory", byId("memory").checked));
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("fresh").addEventListener("click", () => {
  beginAnew();
  hideResults();
  search();
  input.focus();
});
document.addEventListener("keydown", onKey);

addView("#/", { name: "Ask", id: "view-ask" });
addView("#/history", {
  name: "Conversations",
  id: "view-history",
  show: (place) =>
    showHistory(place, () => {
      clearAnswer();
      showWelcome();
    }),
});
setUpDocuments();
addView("#/status", {
  name: "Status",
  id: "view-status",
  show: (place) => showDashboard(place, stats),
});
addView("#/settings", { name: "Settings", id: "view-settings", show: showSettings });
learn()
  .catch(() => {}) // the service does not answer now: the parts that need certain routes come once it does
  .finally(() => {
    startViews();
    watchService(showNews);
  });
