/** A value of a document's metadata. */
export type MetadataValue = string | number | boolean | null;

/** One found passage. `score` is higher for better, from 0 to 1 for hybrid searches. */
export interface Hit {
  readonly id: number;
  readonly uri: string;
  readonly title: string;
  readonly text: string;
  readonly score: number | null;
  /** 1-based; null where there are no pages. */
  readonly page: number | null;
  /** Characters of the document's text. */
  readonly start: number;
  readonly end: number;
  /** Seconds into the recording, for subtitles. */
  readonly time_s: number | null;
  readonly headings: readonly string[];
  readonly sources: Readonly<Record<string, number | null>>;
  readonly metadata: Readonly<Record<string, MetadataValue>>;
  readonly collection: string;
}

/** A source that did not take part, and why. */
export interface Degraded {
  readonly source: string;
  readonly reason: string;
}

export interface SearchResult {
  readonly hits: readonly Hit[];
  readonly degraded: readonly Degraded[];
  readonly timings_ms: Readonly<Record<string, number>>;
}

/** A checked source of an answer; `n` is its number in the text, as in `[1]`. */
export interface Citation {
  readonly n: number;
  readonly uri: string;
  readonly title: string;
  readonly page: number | null;
  readonly time_s: number | null;
  readonly start: number;
  readonly end: number;
  readonly quote: string;
}

/** `grounded` is false when the documents do not hold the answer; `answer` then says so. */
/** A statement that is remembered and fits the question; never cited. */
export interface Memory {
  readonly id: string;
  readonly text: string;
  readonly score: number | null;
  readonly tier: string;
  readonly source: string;
  readonly created_s: number;
}

export interface Answer {
  readonly answer: string;
  readonly citations: readonly Citation[];
  readonly grounded: boolean;
  readonly hits: readonly Hit[];
  readonly degraded: readonly Degraded[];
  readonly timings_ms: Readonly<Record<string, number>>;
  readonly model: string;
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly memories: readonly Memory[];
}

export type AnswerEvent =
  | { readonly type: "source"; readonly n: number; readonly hit: Hit }
  | { readonly type: "token"; readonly text: string }
  | { readonly type: "done"; readonly answer: Answer };

export interface DocumentInfo {
  readonly id: number;
  readonly uri: string;
  readonly title: string;
  readonly format: string;
  readonly size_bytes: number;
  readonly modified_s: number | null;
  readonly indexed_s: number | null;
  readonly chunks: number;
  readonly metadata: Readonly<Record<string, MetadataValue>>;
}

export interface DocumentPage {
  readonly documents: readonly DocumentInfo[];
  readonly total: number;
  /** null on the last page. */
  readonly next_offset: number | null;
}

export interface DocumentText {
  readonly document: DocumentInfo;
  /** Begins at character `offset` of `length`. */
  readonly text: string;
  readonly offset: number;
  readonly length: number;
}

export interface Job {
  readonly id: string;
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** `progress`, `result` and `error` among others. */
  readonly [member: string]: unknown;
}

/** A text to add. It replaces the document of the same uri; without one, one is made of its content. */
export interface Text {
  readonly text: string;
  readonly uri?: string;
  readonly title?: string;
  readonly metadata?: Readonly<Record<string, MetadataValue>>;
}

export interface Turn {
  readonly role: "user" | "assistant";
  readonly text: string;
}

/** Aborting the signal rejects the call with the signal's reason and closes the connection. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface SearchOptions extends CallOptions {
  /** 1 to 100; the service's own number if not given. */
  readonly topK?: number;
  readonly mode?: "hybrid" | "dense" | "keyword";
  readonly filter?: string;
  readonly collections?: readonly string[];
  readonly graph?: boolean;
}

export interface AskOptions extends CallOptions {
  /** 1 to 10 passages that the answer may draw on. */
  readonly topK?: number;
  readonly filter?: string;
  readonly collection?: string;
  readonly history?: readonly Turn[];
  /** Whether the answer uses what is remembered beside the collection. */
  readonly memory?: boolean;
}

export interface CollectionOptions extends CallOptions {
  readonly collection?: string;
}

export interface ClientOptions {
  /** Sent as `Authorization: Bearer`. */
  readonly key?: string;
  /** Bounds each attempt of a call, and the silence between two arrivals of a stream. */
  readonly timeoutMs?: number;
  /** Attempts beside the first, of what is safe to repeat. */
  readonly retries?: number;
}

/** A service's calls. Rejects with `ClientError` and `ServiceError`. */
export class Client {
  constructor(url?: string, options?: ClientOptions);
  search(query: string, options?: SearchOptions): Promise<SearchResult>;
  ask(question: string, options?: AskOptions): Promise<Answer>;
  /**
   * Sources, tokens, then the whole. Leaving the loop closes the connection, which stops the service's work. A connection that
   * breaks before the first token is made again; after it the error's code is `stream_cut`.
   */
  askStream(question: string, options?: AskOptions): AsyncGenerator<AnswerEvent, void, undefined>;
  stats(options?: CallOptions): Promise<Readonly<Record<string, unknown>>>;
  ready(options?: CallOptions): Promise<boolean>;
  documents(options?: CallOptions & { readonly offset?: number; readonly limit?: number }): Promise<DocumentPage>;
  document(uri: string, options?: CollectionOptions & { readonly start?: number }): Promise<DocumentText>;
  /** Searchable once it resolves; the uris in the order of the texts. */
  add(texts: readonly (string | Text)[], options?: CollectionOptions): Promise<{ readonly uris: readonly string[] }>;
  upload(name: string, content: Blob | BufferSource | string, options?: CollectionOptions): Promise<Job>;
  /** All folders that the service was started with, if none is named. */
  index(paths?: readonly string[], options?: CollectionOptions): Promise<Job>;
  /** All of them or, where one is unknown, none. */
  delete(uris: readonly string[], options?: CollectionOptions): Promise<{ readonly removed: number }>;
  job(id: string, options?: CallOptions): Promise<Job>;
  waitForJob(id: string, options?: CallOptions & { readonly timeoutMs?: number }): Promise<Job>;
  cancelJob(id: string, options?: CallOptions): Promise<Job>;
}

/**
 * A call failed on its way. `code` is one of `unreachable` (nothing was sent), `timeout`, `cut`, `stream_cut`, `protocol`,
 * `invalid_input`, or for a `ServiceError` the service's own.
 */
export class ClientError extends Error {
  readonly code: string;
  readonly hint: string;
}

/** The service refused or failed, in its own words. */
export class ServiceError extends ClientError {
  readonly status: number;
  readonly requestId: string;
  readonly retryAfterSeconds: number | null;
}
