// The text of an answer as nodes: paragraphs, with citations as buttons.

import { element } from "./dom.js";
import { openPassage } from "./reader.js";

const CITATION = /[ \t]*[[【]\s*(\d{1,4}(?:\s*[,;、]\s*\d{1,4})*)\s*[\]】]/g; // as the service reads them
const WRAPPED = /\n(?!\s*(?:[-*•]|\d{1,3}[.)])\s)/g; // a line break that begins no list item is only a wrapped line

/** Paragraphs of `text`; `passages` maps a number to the passages that its buttons may open. */
export function paragraphs(text, passages) {
  return text
    .split(/\n{2,}/)
    .filter((part) => part.trim())
    .map((part) => element("p", {}, ...withCitations(part.trim().replace(WRAPPED, " "), passages)));
}

/** Number → citations of a finished answer. */
export const byNumber = (citations) => new Map(citations.map(({ n }) => [n, citations.filter((other) => other.n === n)]));

function withCitations(text, passages) {
  const nodes = [];
  let at = 0;
  let claim = "";
  for (const match of text.matchAll(CITATION)) {
    const said = text.slice(at, match.index);
    claim = said.trim() || claim; // "[1][2]" stand for the same words
    nodes.push(said, "\u00a0"); // a citation does not begin a line
    nodes.push(...match[1].split(/[,;、]/).map((digits) => citation(Number(digits), claim, passages)));
    at = match.index + match[0].length;
  }
  nodes.push(text.slice(at));
  return nodes;
}

function citation(n, claim, passages) {
  const found = passages.get(n);
  if (!found) return `[${n}]`;
  const passage = nearest(found, claim);
  const label = `Source ${n}: ${passage.title}. Open the passage.`;
  return element(
    "button",
    { type: "button", class: "citation", "aria-label": label, title: passage.title, click: () => openPassage(passage) },
    String(n),
  );
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
