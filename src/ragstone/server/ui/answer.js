// The answer: text as it arrives, how long it took, what went wrong.

import { byId, count, duration, trouble } from "./dom.js";
import { showNotes } from "./passages.js";
import { byNumber, paragraphs } from "./prose.js";

const UNFINISHED = /[[【][\d,;、\s]*$/; // "[1" at the end of what has arrived so far

/** One answer on the page, from the question to its last word. */
export class AnswerView {
  constructor(question) {
    this.started = performance.now();
    this.trouble = "";
    this.restart();
    byId("answer").hidden = false;
    byId("asked").textContent = question;
    byId("answer-text").replaceChildren();
    byId("answer-text").setAttribute("aria-busy", "true"); // read out once, when it is whole
    byId("answer-text").classList.remove("refused");
    byId("answer-notes").replaceChildren();
    this.clock = setInterval(() => this.#tick(), 100);
    this.#tick();
  }

  /** Begin with the text again; what is shown stays until the first new word. */
  restart() {
    this.text = "";
    this.passages = new Map(); // number → the passages its buttons may open
  }

  /** Say in the line below that it is asked again. */
  reconnecting(attempt) {
    this.trouble = `The connection was lost; asking again (${attempt})`;
    this.#tick();
  }

  addSource(source) {
    this.trouble = "";
    this.passages.set(source.n, [{ ...source, quote: source.text }]);
  }

  addText(text) {
    this.trouble = "";
    this.text += text;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#render(this.text.replace(UNFINISHED, ""));
    });
  }

  /** The whole answer: its text is final, also where a citation that failed its check is gone. */
  finish(answer) {
    this.#stopClock();
    this.text = answer.answer;
    this.passages = byNumber(answer.citations);
    byId("answer-text").classList.toggle("refused", !answer.grounded);
    this.#render(this.text);
    showNotes(byId("answer-notes"), answer.degraded);
    const took = duration(performance.now() - this.started); // what the reader waited
    const how = answer.model === "extractive" ? "quoted from the documents" : answer.model;
    const facts = answer.grounded ? [count(this.passages.size, "source"), how, took] : ["no document holds it", took];
    byId("answer-meta").textContent = facts.join(" · ");
  }

  stop() {
    this.#stopClock();
    this.#render(this.text);
    byId("answer-meta").textContent = `Stopped after ${duration(performance.now() - this.started)}`;
  }

  fail(error, retry) {
    this.#stopClock();
    this.#render(this.text);
    byId("answer-meta").textContent = this.text ? "Broken off" : "";
    byId("answer-notes").replaceChildren(trouble(error, retry));
  }

  #tick() {
    const state = this.trouble || (this.text ? "Writing" : this.passages.size ? "Reading" : "Searching");
    byId("answer-meta").textContent = `${state} · ${((performance.now() - this.started) / 1000).toFixed(1)} s`;
  }

  #stopClock() {
    clearInterval(this.clock);
    cancelAnimationFrame(this.frame);
    byId("answer-text").setAttribute("aria-busy", "false");
  }

  #render(text) {
    byId("answer-text").replaceChildren(...paragraphs(text, this.passages));
  }
}

export function hideAnswer() {
  byId("answer").hidden = true;
}
