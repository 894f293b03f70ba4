// Talking to the service. Two kinds of failure, because the page acts differently on them:
// Problem (the service answered: no) and ConnectionLost (nobody answered, or the answer broke off).

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

const KEY = "ragstone-key"; // of the tab, forgotten when it is closed
let onKeyWanted = () => {};

/** Call `ask(refused)` when the service wants a key; `refused`: the one we have is not valid. */
export function whenKeyWanted(ask) {
  onKeyWanted = ask;
}

export const useKey = (key) => sessionStorage.setItem(KEY, key);

export const wasAborted = (error) => error.name === "AbortError";

/** JSON of `GET path?params`; empty parameters are left out. */
export async function get(path, params = {}, signal = null) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value != null));
  const timeout = AbortSignal.timeout(READ_TIMEOUT_MS);
  const both = signal ? AbortSignal.any([signal, timeout]) : timeout;
  const response = await reach(`${path}${query.size ? `?${query}` : ""}`, { signal: both });
  return await parsed(response);
}

/** The whole answer to `body`, without streaming. */
export async function ask(body, signal) {
  return await parsed(await reach("/api/ask", posted(body, signal)));
}

/** Call `on[name](data)` for each server-sent event; returns after `done`, throws otherwise. */
export async function askStream(body, on, signal) {
  const response = await reach("/api/ask/stream", posted(body, signal));
  if (!response.ok) await parsed(response);
  for await (const { name, data } of serverSentEvents(response.body)) {
    if (name === "error") throw new Problem(data.status, data);
    on[name]?.(data);
    if (name === "done") return;
  }
  throw new ConnectionLost("The answer broke off.");
}

const posted = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

async function reach(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  try {
    const response = await fetch(path, { ...options, headers });
    if (response.status === 401) onKeyWanted(key !== null);
    return response;
  } catch (error) {
    throw lostUnlessAborted(error);
  }
}

async function parsed(response) {
  let body;
  try {
    body = await response.json();
  } catch (error) {
    if (response.ok) throw lostUnlessAborted(error);
    body = {};
  }
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

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
        const [first, second] = frame.split("\n");
        yield { name: first.slice("event: ".length), data: JSON.parse(second.slice("data: ".length)) };
      }
    }
  } catch (error) {
    throw lostUnlessAborted(error);
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already; there is nothing left to read
  }
}

const lostUnlessAborted = (error) => (wasAborted(error) ? error : new ConnectionLost(error.message));
