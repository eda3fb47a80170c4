/**
 * The service's HTTP API as the page needs it. Nothing here touches the document.
 *
 * @typedef {"queued" | "running" | "succeeded" | "failed" | "canceled" | "expired"} JobState
 *
 * @typedef {object} Job What the API says of one conversion.
 * @property {string} id
 * @property {JobState} state
 * @property {string} style
 * @property {number} max_side the longest side that was asked for, in pixels
 * @property {number} progress from 0 to 1
 * @property {string | null} stage
 * @property {number | null} position its place in the queue, 1 is next
 * @property {number | null} eta_s
 * @property {string | null} expires_at
 * @property {{width: number, height: number, bytes: number, content_type: string} | null} result
 * @property {{code: string, title: string, detail: string} | null} error
 * @property {{[stage: string]: number} | null} timings seconds
 * @property {string[] | null} notes what its owner should know of the picture
 * @property {{self: string, result: string, events: string, cancel: string}} links
 *
 * @typedef {{style: string, max_side: string, format: string}} Options
 */

const JOBS = "/api/v1/jobs";

/** What went wrong, as the service told it (RFC 9457) or as the page found it. */
export class ProblemError extends Error {
  /** @param {{status?: number, code?: string, title?: string, detail?: string}} problem */
  constructor({ status = 0, code = "unknown", title = "That did not work", detail = "" }) {
    super(title);
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
  }
}

/**
 * Send a photo and ask for its picture. An XMLHttpRequest, because fetch does not tell how much is sent.
 *
 * @param {File} photo
 * @param {Options} options
 * @param {(sent: number) => void} onSent told the share that is sent, from 0 to 1
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export function submitPhoto(photo, options, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", JOBS);
    request.upload.onprogress = (event) => onSent(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () =>
      request.status < 300
        ? resolve(JSON.parse(request.responseText))
        : reject(told(request.status, request.responseText));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form(photo, options));
  });
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export function getJob(id, signal) {
  return call(`${JOBS}/${encodeURIComponent(id)}`, { signal });
}

/**
 * Ask the service to stop a job. Safe to repeat.
 *
 * @param {Job} job
 * @returns {Promise<Job>}
 */
export function cancelJob(job) {
  return call(job.links.cancel, { method: "POST" });
}

/** @param {Job} job */
export function isOver(job) {
  return job.state !== "queued" && job.state !== "running";
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Job>}
 */
async function call(url, init) {
  const response = await fetch(url, init).catch((error) => {
    throw init.signal?.aborted ? error : unreachable();
  });
  if (!response.ok) throw told(response.status, await response.text());
  return response.json();
}

/**
 * @param {File} photo
 * @param {Options} options
 */
function form(photo, options) {
  const fields = new FormData();
  for (const [name, value] of Object.entries(options)) fields.append(name, value);
  fields.append("photo", photo);
  return fields;
}

/**
 * The problem a response carries; a proxy in between may answer without one.
 *
 * @param {number} status
 * @param {string} body
 */
function told(status, body) {
  try {
    return new ProblemError({ ...JSON.parse(body), status });
  } catch {
    return new ProblemError({ status, detail: `The service answered with status ${status}.` });
  }
}

function unreachable() {
  return new ProblemError({
    code: "unreachable",
    title: "The service cannot be reached",
    detail: "Check the connection, then try again.",
  });
}
