// Against a running service: RAGSTONE_URL holds the library of tests/server/live.py, RAGSTONE_ENDLESS_URL one whose chat
// model talks for minutes. tests/javascript starts both.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, ServiceError } from "../src/index.js";

const { RAGSTONE_URL: url, RAGSTONE_ENDLESS_URL: endless } = process.env;
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
