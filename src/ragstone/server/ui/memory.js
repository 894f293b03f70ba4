// What the service remembers beside the documents: shown under an answer that was given it, listed, added to, forgotten.
// It is never cited: sources are documents.

import { get, send } from "./api.js";
import { byId, count, element, say, trouble } from "./dom.js";
import { offers } from "./offered.js";

const LISTED = 100;

/** Show the memories that went into an answer. */
export function showRemembered(memories) {
  byId("memories").replaceChildren(...memories.map(({ text }) => element("li", {}, text)));
  byId("remembered").hidden = !memories.length;
}

export function hideRemembered() {
  byId("remembered").hidden = true;
}

/** The section that lists the memories, if the service has any to offer. */
export async function showMemory(place) {
  if (!offers("GET /api/memory")) return;
  try {
    const { memories, total } = await get("/api/memory", { limit: LISTED });
    fill(place, memories, total);
  } catch (error) {
    if (error.code === "not_found") fill(place, [], 0);
    else place.replaceChildren(trouble(error));
  }
}

function fill(place, memories, total) {
  place.replaceChildren(
    element("h2", {}, "Memory"),
    element("p", { class: "muted" }, "Statements that the service remembers beside the documents."),
    offers("POST /api/memory") ? adding(place) : "",
    element("p", { class: "small" }, total > memories.length ? `The oldest ${LISTED} of ${total}` : count(total, "statement")),
    element("ul", { class: "rows" }, ...memories.map((entry) => row(place, entry))),
  );
}

function adding(place) {
  const input = element("input", { type: "text", maxlength: "1000", "aria-label": "A statement to remember", required: true });
  const remember = async (event) => {
    event.preventDefault();
    try {
      const { outcome, because } = await send("POST", "/api/memory", { text: input.value.trim() });
      say(`Memory ${outcome}: ${because}.`);
      await showMemory(place);
      place.querySelector("input").focus();
    } catch (error) {
      input.after(trouble(error));
    }
  };
  return element("form", { method: "dialog", class: "remember", submit: remember }, input, element("button", { class: "button" }, "Remember"));
}

function row(place, { id, text, tier }) {
  const forget = async () => {
    try {
      await send("DELETE", `/api/memory?${new URLSearchParams({ id })}`);
      say("Forgotten.");
      await showMemory(place);
    } catch (error) {
      say(error.message);
    }
  };
  return element(
    "li",
    {},
    element("div", { class: "row-text" }, element("p", {}, text), element("p", { class: "small" }, tier.replaceAll("_", " "))),
    offers("DELETE /api/memory")
      ? element("button", { type: "button", class: "button", "aria-label": `Forget: ${text.slice(0, 80)}`, click: forget }, "Forget")
      : null,
  );
}
