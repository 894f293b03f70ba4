// The reading pane: a document's text with one passage highlighted in its place.

import { ConnectionLost, get } from "./api.js";
import { byId, element, notice } from "./dom.js";
import { clearPage, showPage, turnOver } from "./page_image.js";
import { indexOfCharacter, placeInDocument, shortPath } from "./text.js";

let wanted = null; // the passage opened last: a late text of an earlier one must not replace it

/** Open the document of `passage` (`{uri, title, start, end, quote, page, …}`) scrolled to it. */
export async function openPassage(passage) {
  const dialog = byId("reader");
  wanted = passage;
  byId("reader-title").textContent = passage.title || shortPath(passage.uri);
  byId("reader-where").replaceChildren(
    ...[passage.uri, ...placeInDocument(passage)].map((place) => element("span", {}, place)),
  );
  byId("reader-notes").replaceChildren();
  byId("reader-text").replaceChildren(element("p", { class: "muted" }, "Opening…"));
  clearPage();
  if (!dialog.open) dialog.showModal();
  try {
    const place = { uri: passage.uri, start: passage.start };
    if (passage.collection) place.collection = passage.collection; // hits say theirs
    const found = await get("/api/document", place);
    if (wanted !== passage) return;
    showText(found, passage);
    if (found.document.format === "pdf" && passage.page) showPage(passage, () => wanted === passage);
  } catch (error) {
    if (wanted !== passage) return;
    const hint = error instanceof ConnectionLost ? "The service does not answer." : error.hint;
    byId("reader-text").replaceChildren();
    const again = { label: "Try again", run: () => openPassage(passage) };
    byId("reader-notes").replaceChildren(notice("bad", error.message, hint, again));
  }
}

export function setUpReader() {
  const dialog = byId("reader");
  byId("reader-turn").addEventListener("click", turnOver);
  byId("reader-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
}

function showText({ text, offset, length, document: info }, passage) {
  if (info.title) byId("reader-title").textContent = info.title;
  const span = locate(text, offset, passage);
  const notes = [];
  if (span.moved) notes.push(notice("quiet", "The document has changed since this was found; the passage is marked where it is now."));
  if (span.lost) notes.push(notice("bad", "The document has changed and no longer holds this passage.", "Search again."));
  if (length > Array.from(text).length) notes.push(notice("quiet", "This is a long document; the part around the passage is shown."));
  byId("reader-notes").replaceChildren(...notes);
  const mark = element("mark", { id: "passage", tabindex: "-1" });
  mark.textContent = text.slice(span.start, span.end);
  byId("reader-text").replaceChildren(text.slice(0, span.start), mark, text.slice(span.end));
  mark.focus({ preventScroll: true });
  centre(mark, byId("reader-text"));
}

/** Where the passage stands in `text`, as string indices; `start` and `end` count characters. */
function locate(text, offset, { start, end, quote }) {
  const from = indexOfCharacter(text, start - offset);
  const to = from + indexOfCharacter(text.slice(from), end - start);
  if (text.slice(from, to) === quote) return { start: from, end: to };
  const now = text.indexOf(quote);
  if (now !== -1) return { start: now, end: now + quote.length, moved: true };
  return { start: 0, end: 0, lost: true };
}

/** Scroll `mark` to a third of the way down, or to the top when it is taller than the pane. */
function centre(mark, pane) {
  const top = mark.getBoundingClientRect().top - pane.getBoundingClientRect().top + pane.scrollTop;
  const room = pane.clientHeight - mark.getBoundingClientRect().height;
  pane.scrollTop = top - Math.max(24, Math.min(pane.clientHeight / 3, room / 2));
}
