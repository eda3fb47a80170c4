/** Waiting for a service that does not answer, or asks for patience. */

import { ProblemError } from "./api.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

/** @param {unknown} error whether asking again can help */
export function mayPass(error) {
  if (!(error instanceof ProblemError) || error.code === "quota_exceeded") return false; // that lasts until midnight
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

/**
 * Ask again and again until there is an answer.
 *
 * @template T
 * @param {() => Promise<T>} ask
 * @param {(problem: ProblemError) => void} onWait told each time there is none yet
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
export async function patiently(ask, onWait, signal) {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ProblemError) || !mayPass(error)) throw error;
      onWait(error);
      await pauseUntilOnline(wait_ms(error, tries), signal);
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
 * A pause that ends early when the browser says that the connection is back.
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
function wait_ms(problem, tries) {
  if (problem.retry_after_s) return 1000 * problem.retry_after_s;
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries);
}
