// The view of the settings: what the reader prefers, kept in this browser.

import { removeAll } from "./conversation.js";
import { clearAnswer } from "./asking.js";
import { byId, element, say } from "./dom.js";
import { forgetKey, hasKey } from "./key.js";
import { prefer, preferences } from "./preferences.js";
import { askNow } from "./status.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const MODES = { hybrid: "meaning, words", dense: "meaning", keyword: "words" };

export function showSettings(place) {
  const counts = { 0: "the service decides", ...Object.fromEntries(Array.from({ length: 10 }, (_, i) => [i + 1, String(i + 1)])) };
  const collections = Object.fromEntries([...byId("collection").options].map(({ value, text }) => [value, text]));
  place.replaceChildren(
    element("h1", { tabindex: "-1" }, "Settings"),
    element("p", { class: "muted" }, "They are kept in this browser."),
    element(
      "div",
      { class: "settings" },
      choice("theme", "Colours", THEMES),
      choice("mode", "Search by", MODES),
      choice("k", "Passages for an answer", counts, Number),
      Object.keys(collections).length > 2 ? choice("collection", "Collection", collections) : null,
      keeping(),
      hasKey() ? keyButton(place) : null,
    ),
  );
}

function choice(name, label, options, read = String) {
  const id = `setting-${name}`;
  const select = element(
    "select",
    { id, change: () => prefer(name, read(select.value)) },
    ...Object.entries(options).map(([value, text]) => element("option", { value }, text)),
  );
  select.value = String(preferences[name]);
  return element("div", { class: "setting" }, element("label", { for: id }, label), select);
}

function keeping() {
  const box = element("input", { id: "setting-keep", type: "checkbox" });
  box.checked = preferences.keep;
  box.addEventListener("change", () => {
    prefer("keep", box.checked);
    if (!box.checked) {
      removeAll();
      clearAnswer();
      say("The kept conversations are deleted.");
    }
  });
  return element(
    "div",
    { class: "setting" },
    element("label", { for: "setting-keep" }, "Keep conversations in this browser"),
    box,
    element("p", { class: "small" }, "Switched off, those that are kept are deleted."),
  );
}

function keyButton(place) {
  const forget = () => {
    forgetKey();
    askNow();
    say("The key is forgotten.");
    showSettings(place);
    place.querySelector("h1").focus();
  };
  return element(
    "div",
    { class: "setting" },
    element("span", {}, "Key of this service"),
    element("button", { type: "button", class: "button", click: forget }, "Forget the key"),
  );
}
