/** Retries, with exponential backoff, of requests to a service that is down or busy. */

import { ProblemError } from "./api.js";

const FIRST_DELAY_MS = 1000;
const MAX_DELAY_MS = 15_000;

/** @param {unknown} error whether a retry can help */
export function isTransient(error) {
  if (!(error instanceof ProblemError) || error.code === "quota_exceeded") return false; // lasts until midnight
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

/**
 * Send a request, again and again while its errors are transient.
 *
 * @template T
 * @param {() => Promise<T>} request
 * @param {(problem: ProblemError) => void} onWait called before each wait
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
export async function withRetries(request, onWait, signal) {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await request();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ProblemError) || !isTransient(error)) throw error;
      onWait(error);
      await pauseUntilOnline(delay_ms(error, tries), signal);
    }
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/**
 * Pause, but no longer than until the browser is online again.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 */
async function pauseUntilOnline(ms, signal) {
  const woken = new AbortController();
  const online = new Promise((resolve) => addEventListener("online", resolve, { once: true, signal: woken.signal }));
  await Promise.race([pause(ms, signal), online]).finally(() => woken.abort());
}

/**
 * @param {ProblemError} problem
 * @param {number} tries before this one
 */
function delay_ms(problem, tries) {
  if (problem.retry_after_s) return 1000 * problem.retry_after_s;
  return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** tries);
}
