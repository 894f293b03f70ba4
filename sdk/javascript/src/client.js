import { attempts } from "./attempts.js";
import { ClientError } from "./errors.js";
import { Exchange, problem } from "./exchange.js";
import { answerEvents } from "./stream.js";

const TIMEOUT_MS = 75_000; // the service itself gives an answer up after 60 s and says so
const RETRIES = 3;

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

  /** Add texts as documents. Repeated after a lost connection only with `uris`, else a text would be added twice. */
  add(texts, { uris, metadata, collection, signal } = {}) {
    const body = { texts, uris, metadata, collection };
    return this.#json("POST", "/api/documents", { body, signal, idempotent: uris !== undefined });
  }

  /** Send a file to be indexed under `name`; the job that does it. Not repeated after a lost connection. */
  upload(name, content, { collection, signal } = {}) {
    const form = new FormData();
    form.append("file", content instanceof Blob ? content : new Blob([content]), name);
    if (collection !== undefined) form.append("collection", collection);
    return this.#json("POST", "/api/documents", { form, signal, idempotent: false });
  }

  /** Remove a document. */
  delete(uri, { collection, signal } = {}) {
    return this.#json("DELETE", "/api/documents", { asked: pairs({ uri, collection }), signal });
  }

  /** How far a job is. */
  job(id, { signal } = {}) {
    return this.#json("GET", `/api/jobs/${encodeURIComponent(id)}`, { signal });
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

function asking(question, { topK, filter, collection, history }) {
  return { question, k: topK, filter, collection, history }; // what is undefined is not written
}
