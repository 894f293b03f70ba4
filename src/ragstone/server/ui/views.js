// The views of the page, by the part of the address behind "#".

import { byId } from "./dom.js";

const views = new Map(); // "#/status" → { name, show, hide }
let shown = null;

/** Enter a view: `show(place)` fills it each time it is opened, `hide()` is called when it is left. */
export function addView(hash, { name, id, show = () => {}, hide = () => {} }) {
  views.set(hash, { hash, name, place: byId(id), show, hide });
}

export const isShown = (hash) => shown?.hash === hash;

export function go(hash) {
  if (location.hash === hash || (hash === "#/" && !location.hash)) open();
  else location.hash = hash;
}

/** Follow the address from now on. */
export function startViews() {
  addEventListener("hashchange", open);
  open();
}

function open() {
  if (location.hash === "#question") history.replaceState(null, "", "#/"); // the skip link
  const view = views.get(location.hash) ?? views.get("#/");
  const first = shown === null;
  if (shown !== view) {
    shown?.hide();
    shown = view;
    for (const { hash, place } of views.values()) {
      place.hidden = hash !== view.hash;
      const link = document.querySelector(`nav a[href="${hash}"]`);
      if (hash === view.hash) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = view.hash === "#/" ? "ragstone" : `${view.name} · ragstone`;
  }
  view.show(view.place);
  if (!first || view.hash !== "#/") view.place.querySelector("h1[tabindex], #question")?.focus({ preventScroll: first });
}
