// The key that a service with keys asks for: in this tab's memory and session storage, nowhere else.

import { byId } from "./dom.js";

const PLACE = "ragstone.key";
const SENDABLE = /^[\x21-\x7e]+$/; // what may stand in a header

let key = "";
try {
  key = sessionStorage.getItem(PLACE) ?? "";
} catch {
  // no storage: asked for again after a reload
}
let asking = null; // the promise of the dialog that is open
let declined = false; // what runs in the background does not ask again

export const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});
export const hasKey = () => key !== "";

/** Forget the key. */
export function forgetKey() {
  keep("");
}

/** Ask for a key, unless `used` is no longer the one; true when there is another one to try. */
export async function anotherKey(used, { background }) {
  if ((authorization().Authorization ?? "") !== (used ?? "")) return true;
  if (background && declined) return false;
  asking ??= askForKey(used !== undefined);
  const given = await asking;
  asking = null;
  return given;
}

/** Open the dialog; `refused`: the key that there was is not valid. */
function askForKey(refused) {
  byId("key-said").textContent = refused ? "That key is not valid now" : "This service asks for a key";
  const dialog = byId("key");
  const input = byId("key-value");
  input.value = "";
  input.setCustomValidity("");
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const done = (given) => {
      declined = !given;
      dialog.close();
      resolve(given);
    };
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!SENDABLE.test(text)) {
        input.setCustomValidity("A key has no spaces and only ASCII characters.");
        input.reportValidity();
        input.oninput = () => input.setCustomValidity("");
        return;
      }
      keep(text);
      done(true);
    };
    byId("key-cancel").onclick = () => done(false);
    dialog.oncancel = () => done(false);
  });
}

function keep(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(PLACE, text);
    else sessionStorage.removeItem(PLACE);
  } catch {
    // no storage: this page still has it
  }
}
