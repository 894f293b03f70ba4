// The answer: text as it arrives, citations as buttons, how long it took.

import { byId, count, duration, element, notice } from "./dom.js";
import { openPassage } from "./reader.js";
import { showNotes } from "./passages.js";

const CITATION = /[ \t]*[[【]\s*(\d{1,4}(?:\s*[,;、]\s*\d{1,4})*)\s*[\]】]/g; // as the service reads them
const WRAPPED = /\n(?!\s*(?:[-*•]|\d{1,3}[.)])\s)/g; // a line break that begins no list item is only a wrapped line
const UNFINISHED = /[[【][\d,;、\s]*$/; // "[1" at the end of what has arrived so far

/** One answer on the page, from the question to its last word. */
export class AnswerView {
  constructor(question) {
    this.text = "";
    this.passages = new Map(); // number → the passages its buttons may open
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
    this.passages.set(source.n, [{ ...source, quote: source.text }]);
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
    this.passages = new Map(answer.citations.map(({ n }) => [n, answer.citations.filter((other) => other.n === n)]));
    byId("answer-text").classList.toggle("refused", !answer.grounded);
    this.#render(this.text);
    showNotes(byId("answer-notes"), answer.degraded);
    const took = duration(performance.now() - this.started); // what the reader waited
    const cited = this.passages.size;
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
    let claim = "";
    for (const match of text.matchAll(CITATION)) {
      const said = text.slice(at, match.index);
      claim = said.trim() || claim; // "[1][2]" stand for the same words
      nodes.push(said, "\u00a0"); // a citation does not begin a line
      nodes.push(...match[1].split(/[,;、]/).map((digits) => this.#citation(Number(digits), claim)));
      at = match.index + match[0].length;
    }
    nodes.push(text.slice(at));
    return nodes;
  }

  #citation(n, claim) {
    const passages = this.passages.get(n);
    if (!passages) return `[${n}]`;
    const passage = nearest(passages, claim);
    const label = `Source ${n}: ${passage.title}. Open the passage.`;
    return element(
      "button",
      { type: "button", class: "citation", "aria-label": label, title: passage.title, click: () => openPassage(passage) },
      String(n),
    );
  }
}

/** The passage that shares most of its words with `claim`: one source may be quoted at several places. */
function nearest(passages, claim) {
  const wanted = words(claim);
  const share = ({ quote }) => {
    const quoted = words(quote);
    return [...quoted].filter((word) => wanted.has(word)).length / (quoted.size || 1);
  };
  return passages.reduce((best, passage) => (share(passage) > share(best) ? passage : best));
}

const words = (text) => new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);

export function hideAnswer() {
  byId("answer").hidden = true;
}
