// One request and its response over fetch, with a limit on silence. Redirects are not followed: the key would go along.

import { ClientError, ServiceError } from "./errors.js";

// What Node's fetch says when nothing was sent. Browsers do not tell, so there nothing counts as unreachable.
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

/** One exchange: give it up by the caller's `signal`, by silence, or by `close()`, which the service sees at once. */
export class Exchange {
  #controller = new AbortController();
  #timer = null;
  #timeoutMs;
  #signal;
  #late = false;
  #stop = () => this.#controller.abort();

  constructor({ timeoutMs, signal }) {
    signal?.throwIfAborted();
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#stop, { once: true });
    this.heard();
  }

  /** The response to a request; its body is still to come. */
  async fetch(url, init) {
    return this.#translated(() => fetch(url, { ...init, redirect: "manual", signal: this.#controller.signal }));
  }

  /** What `read` resolves to, its failures as `ClientError`. */
  async body(read) {
    return this.#translated(read);
  }

  /** Something arrived: the limit on silence begins anew. */
  heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#late = true;
      this.#controller.abort();
    }, this.#timeoutMs);
  }

  close() {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#stop);
    this.#controller.abort();
  }

  async #translated(act) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof ClientError) throw error;
      if (this.#signal?.aborted) throw this.#signal.reason;
      if (this.#late) {
        throw new ClientError("the service did not answer in time", {
          code: "timeout",
          hint: "allow more time with timeoutMs",
        });
      }
      if (error instanceof SyntaxError) {
        throw new ClientError("what arrived is not JSON", { code: "protocol", hint: "is it a ragstone service?", cause: error });
      }
      if (NOT_SENT.has(error?.cause?.code)) {
        throw new ClientError(`no service answers: ${error.cause.code}`, {
          code: "unreachable",
          hint: "start one with `ragstone serve`, or correct the address",
          cause: error,
        });
      }
      throw new ClientError(`the connection broke: ${error?.cause?.code ?? error?.message}`, {
        code: "cut",
        hint: "try again",
        cause: error,
      });
    }
  }
}

/** The error that a response of another status than expected stands for. */
export async function problem(response) {
  const text = await response.text().catch(() => ""); // the status is known: a lost text changes nothing
  let members = {};
  try {
    members = Object(JSON.parse(text));
  } catch {
    // not a problem document: something on the way answered
  }
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    members = { detail: "the service redirects", hint: `give the address itself: ${response.headers.get("location") ?? ""}` };
  }
  const seconds = response.headers.get("retry-after") ?? "";
  return new ServiceError(members, {
    status: response.status,
    requestId: response.headers.get("x-request-id") ?? "",
    retryAfterSeconds: /^\d+$/.test(seconds) ? Number(seconds) : null,
  });
}
