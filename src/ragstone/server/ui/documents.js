// The view of the documents: what is indexed, adding to it by dropping files, taking one away.

import { get, send } from "./api.js";
import { byId, count, element, say, trouble } from "./dom.js";
import { follow, indexAll, onJobEnd, upload } from "./jobs.js";
import { offers } from "./offered.js";
import { openPassage } from "./reader.js";
import { shortPath } from "./text.js";
import { addView, go } from "./views.js";

const PAGE = 100;

let next = 0; // where the next page of the list begins; null at its end

export function setUpDocuments() {
  addView("#/documents", { name: "Documents", id: "view-documents", show });
  onJobEnd(() => byId("documents-list") && list(0));
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => onDrag(event, name));
}

function onDrag(event, name) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault(); // else the browser leaves the page to show the file
  const welcome = offers("POST /api/documents");
  event.dataTransfer.dropEffect = welcome ? "copy" : "none";
  if (name !== "drop" || !welcome) return;
  go("#/documents");
  uploadAll([...event.dataTransfer.files]);
}

function uploadAll(files) {
  if (files.length) setTimeout(() => upload(files)); // the view has to be there first
}

function show(place) {
  place.replaceChildren(
    element("h1", { tabindex: "-1" }, "Documents"),
    offers("POST /api/documents") ? dropping() : element("p", { class: "muted" }, "Add more in a terminal: ", element("code", {}, "ragstone index ~/Documents")),
    offers("POST /api/index") ? element("button", { type: "button", class: "button", click: indexAll }, "Index all folders now") : "",
    element("div", { id: "sending", role: "status" }),
    element("ul", { id: "jobs", class: "rows jobs", "aria-label": "Jobs", hidden: true }),
    element("div", { id: "documents-notes" }),
    element("ul", { id: "documents-list", class: "rows", "aria-label": "Indexed documents" }),
    element("div", { id: "documents-more" }),
  );
  if (offers("GET /api/jobs")) follow();
  list(0);
}

function dropping() {
  const input = element("input", { type: "file", id: "files", multiple: true, class: "unseen" });
  input.addEventListener("change", () => {
    uploadAll([...input.files]);
    input.value = "";
  });
  return element(
    "div",
    { class: "drop" },
    input,
    element("label", { for: "files", class: "main" }, "Choose files"),
    element("p", { class: "small" }, "or drop them anywhere on this page"),
  );
}

async function list(offset) {
  try {
    const found = await get("/api/documents", { offset, limit: PAGE });
    next = found.next_offset;
    if (offset === 0) byId("documents-list").replaceChildren();
    byId("documents-list").append(...found.documents.map(row));
    byId("documents-notes").replaceChildren(
      element("p", { class: "small" }, found.total ? count(found.total, "document") : "Nothing has been indexed yet."),
    );
    byId("documents-more").replaceChildren(
      next === null ? "" : element("button", { type: "button", class: "button", click: () => list(next) }, "Show more"),
    );
  } catch (error) {
    if (error.code === "not_found") byId("documents-notes").replaceChildren(element("p", { class: "small" }, "Nothing has been indexed yet."));
    else byId("documents-notes").replaceChildren(trouble(error, () => list(0)));
  }
}

function row(info) {
  const name = info.title || shortPath(info.uri);
  const open = () => openPassage({ uri: info.uri, title: info.title, start: 0, end: 0, quote: "", page: info.format === "pdf" ? 1 : null });
  return element(
    "li",
    {},
    element(
      "div",
      { class: "row-text" },
      element("button", { type: "button", class: "link", click: open }, name),
      element("p", { class: "small path", title: info.uri }, shortPath(info.uri)),
      element("p", { class: "small" }, [info.format, size(info.size_bytes), count(info.chunks, "passage"), day(info.modified_s)].filter(Boolean).join(" · ")),
    ),
    offers("DELETE /api/documents") ? deleting(info, name) : null,
  );
}

/** A button that wants to be pressed twice. */
function deleting(info, name) {
  const button = element("button", { type: "button", class: "button", "aria-label": `Delete ${name}` }, "Delete");
  button.addEventListener("click", async () => {
    if (!button.dataset.sure) {
      button.dataset.sure = "yes";
      button.textContent = "Really?";
      button.setAttribute("aria-label", `Really delete ${name}?`);
      return;
    }
    try {
      await send("DELETE", `/api/documents?${new URLSearchParams({ uri: info.uri })}`);
      say(`${name} is deleted.`);
      await list(0);
    } catch (error) {
      byId("documents-notes").replaceChildren(trouble(error));
    }
  });
  return button;
}

const day = (seconds) => (seconds ? new Date(1000 * seconds).toLocaleDateString("en-GB", { dateStyle: "medium" }) : "");
const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
