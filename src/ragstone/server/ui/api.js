// Talking to the service. Two kinds of failure, because the page acts differently on them:
// Problem (the service answered: no) and ConnectionLost (nobody answered, or the answer broke off).

import { anotherKey, authorization } from "./key.js";

const READ_TIMEOUT_MS = 15_000; // the slowest search takes under a second; behind this the service hangs

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.message || `The service answered ${status}.`);
    this.status = status;
    this.code = body.code || "";
    this.hint = body.hint || "";
  }
}

export class ConnectionLost extends Error {}

export const wasAborted = (error) => error.name === "AbortError";

/** JSON of `GET path?params`; empty parameters are left out. `background`: nobody waits for it. */
export async function get(path, params = {}, { signal = null, background = false } = {}) {
  return await parsed(await read(path, params, { signal, background }));
}

/** The picture at `GET path?params`, decoded. */
export async function getImage(path, params) {
  const response = await read(path, params, {});
  if (!response.ok) await parsed(response);
  return await createImageBitmap(await response.blob());
}

/** JSON of a request with a method and, if given, a JSON body or a form. */
export async function send(method, path, body = null, signal = null) {
  return await parsed(await reach(path, { method, ...bodyOf(body), signal }));
}

/** The whole answer to `body`, without streaming. */
export const ask = (body, signal) => send("POST", "/api/ask", body, signal);

/** Call `on[name](data)` for each event of the answer to `body`; returns after `done`, throws otherwise. */
export const askStream = (body, on, signal) =>
  events("/api/ask/stream", on, { method: "POST", ...bodyOf(body), signal });

/** Call `on[name](data)` for each server-sent event; returns after `done`, throws for `error` and an early end. */
export async function events(path, on, options) {
  const response = await reach(path, options);
  if (!response.ok) await parsed(response);
  for await (const { name, data } of serverSentEvents(response.body)) {
    if (name === "error") throw refusal(data.status, data);
    on[name]?.(data);
    if (name === "done") return;
  }
  throw new ConnectionLost("The answer broke off.");
}

function bodyOf(body) {
  if (body === null) return {};
  if (body instanceof FormData) return { body };
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

async function read(path, params, { signal = null, background = false }) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value != null));
  const timeout = AbortSignal.timeout(READ_TIMEOUT_MS);
  const both = signal ? AbortSignal.any([signal, timeout]) : timeout;
  return await reach(`${path}${query.size ? `?${query}` : ""}`, { signal: both }, { background });
}

/** The response, asked for again with another key for as long as the reader gives one. */
async function reach(path, options, { background = false } = {}) {
  for (;;) {
    const key = authorization();
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...key } });
    } catch (error) {
      throw lostUnlessAborted(error);
    }
    if (response.status !== 401 || !(await anotherKey(key.Authorization, { background }))) return response;
  }
}

async function parsed(response) {
  let body;
  try {
    body = response.status === 204 ? {} : await response.json();
  } catch (error) {
    if (response.ok) throw lostUnlessAborted(error);
    body = {};
  }
  if (!response.ok) throw refusal(response.status, body);
  return body;
}

/** A service that stops says so, and is gone a moment later: what it was asked has to be asked again. */
const refusal = (status, body) => (body.code === "stopping" ? new ConnectionLost(body.detail) : new Problem(status, body));

async function* serverSentEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += value;
      const frames = pending.split("\n\n");
      pending = frames.pop();
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
        if (fields.event) yield { name: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } catch (error) {
    throw lostUnlessAborted(error);
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already; there is nothing left to read
  }
}

const lostUnlessAborted = (error) => (wasAborted(error) ? error : new ConnectionLost(error.message));
