// Earlier turns of the conversation under the answer, the latest first, and taking one up again.

import { all, remove, removeAll, reopen, turns } from "./conversation.js";
import { byId, count, element, say } from "./dom.js";
import { showMemory } from "./memory.js";
import { preferences } from "./preferences.js";
import { byNumber, paragraphs } from "./prose.js";
import { go } from "./views.js";

/** Show all turns but those that stand above as the answer: the last `above` of them. */
export function showThread(above = 0) {
  const earlier = turns().slice(0, turns().length - above).reverse();
  byId("earlier").hidden = !earlier.length;
  byId("turns").replaceChildren(
    ...earlier.map(({ question, answer, citations, grounded }) =>
      element(
        "li",
        {},
        element("h3", {}, question),
        element("div", { class: grounded ? "prose" : "prose refused" }, ...paragraphs(answer, byNumber(citations))),
      ),
    ),
  );
  byId("fresh").hidden = !turns().length;
}

/** The view that lists the conversations; `onChange()` is called when another one is the one under way. */
export function showHistory(place, onChange) {
  const list = all();
  const again = () => showHistory(place, onChange);
  place.replaceChildren(
    element("h1", { tabindex: "-1" }, "Conversations"),
    element(
      "p",
      { class: "muted" },
      preferences.keep
        ? "They are kept in this browser, and nowhere else."
        : "They are not kept: they end with this tab. Settings says otherwise.",
    ),
    list.length ? element("ul", { class: "rows" }, ...list.map((entry) => row(entry, again, onChange))) : element("p", {}, "None yet."),
    list.length ? removeAllButton(again, onChange) : "",
    element("section", { id: "memory-section", "aria-label": "Memory" }),
  );
  showMemory(place.lastChild);
}

function row({ id, turns: said }, again, onChange) {
  const title = said[0].question;
  const when = new Date(said.at(-1).at);
  const open = () => {
    if (reopen(id)) onChange();
    go("#/");
  };
  const forget = () => {
    remove(id);
    if (!turns().length) onChange();
    say("The conversation is deleted.");
    again();
    document.querySelector("#view-history h1").focus();
  };
  return element(
    "li",
    {},
    element(
      "div",
      { class: "row-text" },
      element("button", { type: "button", class: "link", click: open }, title),
      element("p", { class: "small" }, `${count(said.length, "question")} · ${when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}`),
    ),
    element("button", { type: "button", class: "button", "aria-label": `Delete the conversation: ${title}`, click: forget }, "Delete"),
  );
}

function removeAllButton(again, onChange) {
  const button = element("button", { type: "button", class: "button danger" }, "Delete all");
  button.addEventListener("click", () => {
    if (button.dataset.sure) {
      removeAll();
      onChange();
      say("All conversations are deleted.");
      again();
      document.querySelector("#view-history h1").focus();
    } else {
      button.dataset.sure = "yes";
      button.textContent = "Really delete all?";
    }
  });
  return button;
}
