// Which failed calls are made again, and when: bounded in number and length, waits grow and are spread at random.

import { ServiceError } from "./errors.js";

const FIRST_WAIT_S = 0.25; // a refused search's place is free again after some milliseconds
const LONGEST_WAIT_S = 20; // a service that asks for more wants to be left alone: its caller decides
// Refused before any work, or by something on the way. 504 is not among them: it took a minute to fail.
const AGAIN_STATUSES = new Set([429, 502, 503]);

/** What one of `retries + 1` attempts returns; rejects with the last one's error. */
export async function attempts(attempt, { retries, idempotent, signal }) {
  for (let failed = 0; ; failed += 1) {
    try {
      return await attempt();
    } catch (error) {
      const wait = waitSeconds(error, failed, idempotent);
      if (wait === null || failed === retries) throw error;
      await pause(wait, signal);
    }
  }
}

/** Seconds to the next attempt after `failed` others; null if there should be none. */
export function waitSeconds(error, failed, idempotent, random = Math.random) {
  const spread = random() * FIRST_WAIT_S * 2 ** failed;
  if (!idempotent && error.code !== "unreachable") return null; // then nothing was sent
  if (error instanceof ServiceError) {
    const wait = (error.retryAfterSeconds ?? 0) + spread;
    return AGAIN_STATUSES.has(error.status) && wait <= LONGEST_WAIT_S ? wait : null;
  }
  return error.code === "unreachable" || error.code === "cut" ? spread : null;
}

/** Resolves after `seconds`; rejects with the signal's reason as soon as it is aborted. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
