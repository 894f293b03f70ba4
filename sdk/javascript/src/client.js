import { attempts, pause } from "./attempts.js";
import { ClientError } from "./errors.js";
import { Exchange, problem } from "./exchange.js";
import { answerEvents } from "./stream.js";

const TIMEOUT_MS = 75_000; // the service itself gives an answer up after 60 s and says so
const RETRIES = 3;
const FIRST_POLL_S = 0.1; // a text of a page is indexed in that time
const LONGEST_POLL_S = 2;
const ENDED = new Set(["done", "failed", "cancelled"]);

/** A service's calls. Holds no connection. Types, limits and errors are in index.d.ts. */
export class Client {
  #base;
  #key;
  #timeoutMs;
  #retries;

  constructor(url = "http://127.0.0.1:8000", { key = "", timeoutMs = TIMEOUT_MS, retries = RETRIES } = {}) {
    const address = parsed(url);
    if (!/^[\x21-\x7e]*$/.test(key)) {
      throw new ClientError("the key holds characters that no key has", {
        code: "invalid_input",
        hint: "was it copied with its line end?",
      });
    }
    this.#base = address.origin + address.pathname.replace(/\/+$/, "");
    this.#key = key;
    this.#timeoutMs = timeoutMs;
    this.#retries = retries;
  }

  /** The best passages, best first. */
  search(query, { topK, mode, filter, collections = [], graph, signal } = {}) {
    const asked = [...pairs({ q: query, k: topK, mode, filter, graph }), ...collections.map((name) => ["collection", name])];
    return this.#json("GET", "/api/search", { asked, signal });
  }

  /** The answer with checked citations. */
  ask(question, options = {}) {
    return this.#json("POST", "/api/ask", { body: asking(question, options), signal: options.signal });
  }

  /** The answer while it is made; leaving the loop closes the connection, which stops the service's work. */
  askStream(question, options = {}) {
    const init = this.#init("POST", JSON.stringify(asking(question, options)), "application/json");
    const limits = { timeoutMs: this.#timeoutMs, retries: this.#retries, signal: options.signal };
    return answerEvents(`${this.#base}/api/ask/stream`, init, limits);
  }

  /** Counts, sizes, model and latencies. */
  stats({ signal } = {}) {
    return this.#json("GET", "/api/stats", { signal });
  }

  /** Whether requests should be sent now; asked once. */
  async ready({ signal } = {}) {
    const asked = { signal, retries: 0, accepted: 503 };
    return (await this.#json("GET", "/health/ready", asked)).status === "ok";
  }

  /** A page of the indexed documents. */
  documents({ offset, limit, signal } = {}) {
    return this.#json("GET", "/api/documents", { asked: pairs({ offset, limit }), signal });
  }

  /** A document's text; of a large one the 400,000 characters around `start`. */
  document(uri, { start, collection, signal } = {}) {
    return this.#json("GET", "/api/document", { asked: pairs({ uri, start, collection }), signal });
  }

  /** Add texts as documents. Without a uri one is made of the text: sending it twice adds it once. */
  add(texts, { collection, signal } = {}) {
    const given = texts.map((text) => (typeof text === "string" ? { text } : text));
    return this.#json("POST", "/api/texts", { body: { texts: given, collection }, signal });
  }

  /** Send a file; the job that makes it the document `upload:<name>`. Not repeated after a lost connection. */
  upload(name, content, { collection, signal } = {}) {
    const form = new FormData();
    form.append("file", content instanceof Blob ? content : new Blob([content]), name);
    return this.#json("POST", "/api/documents", { asked: pairs({ collection }), form, signal, idempotent: false });
  }

  /** Index folders of the service's machine; the job that does it. Not repeated after a lost connection. */
  index(paths = [], { collection, signal } = {}) {
    return this.#json("POST", "/api/index", { body: { paths, collection }, signal, idempotent: false });
  }

  /** Remove documents. */
  delete(uris, { collection, signal } = {}) {
    const asked = [...uris.map((uri) => ["uri", uri]), ...pairs({ collection })];
    return this.#json("DELETE", "/api/documents", { asked, signal });
  }

  /** How far a job is. */
  job(id, { signal } = {}) {
    return this.#json("GET", `/api/jobs/${encodeURIComponent(id)}`, { signal });
  }

  /** A job once it has ended, well or not; asked at growing intervals. */
  async waitForJob(id, { timeoutMs = 600_000, signal } = {}) {
    const ends = performance.now() + timeoutMs;
    for (let wait = FIRST_POLL_S; ; wait = Math.min(2 * wait, LONGEST_POLL_S)) {
      const job = await this.job(id, { signal });
      if (ENDED.has(job.state)) return job;
      if (performance.now() + wait * 1000 > ends) {
        throw new ClientError(`job ${id} has not ended after ${timeoutMs / 1000} s`, { code: "timeout" });
      }
      await pause(wait, signal);
    }
  }

  /** Stop a job at its next document; what was acknowledged is kept. */
  cancelJob(id, { signal } = {}) {
    return this.#json("DELETE", `/api/jobs/${encodeURIComponent(id)}`, { signal });
  }

  #json(method, path, { asked = [], body, form, signal, idempotent = true, retries = this.#retries, accepted } = {}) {
    const query = asked.length ? `?${new URLSearchParams(asked)}` : "";
    const init = form
      ? this.#init(method, form)
      : this.#init(method, body && JSON.stringify(body), body && "application/json");
    const once = async () => {
      const exchange = new Exchange({ timeoutMs: this.#timeoutMs, signal });
      try {
        const response = await exchange.fetch(`${this.#base}${path}${query}`, init);
        if (!response.ok && response.status !== accepted) throw await problem(response);
        return await exchange.body(async () => {
          const text = await response.text();
          return text === "" ? null : JSON.parse(text);
        });
      } finally {
        exchange.close();
      }
    };
    return attempts(once, { retries, idempotent, signal });
  }

  #init(method, body, contentType) {
    const headers = { accept: "application/json, text/event-stream" };
    if (this.#key) headers.authorization = `Bearer ${this.#key}`;
    if (contentType) headers["content-type"] = contentType;
    return { method, headers, body };
  }
}

function parsed(url) {
  try {
    const address = new URL(url);
    if (/^https?:$/.test(address.protocol) && !address.username && !address.search) return address;
  } catch {
    // said below
  }
  throw new ClientError("not an http(s) address", { code: "invalid_input", hint: "for example http://127.0.0.1:8000" });
}

/** The members that were given, as they go into a query string. */
function pairs(members) {
  return Object.entries(members).filter(([, value]) => value !== undefined);
}

function asking(question, { topK, filter, collection, history, memory }) {
  return { question, k: topK, filter, collection, history, memory }; // what is undefined is not written
}
