/** Following a job to its end: by server-sent events, or by asking once a second where those fail. */

import { getJob, isOver } from "./api.js";
import { Countdown } from "./countdown.js";
import { mayPass, pause } from "./patience.js";

/**
 * @typedef {import("./api.js").Job} Job
 *
 * @typedef {object} Watcher
 * @property {(job: Job) => void} onChange told every change before the end, and every second how much time is left
 * @property {() => void} onSilence told whenever the service does not answer; it is asked again
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
 * @returns {Promise<Job | null>} null when the stream broke before the end
 */
async function listen(job, countdown, signal) {
  const source = new EventSource(job.links.events);
  source.addEventListener("state", (event) => countdown.restart(JSON.parse(event.data)));
  source.addEventListener("progress", (event) => countdown.amend({ state: "running", ...JSON.parse(event.data) }));
  try {
    return await end(source, signal);
  } finally {
    source.close();
  }
}

/**
 * @param {EventSource} source
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>}
 */
function end(source, signal) {
  return new Promise((resolve, reject) => {
    source.addEventListener("done", (event) => resolve(JSON.parse(event.data)));
    source.addEventListener("error", () => resolve(null));
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
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
    if (mayPass(error)) return null;
    throw error;
  }
}
