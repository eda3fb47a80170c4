/** Following a job to its end: by server-sent events, or by asking once a second where those fail. */

import { ProblemError, getJob, isOver } from "./api.js";

/** @typedef {import("./api.js").Job} Job */

const POLL_MS = 1000;

/**
 * @param {Job} job
 * @param {(job: Job) => void} onChange told every change before the end
 * @param {AbortSignal} signal
 * @returns {Promise<Job>} the job when it is over
 */
export async function follow(job, onChange, signal) {
  signal.throwIfAborted();
  if (isOver(job)) return job;
  onChange(job);
  return (await listen(job, onChange, signal)) ?? poll(job, onChange, signal);
}

/**
 * @param {Job} job
 * @param {(job: Job) => void} onChange
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>} null when the stream broke before the end
 */
async function listen(job, onChange, signal) {
  const source = new EventSource(job.links.events);
  /** @param {Job} changed */
  const tell = (changed) => onChange((job = changed));
  source.addEventListener("state", (event) => tell(JSON.parse(event.data)));
  source.addEventListener("progress", (event) => tell({ ...job, state: "running", ...JSON.parse(event.data) }));
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
 * @param {(job: Job) => void} onChange
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
async function poll(job, onChange, signal) {
  while (!isOver(job)) {
    onChange(job);
    await pause(POLL_MS, signal);
    job = (await lookAgain(job, signal)) ?? job;
  }
  return job;
}

/**
 * @param {Job} job
 * @param {AbortSignal} signal
 * @returns {Promise<Job | null>} null when the service did not answer this once
 */
async function lookAgain(job, signal) {
  try {
    return await getJob(job.id, signal);
  } catch (error) {
    if (error instanceof ProblemError && mayPass(error)) return null;
    throw error;
  }
}

/** @param {ProblemError} problem */
function mayPass(problem) {
  return problem.status === 0 || problem.status === 429 || problem.status >= 500;
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
