// The page of a PDF beside the text of the document, as it was printed.

import { getImage } from "./api.js";
import { byId, element } from "./dom.js";
import { offers } from "./offered.js";

const WIDTH = 600; // CSS pixels of the pane, about

/** Nothing but the text. */
export function clearPage() {
  byId("reader").classList.remove("with-page", "page-only");
  byId("reader-page").hidden = true;
  byId("reader-page").replaceChildren();
  byId("reader-turn").hidden = true;
}

/** Load the picture of the passage's page and show it, if `stillWanted()` by then. Without one the text stands alone. */
export async function showPage(passage, stillWanted) {
  if (!offers("GET /api/page-image")) return;
  const pane = byId("reader-page");
  byId("reader").classList.add("with-page");
  pane.hidden = false;
  pane.replaceChildren(element("p", { class: "muted" }, `Drawing page ${passage.page}…`));
  const width = Math.min(1600, WIDTH * Math.ceil(devicePixelRatio));
  try {
    const image = await getImage("/api/page-image", { uri: passage.uri, page: passage.page, width, collection: passage.collection });
    if (!stillWanted()) return;
    const canvas = element("canvas", { width: image.width, height: image.height, role: "img", "aria-label": `Page ${passage.page}` });
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
    pane.replaceChildren(canvas);
    byId("reader-turn").hidden = false;
    byId("reader-turn").textContent = "Show the page";
  } catch (error) {
    if (!stillWanted()) return;
    clearPage();
    byId("reader-where").append(element("span", {}, error.code === "no_picture" ? "no picture of the page" : error.message));
  }
}

/** On a narrow screen: the page instead of the text, and back. */
export function turnOver() {
  const page = byId("reader").classList.toggle("page-only");
  byId("reader-turn").textContent = page ? "Show the text" : "Show the page";
  byId(page ? "reader-page" : "reader-text").focus();
}
