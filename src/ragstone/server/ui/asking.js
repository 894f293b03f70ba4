// Asking: the streamed answer, what happens when it breaks, and the conversation that it belongs to.

import { AnswerView, hideAnswer } from "./answer.js";
import { ConnectionLost, ask, askStream, wasAborted } from "./api.js";
import { connectionLost } from "./connection.js";
import { asHistory, remember, startFresh } from "./conversation.js";
import { byId, count, say } from "./dom.js";
import { hideRemembered, showRemembered } from "./memory.js";
import { hideResults, showSources } from "./passages.js";
import { preferences } from "./preferences.js";
import { showThread } from "./thread.js";

const RETRY_MS = [500, 1500]; // then without streaming, and then whenever the service is back

let asking = null; // the AbortController of the answer under way
let latest = null; // the question and answer that stand on the page

export const isAsking = () => asking !== null;
export const hasAnswer = () => latest !== null;

export function stopAnswer() {
  asking?.abort();
}

/** Answer `question` with the conversation so far; `filter` as the reader wrote it. */
export async function answer(question, filter) {
  stopAnswer();
  const mine = (asking = new AbortController());
  latest = null;
  showThread();
  hideResults();
  hideRemembered();
  byId("welcome").hidden = true;
  const view = new AnswerView(question);
  setAsking(true);
  say("Looking for an answer.");
  const again = () => answer(question, filter);
  try {
    const done = await streamedOrWhole(bodyOf(question, filter), question, view, mine.signal);
    view.finish(done);
    showRemembered(done.memories);
    latest = { question, done };
    remember(question, done);
    showLatest();
    showThread(1);
    if (done.grounded) say(`Answer ready, ${count(new Set(done.citations.map(({ n }) => n)).size, "source")}.`);
    else say("The documents do not answer this.");
  } catch (error) {
    if (wasAborted(error) || mine.signal.aborted) view.stop();
    else if (error instanceof ConnectionLost) {
      view.stop();
      connectionLost(() => asking === null && latest === null && byId("asked").textContent === question && again());
    } else view.fail(error, again);
  } finally {
    if (asking === mine) {
      asking = null;
      setAsking(false);
    }
  }
}

/** Show the sources of the answer that stands on the page. */
export function showLatest() {
  const { question, done } = latest;
  if (done.grounded) showSources(question, done.hits, { cited: new Set(done.citations.map(({ n }) => n)) });
  else showSources(question, done.hits, { title: "The closest passages", numbered: false });
}

/** Clear the page for another conversation. */
export function beginAnew() {
  stopAnswer();
  startFresh();
  clearAnswer();
}

/** Take the answer from the page; the conversation, as it is now, stays below. */
export function clearAnswer() {
  stopAnswer();
  latest = null;
  hideAnswer();
  hideResults();
  hideRemembered();
  showThread();
}

function bodyOf(question, filter) {
  const body = { question };
  if (filter) body.filter = filter;
  if (preferences.k) body.k = preferences.k;
  if (preferences.collection) body.collection = preferences.collection;
  if (preferences.memory) body.memory = true;
  const history = asHistory();
  if (history.length) body.history = history;
  return body;
}

/** The finished answer. A stream that breaks is begun again twice; then the answer is asked for as a whole. */
async function streamedOrWhole(body, question, view, signal) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await streamed(body, question, view, signal);
    } catch (error) {
      if (!(error instanceof ConnectionLost) && error.code !== "streaming_off") throw error;
      if (error.code === "streaming_off") break;
      say("The answer broke off; asking again.");
      view.reconnecting(attempt + 1);
      if (attempt === RETRY_MS.length) break;
      await pause(RETRY_MS[attempt], signal);
    }
  }
  return await ask(body, signal);
}

async function streamed(body, question, view, signal) {
  const hits = [];
  let done = null;
  const on = {
    source: (source) => {
      if (!hits.length) view.restart(); // what an earlier try had brought
      hits.push(source);
      view.addSource(source);
      showSources(question, hits);
    },
    token: ({ text }) => view.addText(text),
    done: (whole) => (done = whole),
  };
  await askStream(body, on, signal);
  return done;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function setAsking(on) {
  byId("go").textContent = on ? "Stop" : "Ask";
  byId("go").classList.toggle("stop", on);
}
