/** Every sentence the page makes up itself, in the reader's language. */

import { megabytes, moment, number, roughly, say, seconds, sentences } from "./language.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {{title: string, detail: string, mayRetry: boolean, isBroken: boolean}} Reason why there is no picture,
 * whether the same photo may do better next time, and whether it is not fit to be looked at
 */

/** Errors that lie in the photo: the same photo will fail again. */
const PHOTO_FAULTS = new Set(["not_a_photo", "damaged_photo", "photo_too_large", "unusable_photo"]);
/** Errors of a file that a browser may show in part, or not at all. */
const BROKEN = new Set(["not_a_photo", "damaged_photo"]);
/** Errors after which nothing is left to try. */
const GONE = new Set(["unknown_job", "expired"]);
const NOTICEABLE_S = 0.05;
const ORIGINAL = 8192; // pixels of a longest side: no picture is larger, nor than its photo

export const CANCELED = { headline: say.canceled, story: say.photoIsKept };
export const FINDING = { headline: say.finding, story: "" };
export const SILENCE = { headline: say.silence, story: say.reconnecting };
export const SILENCE_NOW = sentences(say.silence) + say.space + say.reconnecting;
export const UNREACHABLE = { title: say.unreachable, detail: say.checkConnection };
export const UNREADABLE = { code: "unreadable", title: say.unreadable, detail: say.goneFile };
export const FINDING_ALBUM = say.findingAlbum;
export const NO_PHOTOS_FOUND = say.noPhotosFound;
export const PLEASE_PHOTOS = say.pleasePhotos;
export const NOTHING_NEW = say.nothingNew;
export const ADD_HERE = say.addHere;
export const A_PICTURE = say.picture;
export const COPIED = say.copied;
export const NOT_COPIED = say.notCopied;
export const BEFORE_AFTER = say.beforeAfter;

/** @param {number} status */
export function statusOnly(status) {
  return say.badStatus(status);
}

/** @param {number} share from 0 to 1 */
export function sending(share) {
  return {
    headline: say.sendingPhoto,
    story: share < 1 ? say.sentShare(Math.floor(share * 100)) : say.checkingPhoto,
  };
}

/** @param {Job} job queued or running */
export function underWay(job) {
  if (job.state === "queued") return { headline: say.inQueue, story: sentences(place(job.position), wait(job.eta_s)) };
  return { headline: say.stages[job.stage ?? ""] ?? say.drawing, story: sentences(rest(job.eta_s)) };
}

/** @param {Job} job succeeded */
export function finished(job) {
  return { headline: say.hereItIs, story: factsOf(job) };
}

/** @param {Job} job succeeded */
export function factsOf(job) {
  const facts = sentences([...size(job), ...time(job)].join(say.comma), kept(job.expires_at));
  return [facts, ...(job.notes ?? []).map((note) => say.notes[note] ?? note)].join(say.space);
}

/**
 * @param {Job} job failed or expired
 * @returns {Reason}
 */
export function whyNot(job) {
  return reasonOf(job.error ?? { code: "expired", title: say.expiredTitle, detail: say.expired });
}

/**
 * @param {{code: string, title: string, detail: string}} problem
 * @returns {Reason}
 */
export function reasonOf({ code, title, detail }) {
  const ours = say.problems[code];
  return {
    title: ours?.title ?? title,
    detail: translated(detail) ?? ours?.detail ?? detail,
    mayRetry: !PHOTO_FAULTS.has(code) && !GONE.has(code),
    isBroken: BROKEN.has(code),
  };
}

/**
 * @param {string} sentence of the service, in English
 * @returns {string | undefined} the same with its numbers, if the page's language has it
 */
function translated(sentence) {
  for (const [pattern, translate] of say.sentences) {
    const found = sentence.match(pattern);
    if (found) return translate(...found.slice(1));
  }
}

/**
 * @param {number} bytes
 * @param {number} maxBytes
 * @returns {Reason}
 */
export function tooManyBytes(bytes, maxBytes) {
  const detail = say.tooLarge(megabytes(bytes), megabytes(maxBytes));
  return { title: say.tooLargeTitle, detail, mayRetry: false, isBroken: false };
}

/**
 * @param {number} bytes
 * @param {number} maxBytes
 */
export function archiveTooLarge(bytes, maxBytes) {
  return say.archiveTooLarge(megabytes(bytes), megabytes(maxBytes));
}

/** @param {number} percent of the frame's width that shows the photo */
export function split(percent) {
  return say.split(Math.round(percent), Math.round(100 - percent));
}

/* Of albums */

/**
 * @param {string} title without a full stop
 * @param {string} detail sentences
 */
export function titled(title, detail) {
  return sentences(title) + say.space + detail;
}

/** @param {Date} now */
export function albumOf(now) {
  return say.albumOf(moment(now, { day: "numeric", month: "long" }));
}

/** @param {import("./album-progress.js").Progress} progress */
export function albumProgress({ all, done, failed, unsent, eta_s }) {
  const ended = say.progress(number(done), number(all));
  const left = eta_s === null ? "" : say.about(roughly(eta_s));
  return sentences(
    [ended, ...(left ? [left] : []), ...(failed ? [say.someFailed(number(failed))] : [])].join(say.comma),
    unsent ? say.keepOpen(number(unsent)) : "",
  );
}

/**
 * @param {import("./album-progress.js").Progress} progress
 * @param {string} expiresAt
 */
export function albumOver({ all, done, failed, canceled }, expiresAt) {
  if (all === 0) return say.noneInAlbum;
  const facts = [
    done === all ? say.allDone(all) : say.someDone(number(done), number(all)),
    ...(failed ? [say.someFailed(number(failed))] : []),
    ...(canceled ? [say.someCanceled(number(canceled))] : []),
  ];
  return sentences(facts.join(say.comma), done ? kept(expiresAt) : "");
}

/**
 * @param {string} name
 * @param {number} share from 0 to 1
 */
export function sendingArchive(name, share) {
  return sentences(share < 1 ? say.sendingArchive(name, Math.floor(share * 100)) : say.unpacking(name));
}

/** @param {{retry_after_s: number}} problem */
export function busyNow({ retry_after_s }) {
  return { headline: say.serviceBusy, story: busy(retry_after_s) };
}

/** @param {number} retry_after_s */
export function busy(retry_after_s) {
  return sentences(say.busy(roughly(retry_after_s)));
}

/** @param {{leftOut: number, hidden: number}} counts of files that were skipped */
export function skipped({ leftOut, hidden }) {
  return [leftOut && say.leftOut(leftOut), hidden && say.hidden(hidden)].filter(Boolean).join(say.space);
}

/** @param {number} count */
export function missing(count) {
  return say.missing(count);
}

/** @param {boolean} hasFailures */
export function retry(hasFailures) {
  return hasFailures ? say.retryFailed : say.convertRest;
}

/**
 * @param {string} name
 * @param {keyof typeof say.states} state
 */
export function tile(name, state) {
  return say.tile(name, say.states[state]);
}

/** @param {keyof typeof say.states} state */
export function stateOf(state) {
  return say.states[state];
}

/**
 * @param {number} place
 * @param {number} all
 */
export function placeOf(place, all) {
  return say.placeOf(place, all);
}

/** @param {import("./earlier.js").Earlier} one */
export function earlierOne({ kind, count, at, style, max_side }) {
  const facts = [kind === "album" ? say.photosCount(count) : "", style ? look(style, max_side) : "", longAgo(at)];
  return facts.filter(Boolean).join(" · ");
}

/**
 * @param {string} style what it is called
 * @param {number} max_side
 */
export function look(style, max_side) {
  return [style, max_side < ORIGINAL ? say.sizeOf(max_side) : say.originalSize].join(say.comma);
}

/** @param {number} time milliseconds since the epoch */
function longAgo(time) {
  const isToday = new Date(time).toDateString() === new Date().toDateString();
  return moment(new Date(time), isToday ? {} : { weekday: "short" });
}

/** @param {Job} job succeeded */
function size({ result, max_side }) {
  if (!result) return [];
  const { width, height } = result;
  const isFullSize = Math.max(width, height) < max_side; // a photo is never enlarged
  return [say.pixels(width, height), ...(isFullSize ? [say.asLargeAsPhoto] : [])];
}

/** @param {Job} job succeeded; one that shares an earlier one's picture took no time */
function time({ timings }) {
  const generate_s = timings?.generate_s ?? 0;
  return generate_s < NOTICEABLE_S ? [] : [say.drawnIn(seconds(generate_s))];
}

/** @param {string | null} time RFC 3339 */
function kept(time) {
  return time ? say.keptUntil(moment(new Date(time), { weekday: "long" })) : "";
}

/** @param {number | null} position */
function place(position) {
  if (!position) return "";
  return position === 1 ? say.next : say.before(position - 1);
}

/** @param {number | null} eta_s null while there is no worker */
function wait(eta_s) {
  return eta_s === null ? say.noWorker : remaining(eta_s);
}

/** @param {number | null} eta_s of a running job; null while unknown */
function rest(eta_s) {
  return eta_s === null ? "" : remaining(eta_s) || say.anyMoment;
}

/** @param {number | null} eta_s */
function remaining(eta_s) {
  return !eta_s || eta_s < 1 ? "" : say.toGo(seconds(Math.ceil(eta_s)));
}
