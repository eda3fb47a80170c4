/**
 * The albums of the service's HTTP API. Nothing here touches the document.
 *
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./api.js").JobState} JobState
 * @typedef {{code: string, title: string, detail: string}} Trouble
 *
 * @typedef {object} Album
 * @property {string} id
 * @property {string | null} name
 * @property {string} style
 * @property {number} max_side
 * @property {Record<JobState, number>} counts
 * @property {number | null} eta_s until all its photos have finished
 * @property {("cancel" | "erase" | "retry" | "redraw")[]} [pending] what is still being done with all its photos
 * @property {boolean} [keep_photos] whether the service keeps its photos, and can draw them again
 * @property {string} created_at
 * @property {string} expires_at
 * @property {Record<"self" | "photos" | "events" | "archive" | "check" | "retry" | "redraw" | "cancel", string>} links
 *
 * @typedef {object} AlbumPhoto
 * @property {string} name
 * @property {string | null} sha256
 * @property {JobState} state
 * @property {Job | null} job null where the photo was refused, or has expired
 * @property {Trouble | null} error
 */

import { ProblemError, ask, call, sendForm, throwOrUnreadable } from "./api.js";

const ALBUMS = "/api/v1/albums";
const PAGE = 500;

/**
 * @param {string} name
 * @param {import("./api.js").Options & {keep_photos: boolean}} options
 * @param {AbortSignal} signal
 * @returns {Promise<Album>}
 */
export function createAlbum(name, { style, max_side, format, faces, keep_photos }, signal) {
  return call(ALBUMS, { ...json({ name, style, max_side: Number(max_side), format, faces, keep_photos }), signal });
}

/**
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Album>}
 */
export function getAlbum(id, signal) {
  return ask(`${ALBUMS}/${encodeURIComponent(id)}`, signal);
}

/**
 * @param {Album} album
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<AlbumPhoto>}
 */
export async function* photosOf(album, signal) {
  for (let cursor = 0; cursor !== null; ) {
    const page = await call(`${album.links.photos}?limit=${PAGE}&cursor=${cursor}`, { signal });
    yield* page.photos;
    cursor = page.next_cursor;
  }
}

/**
 * @param {Album} album
 * @param {string[]} digests
 * @param {AbortSignal} signal
 * @returns {Promise<Set<string>>} those the album lacks
 */
export async function missingFrom(album, digests, signal) {
  const { missing } = await call(album.links.check, { ...json({ sha256: digests }), signal });
  return new Set(missing);
}

/**
 * Send one photo. Safe to repeat. As a form, whose answer is good where a photo is not: a browser writes every other
 * answer into its console.
 *
 * @param {Album} album
 * @param {import("./choice.js").Photo} photo
 * @param {AbortSignal} signal
 */
export async function sendPhoto(album, { name, file }, signal) {
  const fields = new FormData();
  fields.append("photos", file, name);
  try {
    const { rejected } = await call(album.links.photos, { method: "POST", body: fields, signal });
    for (const { error, retry_after_s } of rejected) {
      throw new ProblemError({ status: retry_after_s ? 503 : 422, ...error, retry_after_s });
    }
  } catch (error) {
    await throwOrUnreadable(error, file, signal);
  }
}

/**
 * Send one ZIP archive of photos. Safe to repeat.
 *
 * @param {Album} album
 * @param {File} archive
 * @param {(sent: number) => void} onSent
 * @param {AbortSignal} signal
 * @returns {Promise<{rejected: {name: string, error: Trouble}[], skipped: {name: string, code: string}[]}>}
 */
export function sendArchive(album, archive, onSent, signal) {
  const fields = new FormData();
  fields.append("photos", archive);
  return sendForm(album.links.photos, fields, onSent, signal);
}

/**
 * @param {Album} album
 * @returns {Promise<Album>}
 */
export function retryAlbum(album) {
  return call(album.links.retry, { method: "POST" });
}

/**
 * @param {Album} album
 * @returns {Promise<Album>}
 */
export function cancelAlbum(album) {
  return call(album.links.cancel, { method: "POST" });
}

/**
 * @param {Album} album that keeps its photos
 * @param {string} style
 * @returns {Promise<Album>} a new one, of the same photos
 */
export function redrawAlbum(album, style) {
  return call(album.links.redraw, json({ style }));
}

/**
 * @param {Album} album
 * @param {string} name
 * @returns {Promise<Album>}
 */
export function renameAlbum(album, name) {
  return call(album.links.self, { ...json({ name }), method: "PATCH" });
}

/** @param {Album} album */
export function eraseAlbum(album) {
  return call(album.links.self, { method: "DELETE" });
}

/**
 * @param {Album} album
 * @returns {boolean} whether nothing of it changes any more by itself: the photos of a large one are retried a while
 * after that was asked for
 */
export function isAlbumOver({ counts, pending = [] }) {
  return counts.queued + counts.running === 0 && pending.length === 0;
}

/** @param {object} body */
function json(body) {
  return { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}
