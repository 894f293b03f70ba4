// A streamed answer: `source`*, `token`*, then `done` or an error.
//
// A connection that breaks before the first token is made again; after it, that is an error which says so, because the
// next answer may have other words. Sources that came twice are given once.

import { pause, waitSeconds } from "./attempts.js";
import { ClientError, ServiceError } from "./errors.js";
import { EventParser } from "./events.js";
import { Exchange, problem } from "./exchange.js";

const NAMES = new Set(["source", "token", "done", "error"]);

export async function* answerEvents(url, init, { timeoutMs, retries, signal }) {
  const answer = { sources: new Map(), characters: 0 }; // what was given: hit ids by number, and how much text
  for (let failed = 0; ; failed += 1) {
    try {
      yield* attempt(url, init, { timeoutMs, signal }, answer);
      return;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (!(error instanceof ServiceError) && error instanceof ClientError && answer.characters > 0) {
        throw new ClientError(
          `the stream broke after ${answer.characters} characters of the answer: ${error.message}`,
          { code: "stream_cut", hint: "ask again; what arrived is not the whole answer", cause: error },
        );
      }
      const wait = answer.characters > 0 ? null : waitSeconds(error, failed, true);
      if (wait === null || failed === retries) throw error;
      await pause(wait, signal);
    }
  }
}

async function* attempt(url, init, options, answer) {
  const exchange = new Exchange(options);
  try {
    const response = await exchange.fetch(url, init);
    if (response.status !== 200) throw await problem(response);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    for (;;) {
      const { value, done } = await exchange.body(() => reader.read());
      if (done) throw new ClientError("the stream ended without its last event", { code: "cut", hint: "ask again" });
      exchange.heard();
      for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
        const given = NAMES.has(event.name) ? read(event, answer) : null; // names of later versions are passed over
        if (given) yield given;
        if (event.name === "done") return;
      }
    }
  } finally {
    exchange.close(); // also when the reader leaves: the service stops answering
  }
}

/** The event to give; null for a source that was given before. */
function read({ name, data }, answer) {
  let members;
  try {
    members = Object(JSON.parse(data));
  } catch (error) {
    throw new ClientError(`the data of ${name} is not JSON`, { code: "protocol", cause: error });
  }
  if (name === "error") throw new ServiceError(members, { status: members.status ?? 500 });
  if (name === "done") return { type: "done", answer: members };
  if (name === "token") {
    answer.characters += members.text.length;
    return { type: "token", text: members.text };
  }
  const { n, ...hit } = members;
  if (!answer.sources.has(n)) {
    answer.sources.set(n, hit.id);
    return { type: "source", n, hit };
  }
  if (answer.sources.get(n) !== hit.id) {
    throw new ClientError("the documents changed while the stream was made again", {
      code: "stream_cut",
      hint: "ask again",
    });
  }
  return null;
}
