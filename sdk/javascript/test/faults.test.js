// What the world does to a connection: refused, busy, cut, silent, garbled.

import assert from "node:assert/strict";
import { test } from "node:test";

import { waitSeconds } from "../src/attempts.js";
import { EventParser } from "../src/events.js";
import { Client, ClientError, ServiceError } from "../src/index.js";
import { json, refusal, response, scripted, stream } from "./scripted.js";

const EMPTY = { hits: [], degraded: [], timings_ms: {} };
const SOURCE = { n: 1, id: 7, uri: "a.md" };
const DONE = { answer: "So.", citations: [] };

/** A test against a server with these scripts. */
function against(name, scripts, run) {
  test(name, { timeout: 20_000 }, async () => {
    const server = await scripted(...scripts);
    try {
      await run(server, (options) => new Client(server.url, options));
    } finally {
      await server.close();
    }
  });
}

async function heard(events) {
  const found = [];
  for await (const event of events) found.push(event.type);
  return found;
}

against(
  "a busy service is asked again",
  [refusal(503, "Retry-After: 0"), refusal(429, "Retry-After: 0"), json(EMPTY)],
  async (server, client) => {
    assert.deepEqual(await client().search("x"), EMPTY);
    assert.equal(server.requests.length, 3);
  },
);

against("attempts are bounded and the last error is told", [refusal(503, "Retry-After: 0")], async (server, client) => {
  await assert.rejects(client({ retries: 2 }).search("x"), (error) => {
    assert(error instanceof ServiceError);
    const { message, hint, status, requestId, retryAfterSeconds } = error;
    assert.deepEqual([message, hint, status, requestId, retryAfterSeconds], ["Not now.", "Later.", 503, "r-1", 0]);
    return true;
  });
  assert.equal(server.requests.length, 3);
});

against("a cut connection is made again", ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", json(EMPTY)], async (_, client) => {
  assert.deepEqual(await client().search("x"), EMPTY);
});

against("what would act twice is not sent again", [""], async (server, client) => {
  await assert.rejects(client().upload("a.md", "text"), { code: "cut" });
  await assert.rejects(client().index(["/papers"]), { code: "cut" });
  assert.equal(server.requests.length, 2);
});

against("a file is sent as a form", [json({ id: "j1", state: "queued" })], async (server, client) => {
  assert.equal((await client().upload("a.md", "# text", { collection: "papers" })).id, "j1");
  assert.match(server.requests[0], /^POST \/api\/documents\?collection=papers HTTP/);
  assert.match(server.requests[0], /name="file"; filename="a.md"\r\n[^]*\r\n\r\n# text\r\n/);
});

against("texts are sent with what is said of them", [json({ uris: ["a", "b"] })], async (server, client) => {
  assert.deepEqual(await client().add(["one", { text: "two", uri: "b" }]), { uris: ["a", "b"] });
  assert.match(server.requests[0], /\{"texts":\[\{"text":"one"\},\{"text":"two","uri":"b"\}\]\}$/);
});

against("documents are removed by uri", [json({ removed: 2 })], async (server, client) => {
  assert.deepEqual(await client().delete(["a b", "c"], { collection: "papers" }), { removed: 2 });
  assert.match(server.requests[0], /^DELETE \/api\/documents\?uri=a\+b&uri=c&collection=papers HTTP/);
});

against(
  "a job is waited for until it has ended",
  [json({ id: "j 1", state: "queued" }), json({ id: "j 1", state: "running" }), json({ id: "j 1", state: "failed" })],
  async (server, client) => {
    assert.equal((await client().waitForJob("j 1")).state, "failed");
    assert.match(server.requests[2], /^GET \/api\/jobs\/j%201 HTTP/);
  },
);

against("a job that does not end is given up", [json({ id: "j", state: "running" })], async (_, client) => {
  await assert.rejects(client().waitForJob("j", { timeoutMs: 150 }), { code: "timeout" });
});

test("nobody there is named", async () => {
  const server = await scripted();
  await server.close();
  await assert.rejects(new Client(server.url, { retries: 1 }).search("x"), { code: "unreachable" });
});

against("a silent service is given up in time", [null], async (server, client) => {
  await assert.rejects(client({ timeoutMs: 100 }).search("x"), { code: "timeout" });
  await assert.rejects(heard(client({ timeoutMs: 100 }).askStream("x")), { code: "timeout" });
  await server.left;
});

against("an aborted call ends with the signal's reason and closes the connection", [null], async (server, client) => {
  const reason = new Error("enough");
  await assert.rejects(client().search("x", { signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const call = client().search("x", { signal: controller.signal });
  setImmediate(() => controller.abort(reason));
  await assert.rejects(call, reason);
});

for (const [what, answer] of [
  ["not JSON", response(200, "<html>")],
  ["not HTTP", "SSH-2.0-OpenSSH\r\n\r\n"],
]) {
  against(`what is ${what} is an error`, [answer], async (_, client) => {
    await assert.rejects(client({ retries: 0 }).search("x"), ClientError);
  });
}

against("a redirect is not followed", [response(302, "", "Location: https://elsewhere.example/")], async (_, client) => {
  await assert.rejects(client({ key: "k" }).search("x"), (error) => /elsewhere\.example/.test(error.hint));
});

against("the key and the arguments are sent", [json(EMPTY)], async (server) => {
  await new Client(`${server.url}/beside/`, { key: "k-secret" }).search("c&d", { topK: 3, collections: ["a", "b"] });
  const [request] = server.requests;
  assert.match(request, /^GET \/beside\/api\/search\?q=c%26d&k=3&collection=a&collection=b HTTP/);
  assert.match(request, /\r\nauthorization: Bearer k-secret\r\n/i);
});

test("what is no address or key is refused", () => {
  for (const url of ["ftp://x", "nothing", "http://u:p@h", "http://h?q"]) assert.throws(() => new Client(url), ClientError);
  assert.throws(() => new Client("http://h", { key: "a\n" }), { code: "invalid_input" });
});

against(
  "a stream cut before its first token is made again, its sources given once",
  [stream(["source", SOURCE]), stream(["source", SOURCE], ["thought", {}], ["token", { text: "So." }], ["done", DONE])],
  async (_, client) => {
    assert.deepEqual(await heard(client().askStream("x")), ["source", "token", "done"]);
  },
);

against("a stream cut after its first token says so", [stream(["token", { text: "Because" }])], async (server, client) => {
  await assert.rejects(heard(client().askStream("x")), { code: "stream_cut", message: /after 7 characters/ });
  assert.equal(server.requests.length, 1);
});

against(
  "sources that changed meanwhile are not mixed",
  [stream(["source", SOURCE]), stream(["source", { ...SOURCE, id: 8 }])],
  async (_, client) => {
    await assert.rejects(heard(client().askStream("x")), /documents changed/);
  },
);

against(
  "an error event is an error",
  [stream(["token", { text: "a" }], ["error", { status: 504, code: "timeout", detail: "Too long.", hint: "" }])],
  async (_, client) => {
    await assert.rejects(heard(client().askStream("x")), { name: "ServiceError", status: 504, message: "Too long." });
  },
);

for (const [tokens, requests] of [[0, 2], [1, 1]]) {
  const stopping = ["error", { status: 503, code: "stopping", detail: "Stopping.", hint: "" }];
  const broken = stream(...Array(tokens).fill(["token", { text: "a" }]), stopping);
  against(`an answer stopped after ${tokens} tokens`, [broken, stream(["done", DONE])], async (server, client) => {
    const events = heard(client().askStream("x"));
    if (tokens) await assert.rejects(events, { message: "Stopping." });
    else assert.deepEqual(await events, ["done"]);
    assert.equal(server.requests.length, requests);
  });
}

against("a service that is not ready is no error", [response(503, '{"status":"unready"}')], async (server, client) => {
  assert.equal(await client().ready(), false);
  assert.equal(server.requests.length, 1);
});

test("events are the same however their bytes are cut", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = [": remark", "event: token", "data: a", "data: b", "", "data:c", "", "event: never", ":"].join(end);
    const whole = [...new EventParser().feed(text)];
    assert.deepEqual(whole, [{ name: "token", data: "a\nb" }, { name: "message", data: "c" }]);
    for (let first = 0; first <= text.length; first += 1) {
      for (let second = first; second <= text.length; second += 1) {
        const parser = new EventParser();
        const pieces = [text.slice(0, first), text.slice(first, second), text.slice(second)];
        assert.deepEqual(pieces.flatMap((piece) => [...parser.feed(piece)]), whole);
      }
    }
  }
});

test("waits grow, are spread, and follow the service", () => {
  const waits = (error, idempotent = true) => [0, 1, 2].map((failed) => waitSeconds(error, failed, idempotent, () => 0.5));
  const service = (status, retryAfterSeconds) => new ServiceError({}, { status, retryAfterSeconds });
  assert.deepEqual(waits(new ClientError("", { code: "cut" })), [0.125, 0.25, 0.5]);
  assert.deepEqual(waits(service(429, 3)), [3.125, 3.25, 3.5]);
  assert.deepEqual(waits(service(503, 20)), [null, null, null]);
  assert.deepEqual(waits(service(504)), [null, null, null]);
  assert.deepEqual(waits(service(503, 0), false), [null, null, null]);
  assert.deepEqual(waits(new ClientError("", { code: "unreachable" }), false), [0.125, 0.25, 0.5]);
});
