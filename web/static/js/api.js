/**
 * The service's HTTP API as the page needs it. Nothing here touches the document.
 *
 * @typedef {"queued" | "running" | "succeeded" | "failed" | "canceled" | "expired"} JobState
 *
 * @typedef {object} Job A conversion, as the API describes it.
 * @property {string} id
 * @property {JobState} state
 * @property {string} style
 * @property {number} max_side the requested longest side, in pixels
 * @property {string} format
 * @property {string} faces
 * @property {number} progress from 0 to 1
 * @property {string | null} stage
 * @property {number | null} position its place in the queue, 1 is next
 * @property {number | null} eta_s
 * @property {string | null} expires_at
 * @property {{width: number, height: number, bytes: number, content_type: string} | null} result
 * @property {{code: string, title: string, detail: string} | null} error
 * @property {{[stage: string]: number} | null} timings seconds
 * @property {string[] | null} notes remarks about the picture for its owner
 * @property {{self: string, result: string, events: string, cancel: string}} links
 *
 * @typedef {Job & {previews: {style: string, url: string}[]}} Previews A photo in several styles; drawn in one job.
 *
 * @typedef {{style: string, max_side: string, format: string, faces: string}} Options
 */

import * as words from "./words.js";

const JOBS = "/api/v1/jobs";
const PREVIEWS = "/api/v1/previews";
const LONGEST_ANSWER_MS = 15_000;

/** A problem reported by the service (RFC 9457) or found by the page. */
export class ProblemError extends Error {
  /** @param {{status?: number, code?: string, title?: string, detail?: string, retry_after_s?: number}} problem */
  constructor({ status = 0, code = "unknown", title = "Something went wrong", detail = "", retry_after_s = 0 }) {
    super(title);
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.retry_after_s = retry_after_s;
  }
}

/**
 * Send a photo and ask for its picture. Safe to repeat with the same key.
 *
 * @param {File} photo
 * @param {Options} options
 * @param {{key: string, onSent: (sent: number) => void}} sending `onSent` is called with the share sent so far, from 0
 * to 1
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export async function submitPhoto(photo, options, { key, onSent }, signal) {
  const fields = new FormData();
  for (const [name, value] of Object.entries(options)) fields.append(name, value);
  fields.append("photo", photo);
  const job = sendForm(JOBS, fields, onSent, signal, { "Idempotency-Key": key });
  return job.catch((error) => throwOrUnreadable(error, photo, signal));
}

/**
 * Ask for small pictures of a photo in all styles.
 *
 * @param {Blob} photo
 * @param {AbortSignal} signal
 * @returns {Promise<Previews>}
 */
export function submitPreviews(photo, signal) {
  const fields = new FormData();
  fields.append("photo", photo);
  return call(PREVIEWS, { method: "POST", body: fields, signal });
}

/** @returns {string} a key that no other request has */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Tell a file that was changed since it was chosen from a lost connection: requests fail alike with both.
 *
 * @param {unknown} error of a request that sends the file
 * @param {File} file
 * @param {AbortSignal} signal of the request
 * @returns {Promise<never>}
 */
export async function throwOrUnreadable(error, file, signal) {
  if (signal.aborted) throw error;
  const isReadable = await file.slice(0, 1).arrayBuffer().then(
    () => true,
    () => false,
  );
  throw isReadable ? error : new ProblemError({ status: 400, ...words.UNREADABLE });
}

/**
 * Post a form by an XMLHttpRequest, because fetch does not report upload progress.
 *
 * @param {string} url
 * @param {FormData} fields
 * @param {(sent: number) => void} onSent called with the share sent so far, from 0 to 1
 * @param {AbortSignal} signal
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export function sendForm(url, fields, onSent, signal, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.lengthComputable ? event.loaded / event.total : 0);
    request.onload = () =>
      request.status < 300
        ? resolve(JSON.parse(request.responseText))
        : reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(fields);
  });
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export function getJob(id, signal) {
  return ask(`${JOBS}/${encodeURIComponent(id)}`, signal);
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
 * Fetch a small, quick response, with a timeout: a dead connection may never report an error.
 *
 * @param {string} url
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export async function ask(url, signal) {
  signal.throwIfAborted();
  const run = new AbortController();
  const end = () => run.abort();
  const timer = setTimeout(end, LONGEST_ANSWER_MS);
  signal.addEventListener("abort", end, { signal: run.signal });
  try {
    return await call(url, { signal: run.signal });
  } catch (error) {
    throw run.signal.aborted && !signal.aborted ? unreachable() : error;
  } finally {
    clearTimeout(timer);
    end();
  }
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<any>} the body of the answer, null where it has none
 */
export async function call(url, init) {
  try {
    const response = await fetch(url, init);
    const body = await response.text();
    if (!response.ok) throw problemOf(response.status, body, response.headers.get("Retry-After"));
    return body ? JSON.parse(body) : null;
  } catch (error) {
    throw error instanceof ProblemError || init.signal?.aborted ? error : unreachable();
  }
}

/**
 * The problem a response carries; a proxy in between may answer without one.
 *
 * @param {number} status
 * @param {string} body
 * @param {string | null} retryAfter
 */
function problemOf(status, body, retryAfter) {
  const retry_after_s = Number(retryAfter) || 0;
  try {
    return new ProblemError({ ...JSON.parse(body), status, retry_after_s });
  } catch {
    return new ProblemError({ status, retry_after_s, detail: words.statusOnly(status) });
  }
}

function unreachable() {
  return new ProblemError({ code: "unreachable", ...words.UNREACHABLE });
}
