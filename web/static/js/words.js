/** Every sentence the page makes up itself. The service's own sentences (`detail`) are shown as they come. */

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {{title: string, detail: string, mayRetry: boolean, isBroken: boolean}} Reason why there is no picture,
 * whether the same photo may do better next time, and whether it is not fit to be looked at
 */

/** @type {{[stage: string]: string}} */
const STAGES = {
  decode: "Reading your photo",
  preprocess: "Preparing the canvas",
  generate: "Drawing",
  postprocess: "Finishing the picture",
  encode: "Saving the picture",
};

/** Errors that lie in the photo: the same photo will fail again. */
const PHOTO_FAULTS = new Set(["not_a_photo", "damaged_photo", "photo_too_large", "unusable_photo"]);
/** Errors of a file that a browser may show in part, or not at all. */
const BROKEN = new Set(["not_a_photo", "damaged_photo"]);
/** Errors after which nothing is left to try. */
const GONE = new Set(["unknown_job", "expired"]);
/** Headlines where the service's own would say the same as its sentence. */
const HEADLINES = new Map([
  ["damaged_photo", "This photo cannot be drawn"],
  ["unknown_job", "This picture is not here"],
]);
const NOTICEABLE_S = 0.05;

export const CANCELED = { headline: "Canceled", story: "Your photo is still here: draw it, or take another." };
export const FINDING = { headline: "Finding your picture", story: "" };
export const SILENCE = {
  headline: "The service does not answer",
  story: "Trying again. This page goes on by itself as soon as it can.",
};

/** @param {number} share from 0 to 1 */
export function sending(share) {
  return {
    headline: "Sending your photo",
    story: share < 1 ? `${Math.floor(share * 100)} % sent.` : "Sent. Looking at it.",
  };
}

/** @param {Job} job queued or running */
export function underWay(job) {
  if (job.state === "queued")
    return { headline: "In the queue", story: sentences(place(job.position), wait(job.eta_s)) };
  return { headline: STAGES[job.stage ?? ""] ?? "Drawing", story: sentences(rest(job.eta_s)) };
}

/** @param {Job} job succeeded */
export function finished(job) {
  const kept = job.expires_at ? `Kept here until ${when(job.expires_at)}` : "";
  const facts = sentences([...size(job), ...time(job)].join(", "), kept);
  return { headline: "Here it is", story: [facts, ...(job.notes ?? [])].join(" ") };
}

/**
 * @param {Job} job failed or expired
 * @returns {Reason}
 */
export function whyNot(job) {
  if (job.error) return reasonOf(job.error);
  return reasonOf({
    code: "expired",
    title: "This picture has expired",
    detail: "Pictures are kept for a while only.",
  });
}

/**
 * @param {{code: string, title: string, detail: string}} problem
 * @returns {Reason}
 */
export function reasonOf({ code, title, detail }) {
  return {
    title: HEADLINES.get(code) ?? title,
    detail,
    mayRetry: !PHOTO_FAULTS.has(code) && !GONE.has(code),
    isBroken: BROKEN.has(code),
  };
}

/**
 * @param {number} bytes
 * @param {number} maxBytes
 * @returns {Reason}
 */
export function tooManyBytes(bytes, maxBytes) {
  const detail = `This file has ${megabytes(bytes)}; a photo may have at most ${megabytes(maxBytes)}.`;
  return { title: "The photo is too large", detail, mayRetry: false, isBroken: false };
}

/** @param {number} count of the files that came at once */
export function oneAtATime(count) {
  return `One photo at a time is drawn: this is the first of your ${count}.`;
}

/** @param {Job} job succeeded */
function size({ result, max_side }) {
  if (!result) return [];
  const { width, height } = result;
  const isFullSize = Math.max(width, height) < max_side; // a photo is never enlarged
  return [`${width} × ${height} pixels`, ...(isFullSize ? ["as large as the photo"] : [])];
}

/** @param {Job} job succeeded; one that shares an earlier one's picture took no time */
function time({ timings }) {
  const generate_s = timings?.generate_s ?? 0;
  return generate_s < NOTICEABLE_S ? [] : [`drawn in ${seconds(generate_s)}`];
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1048576).toLocaleString(undefined, { maximumFractionDigits: 1 })} MiB`;
}

/** @param {number | null} position */
function place(position) {
  if (!position) return "";
  return position === 1 ? "You are next" : `${position - 1} before you`;
}

/** @param {number | null} eta_s null while no worker is there to tell */
function wait(eta_s) {
  return eta_s === null ? "Waiting for a worker to start" : remaining(eta_s);
}

/** @param {number | null} eta_s of a running job; null while nobody knows */
function rest(eta_s) {
  return eta_s === null ? "" : remaining(eta_s) || "Any moment now";
}

/** @param {number | null} eta_s */
function remaining(eta_s) {
  return !eta_s || eta_s < 1 ? "" : `About ${seconds(Math.ceil(eta_s))} to go`;
}

/** @param {number} value */
function seconds(value) {
  const digits = value < 10 && !Number.isInteger(value) ? 1 : 0;
  return `${value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })} s`;
}

/** @param {string} time RFC 3339 */
function when(time) {
  return new Date(time).toLocaleString(undefined, { weekday: "long", hour: "numeric", minute: "2-digit" });
}

/** @param {...string} parts each without its full stop */
function sentences(...parts) {
  return parts
    .filter(Boolean)
    .map((part) => `${part}.`)
    .join(" ");
}
