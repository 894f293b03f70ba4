// Asking for the key of a service that wants one.

import { useKey, whenKeyWanted } from "./api.js";
import { byId, say } from "./dom.js";

export function setUpKey() {
  const form = byId("key");
  const input = byId("key-value");
  whenKeyWanted((refused) => {
    if (!form.hidden) return;
    form.hidden = false;
    const asked = refused ? "That key is not valid now." : "This service asks for a key.";
    byId("key-said").textContent = asked;
    say(asked);
    input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(input.value.trim());
    location.reload(); // everything on the page was refused, so it begins again
  });
}
