/** Following a job to its end: by server-sent events, or by polling once a second where those fail. */

import { getJob, isOver } from "./api.js";
import { Countdown } from "./countdown.js";
import { isTransient, pause } from "./retry.js";
import { openStream } from "./stream.js";

/**
 * @typedef {import("./api.js").Job} Job
 *
 * @typedef {object} Watcher
 * @property {(job: Job) => void} onChange called with every change before the end, and every second with the time left
 * @property {() => void} onSilence called whenever the service does not respond; the request is retried
 */

const POLL_MS = 1000;

/**
 * @param {Job} job
 * @param {Watcher} watcher
 * @param {AbortSignal} signal
 * @returns {Promise<Job>} the job when it is over
 */
export async function follow(job, watcher, signal) {
  signal.throwIfAborted();
  if (isOver(job)) return job;
  const countdown = new Countdown(job, watcher.onChange);
  try {
    return (await listen(job, countdown, signal)) ?? (await poll(job, countdown, watcher.onSilence, signal));
  } finally {
    countdown.stop();
  }
}

/**
 * @param {Job} job
 * @param {Countdown} countdown
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>} null when the stream was lost before the end
 */
function listen(job, countdown, signal) {
  return new Promise((resolve, reject) => {
    const end = (/** @type {Job | null} */ ended) => (close(), resolve(ended));
    const handlers = {
      state: (/** @type {Job} */ now) => countdown.restart(now),
      progress: (/** @type {Partial<Job>} */ now) => countdown.amend({ state: "running", ...now }),
      done: end,
    };
    const close = openStream(job.links.events, handlers, () => end(null));
    signal.addEventListener("abort", () => (close(), reject(signal.reason)), { once: true });
  });
}

/**
 * @param {Job} job
 * @param {Countdown} countdown
 * @param {() => void} onSilence
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
async function poll({ id }, countdown, onSilence, signal) {
  for (;;) {
    const job = await lookAgain(id, signal);
    if (job && isOver(job)) return job;
    if (job) countdown.restart(job);
    else (countdown.stop(), onSilence());
    await pause(POLL_MS, signal);
  }
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>} null when the service did not answer this once
 */
async function lookAgain(id, signal) {
  try {
    return await getJob(id, signal);
  } catch (error) {
    if (isTransient(error)) return null;
    throw error;
  }
}
