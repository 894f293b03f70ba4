// Against running services: RAGSTONE_URL holds the library of tests/server/live.py, RAGSTONE_ENDLESS_URL one whose chat
// model talks for minutes, RAGSTONE_OWN_URL a text and a memory. RAGSTONE_FOLDER is the library on their machine.
// tests/javascript starts them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, ServiceError } from "../src/index.js";

const { RAGSTONE_URL: url, RAGSTONE_ENDLESS_URL: endless, RAGSTONE_OWN_URL: own, RAGSTONE_FOLDER: folder } = process.env;
const skip = url === undefined && "no service: run by tests/javascript";
const QUESTION = "Who finished the third lighthouse?";

test("search", { skip }, async () => {
  const { hits } = await new Client(url).search("dovetail joints", { topK: 3, filter: "path:**/lighthouse.md" });
  assert.match(hits[0].text, /dovetail/);
  assert(hits.every((hit) => hit.uri.endsWith("lighthouse.md")));
});

test("ask", { skip }, async () => {
  const answer = await new Client(url).ask(QUESTION, { history: [{ role: "user", text: "Hello" }] });
  assert.equal(answer.grounded, true);
  assert.match(answer.answer, /Smeaton/);
  assert.match(answer.citations[0].quote, /Smeaton/);
});

test("stream", { skip }, async () => {
  const events = [];
  for await (const event of new Client(url).askStream(QUESTION)) events.push(event);
  const kinds = events.map((event) => event.type);
  assert.deepEqual([...new Set(kinds)], ["source", "token", "done"]);
  assert.deepEqual(kinds, [...kinds].sort((a, b) => "std".indexOf(a[0]) - "std".indexOf(b[0])));
  assert.deepEqual(events.filter((event) => event.type === "source").map((event) => event.n), [1, 2, 3, 4]);
  assert.match(events.at(-1).answer.answer, /Smeaton/);
});

test("documents, figures, readiness", { skip }, async () => {
  const client = new Client(url);
  const first = await client.documents({ limit: 3 });
  const rest = await client.documents({ offset: first.next_offset });
  assert.equal(first.documents.length + rest.documents.length, first.total);
  assert.equal(rest.next_offset, null);
  const bees = [...first.documents, ...rest.documents].find((document) => document.uri.endsWith("bees.md"));
  assert.match((await client.document(bees.uri)).text, /waggle/);
  assert.equal((await client.stats()).documents, 4);
  assert.equal(await client.ready(), true);
});

test("a refused request is an error in the service's words", { skip }, async () => {
  await assert.rejects(new Client(url).ask("x".repeat(1001)), (error) => {
    assert(error instanceof ServiceError);
    assert.equal(error.status, 422);
    assert.match(error.message, /question/);
    return true;
  });
});

test("leaving the loop ends the stream", { skip: skip || endless === undefined }, async () => {
  for await (const event of new Client(endless).askStream(QUESTION)) {
    if (event.type === "token") break;
  }
});

test("a file is uploaded, followed, read and deleted", { skip }, async () => {
  const client = new Client(own);
  const begun = await client.upload("ferry times.md", "# Ferries\n\nThe ferry to Holm leaves at 7:40.");
  const job = await client.waitForJob(begun.id);
  assert.deepEqual([job.id, job.state, job.kind], [begun.id, "done", "upload"]);
  assert.deepEqual(job.result.uris, ["upload:ferry times.md"]);
  assert.deepEqual(await client.job(begun.id), job);
  assert.match((await client.document("upload:ferry times.md")).text, /Holm/);
  assert.deepEqual(await client.delete(["upload:ferry times.md"]), { removed: 1 });
  await assert.rejects(client.document("upload:ferry times.md"), { status: 404 });
  await assert.rejects(client.upload("program.exe", new Uint8Array([77, 90])), { status: 422, code: "unsupported" });
});

test("texts are added, replaced and deleted, all or none", { skip }, async () => {
  const client = new Client(own);
  const texts = [{ text: "Herons nest.", uri: "a", metadata: { year: 2024 } }, { text: "Terns do not.", uri: "b" }];
  assert.deepEqual(await client.add(texts), { uris: ["a", "b"] });
  await client.add([{ text: "Herons nest on the pier.", uri: "a" }]);
  assert.equal((await client.document("a")).text, "Herons nest on the pier.");
  await assert.rejects(client.delete(["a", "c"]), { status: 404 });
  assert.deepEqual(await client.delete(["a", "b"]), { removed: 2 });
});

test("a folder is indexed by a job, and a job is cancelled", { skip }, async () => {
  const client = new Client(own);
  const job = await client.waitForJob((await client.index([folder], { collection: "library" })).id);
  assert.equal(job.result.documents.indexed, 4);
  const again = await client.index([folder], { collection: "library" });
  const cancelled = await client.cancelJob(again.id);
  assert.equal(cancelled.id, again.id);
  assert.match((await client.waitForJob(again.id)).state, /^(cancelled|done)$/); // it may have ended by itself
  await assert.rejects(client.cancelJob("none"), { status: 404 });
});

test("an answer uses memory when asked to", { skip }, async () => {
  const client = new Client(own);
  const question = "What is the harbour master's dog called?";
  assert.deepEqual((await client.ask(question)).memories, []);
  const { memories, citations, answer } = await client.ask(question, { memory: true });
  assert.equal(memories[0].text, "The harbour master's dog is called Odalys.");
  assert.match(answer, /Odalys/);
  assert.deepEqual(citations, []);
});
