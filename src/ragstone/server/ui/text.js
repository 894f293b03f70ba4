// Texts: which words of a passage a query matched, the stretch to show, and spans counted in characters.

const WORD = /[\p{L}\p{N}]+/gu;
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;
const SNIPPET = 300; // about three lines of the column, four to eight on a phone
const COMMON = new Set(
  ("a an and are as at be by can do does for from had has have how i in is it its of on or that the their there " +
    "this to was were what when where which who why will with you your").split(" "),
);

const fold = (word) => word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** A word without its common English ending, so that "indexes" marks "indexing". Rough on purpose. */
function stem(word) {
  if (word.length < 5) return word.length > 3 ? word.replace(/s$/, "") : word;
  return word.replace(/(?:ations?|ings?|edly|ed|ies|es|ly|ers?|s|e|y)$/, "");
}

/** The words of a query that are worth marking. */
export function queryTerms(query) {
  const words = [...query.matchAll(WORD)].map(([word]) => fold(word));
  const rare = words.filter((word) => !COMMON.has(word));
  const spaced = (rare.length ? rare : words).filter((word) => !UNSPACED.test(word));
  const pairs = words.filter((word) => UNSPACED.test(word)).flatMap((word) => bigrams(word));
  return { stems: new Set(spaced.map(stem)), last: spaced.at(-1) ?? "", pairs: new Set(pairs) };
}

const bigrams = (word) =>
  word.length < 2 ? [word] : Array.from({ length: word.length - 1 }, (_, i) => word.slice(i, i + 2));

/** Ascending spans `{start, end, term}` of `text` that a query's terms match. */
export function matches(text, terms) {
  const found = [];
  for (const match of text.matchAll(WORD)) {
    const word = match[0];
    if (UNSPACED.test(word)) {
      for (let i = 0; i < word.length; i += 1) {
        const pair = word.slice(i, i + 2);
        if (terms.pairs.has(pair)) found.push({ start: match.index + i, end: match.index + i + pair.length, term: pair });
      }
    } else {
      const folded = fold(word);
      const begun = terms.last.length >= 3 && folded.startsWith(terms.last); // still being typed
      const root = stem(folded);
      if (begun || terms.stems.has(root)) {
        found.push({ start: match.index, end: match.index + word.length, term: begun ? terms.last : root });
      }
    }
  }
  return found;
}

/** The stretch of `text` with the most different terms, cut at words: `{start, end}`. */
export function snippet(text, found) {
  if (text.length <= SNIPPET * 1.2) return { start: 0, end: text.length };
  let best = { start: 0, terms: 0 };
  for (const { start } of found) {
    const inside = found.filter((other) => other.start >= start && other.end <= start + SNIPPET - 60);
    const terms = new Set(inside.map((other) => other.term)).size;
    if (terms > best.terms) best = { start, terms };
  }
  const from = Math.max(0, Math.min(best.start - 60, text.length - SNIPPET));
  const start = from === 0 ? 0 : from + Math.max(0, text.slice(from, from + 60).search(/\s\S/) + 1);
  const cut = text.slice(start, start + SNIPPET).search(/\s\S*$/);
  return { start, end: start + SNIPPET >= text.length ? text.length : start + (cut > SNIPPET / 2 ? cut : SNIPPET) };
}

/** `text[start:end]` as nodes: matched words in <mark>, white space made plain. */
export function markedNodes(text, found, { start, end }) {
  const nodes = [];
  let at = start;
  for (const span of found) {
    if (span.start < at || span.end > end) continue;
    nodes.push(plain(text.slice(at, span.start)));
    const mark = document.createElement("mark");
    mark.textContent = text.slice(span.start, span.end);
    nodes.push(mark);
    at = span.end;
  }
  nodes.push(plain(text.slice(at, end)));
  if (start > 0) nodes.unshift("… ");
  if (end < text.length) nodes.push(" …");
  return nodes;
}

const plain = (text) => text.replace(/\s+/g, " ");

/** Index into a JavaScript string of the `n`-th character (code point), as the service counts them. */
export function indexOfCharacter(text, n) {
  let index = 0;
  for (let seen = 0; seen < n && index < text.length; seen += 1) {
    index += text.codePointAt(index) > 0xffff ? 2 : 1;
  }
  return index;
}

/** "/home/ada/notes/guides/install.md" → "…/notes/guides/install.md"; other names stay whole. */
export function shortPath(uri) {
  const parts = uri.split("/");
  return uri.startsWith("/") && parts.length > 4 ? `…/${parts.slice(-3).join("/")}` : uri;
}

/** Where in its document a hit or citation stands: page, time, headings. */
export function placeInDocument({ page, time_s, headings = [] }) {
  const places = [];
  if (page) places.push(`page ${page}`);
  if (time_s !== null && time_s !== undefined) places.push(`at ${clock(time_s)}`);
  if (headings.length) places.push(headings.join(" › "));
  return places;
}

function clock(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
