// The answer: text as it arrives, citations as buttons, how long it took.

import { byId, count, duration, element, notice } from "./dom.js";
import { openPassage } from "./reader.js";
import { showNotes } from "./passages.js";

const CITATION = /\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;
const WRAPPED = /\n(?!\s*(?:[-*•]|\d{1,3}[.)])\s)/g; // a line break that begins no list item is only a wrapped line
const UNFINISHED = /\[[\d,\s]*$/; // "[1" at the end of what has arrived so far

/** One answer on the page, from the question to its last word. */
export class AnswerView {
  constructor(question) {
    this.text = "";
    this.passages = new Map(); // number → what its button opens
    this.started = performance.now();
    byId("answer").hidden = false;
    byId("asked").textContent = question;
    byId("answer-text").replaceChildren();
    byId("answer-text").setAttribute("aria-busy", "true"); // read out once, when it is whole
    byId("answer-text").classList.remove("refused");
    byId("answer-notes").replaceChildren();
    this.clock = setInterval(() => this.#tick(), 100);
    this.#tick();
  }

  addSource(source) {
    this.passages.set(source.n, { ...source, quote: source.text });
  }

  addText(text) {
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
    this.passages = new Map(answer.citations.map((citation) => [citation.n, citation]));
    byId("answer-text").classList.toggle("refused", !answer.grounded);
    this.#render(this.text);
    showNotes(byId("answer-notes"), answer.degraded);
    const took = duration(answer.timings_ms.total ?? performance.now() - this.started);
    const cited = new Set(answer.citations.map((citation) => citation.n)).size;
    const how = answer.model === "extractive" ? "quoted from the documents" : answer.model;
    const facts = answer.grounded ? [count(cited, "source"), how, took] : ["no source holds it", took];
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
    byId("answer-notes").replaceChildren(notice("bad", error.message, error.hint, { label: "Try again", run: retry }));
  }

  #tick() {
    const state = this.text ? "Writing" : this.passages.size ? "Reading" : "Searching";
    byId("answer-meta").textContent = `${state} · ${((performance.now() - this.started) / 1000).toFixed(1)} s`;
  }

  #stopClock() {
    clearInterval(this.clock);
    cancelAnimationFrame(this.frame);
    byId("answer-text").setAttribute("aria-busy", "false");
  }

  #render(text) {
    const paragraphs = text.split(/\n{2,}/).filter((part) => part.trim());
    byId("answer-text").replaceChildren(...paragraphs.map((part) => element("p", {}, ...this.#withCitations(part.trim().replace(WRAPPED, " ")))));
  }

  #withCitations(text) {
    const nodes = [];
    let at = 0;
    for (const match of text.matchAll(CITATION)) {
      nodes.push(text.slice(at, match.index).replace(/ $/, "\u00a0")); // a citation does not begin a line
      nodes.push(...match[1].split(",").map((digits) => this.#citation(Number(digits))));
      at = match.index + match[0].length;
    }
    nodes.push(text.slice(at));
    return nodes;
  }

  #citation(n) {
    const passage = this.passages.get(n);
    if (!passage) return `[${n}]`;
    const label = `Source ${n}: ${passage.title}. Open the passage.`;
    return element(
      "button",
      { type: "button", class: "citation", "aria-label": label, title: passage.title, click: () => openPassage(passage) },
      String(n),
    );
  }
}

export function hideAnswer() {
  byId("answer").hidden = true;
}
