// Compiled, not run: what a program in TypeScript may write, and what it may not.
import { Client, ServiceError, type Answer, type Hit } from "ragstone";

export async function use(): Promise<string> {
  const client = new Client("http://127.0.0.1:8000", { key: "k", timeoutMs: 1000, retries: 0 });
  const found = await client.search("ferry", { topK: 3, mode: "keyword", collections: ["a", "b"], graph: false });
  const first: Hit | undefined = found.hits[0];
  const answer: Answer = await client.ask("when?", { history: [{ role: "user", text: "hello" }] });
  for await (const event of client.askStream("when?", { signal: new AbortController().signal })) {
    if (event.type === "token") console.log(event.text);
    else if (event.type === "source") console.log(event.n, event.hit.uri);
    else console.log(event.answer.citations.map((citation) => citation.quote));
  }
  const page = await client.documents({ limit: 10 });
  const next: number | null = page.next_offset;
  await client.add(["text", { text: "text", uri: "a", metadata: { year: 2024 } }], { collection: "papers" });
  const job = await client.waitForJob((await client.upload("a.md", "text")).id);
  if (job.state === "failed") console.log(job["error"]);
  try {
    await client.delete(["a"]);
  } catch (error) {
    if (error instanceof ServiceError) return `${error.status} ${error.code} ${error.hint}`;
  }
  // @ts-expect-error there is no such mode
  await client.search("ferry", { mode: "fuzzy" });
  // @ts-expect-error results are not to be written to
  found.hits[0] = first;
  return `${first?.title} ${answer.answer} ${next}`;
}
