// The conversation under way and those before it, kept in this browser only. What stands in its storage may be
// anything: only what fits is taken, and it is shown as text like everything else.

import { preferences, stored } from "./preferences.js";

const PLACE = "ragstone.conversations";
const KEPT = 100; // the oldest go first
const TURNS = 20; // of a conversation that are sent along: the service takes 40 halves
const HISTORY_BYTES = 40_000; // of the 64 KiB that a question may have
const TURN_CHARACTERS = 8_000;

let conversations = read();
let current = fresh();

export const turns = () => current.turns;
export const all = () => conversations;

/** Add a question with its finished answer. */
export function remember(question, done) {
  const homes = new Map(done.hits.map((hit) => [hit.uri, hit.collection]));
  const citations = done.citations.map((citation) => ({ ...citation, collection: homes.get(citation.uri) }));
  const turn = { question, answer: done.answer, grounded: done.grounded, citations, at: Date.now() };
  current.turns.push(turn);
  conversations = [current, ...conversations.filter(({ id }) => id !== current.id)].slice(0, KEPT);
  write();
}

export function startFresh() {
  current = fresh();
}

/** Make a kept conversation the one under way; false when it is gone. */
export function reopen(id) {
  const found = conversations.find((conversation) => conversation.id === id);
  if (found) current = found;
  return Boolean(found);
}

export function remove(id) {
  conversations = conversations.filter((conversation) => conversation.id !== id);
  if (current.id === id) startFresh();
  write();
}

export function removeAll() {
  conversations = [];
  startFresh();
  write();
}

/** The conversation so far as the service takes it: the latest turns that fit. */
export function asHistory() {
  const said = [];
  let bytes = 0;
  for (const { question, answer } of current.turns.slice(-TURNS).reverse()) {
    const pair = [
      { role: "user", text: question },
      { role: "assistant", text: answer.slice(0, TURN_CHARACTERS) },
    ];
    bytes += new TextEncoder().encode(JSON.stringify(pair)).length;
    if (bytes > HISTORY_BYTES) break;
    said.unshift(...pair);
  }
  return said;
}

function fresh() {
  return { id: crypto.getRandomValues(new Uint32Array(2)).join("-"), turns: [] };
}

function read() {
  const found = stored(PLACE);
  if (!Array.isArray(found)) return [];
  return found
    .map((entry) => ({ id: String(entry?.id), turns: (Array.isArray(entry?.turns) ? entry.turns : []).map(turnFrom).filter(Boolean) }))
    .filter((conversation) => conversation.turns.length)
    .slice(0, KEPT);
}

function turnFrom(entry) {
  if (typeof entry?.question !== "string" || typeof entry.answer !== "string") return null;
  const citations = (Array.isArray(entry.citations) ? entry.citations : []).filter(
    (citation) =>
      Number.isInteger(citation?.n) && [citation.uri, citation.title, citation.quote].every((text) => typeof text === "string"),
  );
  return { ...entry, citations, grounded: entry.grounded === true, at: Number(entry.at) || 0 };
}

function write() {
  if (!preferences.keep) {
    localStorage.removeItem(PLACE);
    return;
  }
  for (let kept = conversations.length; kept >= 0; kept = Math.floor(kept / 2) || kept - 1) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(conversations.slice(0, kept)));
      return;
    } catch {
      // the browser's room is full: the newer half
    }
  }
}
