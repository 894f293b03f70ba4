// Server-sent events from pieces of text that arrive cut anywhere; ids and retry times are left out, nothing uses them.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

import { ClientError } from "./errors.js";

export const EVENT_CHARACTERS_MAX = 8 << 20; // `done` repeats text and passages: some 100,000 at the most

/** Takes pieces, gives `{name, data}`. What stands at the end without an empty line behind it is no event. */
export class EventParser {
  #pieces = []; // of the line that has not ended
  #name = "";
  #data = [];
  #characters = 0;

  *feed(piece) {
    this.#characters += piece.length;
    if (this.#pieces.at(-1)?.endsWith("\r")) piece = this.#pieces.pop() + piece;
    const lines = piece.split(/\r\n|\n|\r(?!$)/); // a last \r may be half of \r\n
    this.#pieces.push(lines.shift());
    for (const following of lines) {
      const line = this.#pieces.join("");
      this.#pieces = [following];
      yield* this.#line(line);
    }
    if (this.#characters > EVENT_CHARACTERS_MAX) {
      throw new ClientError(`an event is longer than ${EVENT_CHARACTERS_MAX} characters`, { code: "protocol" });
    }
  }

  *#line(line) {
    if (line === "") {
      if (this.#data.length) yield { name: this.#name || "message", data: this.#data.join("\n") };
      this.#name = "";
      this.#data = [];
      this.#characters = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
  }
}
