/** Following an album to its end: by server-sent events, and by polling where those fail. */

import { getAlbum, isAlbumOver, photosOf } from "./albums.js";
import { pause, withRetries } from "./retry.js";
import { openStream } from "./stream.js";

/**
 * @typedef {import("./albums.js").Album} Album
 *
 * @typedef {object} Listener
 * @property {(album: Album) => void} onAlbum called with the album and a fresh estimate
 * @property {(photo: import("./albums.js").AlbumPhoto) => void} onPhoto called with photos that may have changed
 * @property {() => void} onSilence called whenever the service does not respond; the request is retried
 * @property {() => boolean} expectsMore whether photos are still on their way into the album
 */

const POLL_MS = 1500;
const MAX_BACKOFF = 8; // polls between two attempts to listen, while the stream fails

/** Follows an album as often as it may have changed: once at a time, and without reporting the same photos again. */
export class Following {
  #isUnderWay = false;
  #isWanted = false;
  /** @type {Album | null} as it was when all its photos were last reported */ #reported = null;

  /**
   * Where it is followed already, it is fetched once more after that: an answer that is on its way may be from
   * before the change, and may look like the end.
   *
   * @param {string} id
   * @param {Listener} listener
   * @param {AbortSignal} signal
   */
  async start(id, listener, signal) {
    this.#isWanted = true;
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    try {
      while (this.#isWanted) {
        this.#isWanted = false;
        const known = this.#reported;
        this.#reported = null;
        this.#reported = await followAlbum(id, listener, signal, known);
      }
    } finally {
      this.#isUnderWay = false;
    }
  }
}

/**
 * @param {string} id
 * @param {Listener} listener
 * @param {AbortSignal} signal
 * @param {Album | null} [known] the album as it was when its photos were last reported, if they were
 * @returns {Promise<Album>} as it is at its end
 */
export async function followAlbum(id, listener, signal, known = null) {
  let seen = known ? JSON.stringify(known.counts) : "";
  let toListen = 0;
  let backoff = 1;
  for (;;) {
    const isGrowing = listener.expectsMore(); // read first: later photos are not in the response
    const album = await withRetries(() => getAlbum(id, signal), listener.onSilence, signal);
    if (JSON.stringify(album.counts) !== seen) await reportPhotos(album, listener, signal);
    seen = JSON.stringify(album.counts);
    listener.onAlbum(album);
    if (isAlbumOver(album) && !isGrowing) return album;
    if (!isAlbumOver(album) && --toListen <= 0) {
      backoff = (await listen(album, seen, listener, signal)) ? 1 : Math.min(MAX_BACKOFF, 2 * backoff);
      toListen = backoff;
      seen = ""; // so that changes since the last event are fetched
    }
    await pause(isAlbumOver(album) || toListen > 1 ? POLL_MS : 200, signal);
  }
}

/**
 * @param {Album} album
 * @param {Listener} listener
 * @param {AbortSignal} signal
 */
async function reportPhotos(album, listener, signal) {
  const report = async () => {
    for await (const photo of photosOf(album, signal)) listener.onPhoto(photo);
  };
  await withRetries(report, listener.onSilence, signal);
}

/**
 * Listen until the stream ends or is lost.
 *
 * @param {Album} album
 * @param {string} seen the counts that are known already
 * @param {Listener} listener
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} whether any event was received
 */
function listen(album, seen, listener, signal) {
  return new Promise((resolve, reject) => {
    let hasSpoken = false;
    const end = () => (close(), resolve(hasSpoken));
    const progress = (/** @type {Album} */ now) => {
      if (!hasSpoken && JSON.stringify(now.counts) !== seen) reportPhotos(now, listener, signal).catch(end);
      hasSpoken = true;
      listener.onAlbum(now);
    };
    const close = openStream(album.links.events, { progress, state: listener.onPhoto, done: end }, end);
    signal.addEventListener("abort", () => (close(), reject(signal.reason)), { once: true });
  });
}
