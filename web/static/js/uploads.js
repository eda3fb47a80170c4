/**
 * The photos that are still to be sent to the open album, and their sending.
 *
 * @typedef {import("./album-items.js").AlbumItems} AlbumItems
 * @typedef {import("./albums.js").Album} Album
 * @typedef {import("./choice.js").Photo} Photo
 *
 * @typedef {object} Listener
 * @property {(photo: Photo) => void} onSent the service has accepted a photo
 * @property {(counts: {leftOut: number, hidden: number}) => void} onSkipped files of an archive that are no photos
 * @property {(sentence: string) => void} onReason an archive cannot be sent, or not be read
 * @property {(aside: string) => void} onAside how it goes at the moment
 */

import { sendPhotos, sendWhole } from "./sending.js";
import * as words from "./words.js";

const TOO_LARGE = "photo_too_large"; // as the service has it

export class Uploads {
  #run = new AbortController();
  #isUnderWay = false;
  /** @type {Photo[]} */ #photos = [];
  /** @type {File[]} */ #archives = [];

  /**
   * @param {AlbumItems} items of the album; they follow what becomes of each photo
   * @param {{photoBytes: number, archiveBytes: number}} limits
   * @param {Listener} listener
   */
  constructor(items, limits, listener) {
    this.items = items;
    this.limits = limits;
    this.listener = listener;
  }

  get isUnderWay() {
    return this.#isUnderWay;
  }

  get isPending() {
    return this.#isUnderWay || this.#photos.length + this.#archives.length > 0;
  }

  /**
   * @param {Photo[]} photos
   * @param {File[]} archives
   */
  add(photos, archives) {
    const { photoBytes, archiveBytes } = this.limits;
    for (const { name, file } of photos) {
      const error = file.size > photoBytes ? { code: TOO_LARGE, ...words.tooManyBytes(file.size, photoBytes) } : null;
      this.items.put({ ...this.items.get(name), name, file, state: error ? "failed" : "waiting", error, job: null });
      if (!error) this.#photos.push({ name, file });
    }
    for (const archive of archives) {
      if (archive.size <= archiveBytes) this.#archives.push(archive);
      else this.listener.onReason(words.archiveTooLarge(archive.size, archiveBytes));
    }
  }

  /**
   * Send everything, also what is added meanwhile, unless `stop` is called.
   *
   * @param {Album} album
   */
  async send(album) {
    this.#isUnderWay = true;
    this.#run = new AbortController();
    const { signal } = this.#run;
    try {
      while (this.#photos.length + this.#archives.length > 0 && !signal.aborted) {
        await sendPhotos(album, this.#photos, this.#sender(), signal);
        const archive = this.#archives.shift();
        if (archive) await sendWhole(album, archive, this.#sender(archive), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#isUnderWay = false;
    }
  }

  stop() {
    this.#run.abort();
  }

  /** Stop, and send nothing of it later. */
  drop() {
    this.stop();
    this.#photos.length = this.#archives.length = 0;
  }

  /**
   * @param {File} [archive]
   * @returns {import("./sending.js").Sender}
   */
  #sender(archive) {
    const { onSkipped, onAside } = this.listener;
    return {
      onStart: (photo) => this.#started(photo),
      onSent: (photo) => this.#sent(photo),
      onRefused: (name, error) => this.#refused(name, error, archive),
      onSkipped,
      onArchive: (share) => onAside(words.sendingArchive(archive?.name ?? "", share)),
      onWait: ({ retry_after_s }) => onAside(retry_after_s ? words.busy(retry_after_s) : words.SILENCE_NOW),
    };
  }

  /** @param {Photo} photo */
  #started({ name, file }) {
    const item = this.items.get(name);
    if (!item?.job) this.items.put({ ...item, name, file, state: "sending" }); // otherwise the service knows more of it
  }

  /** @param {Photo} photo */
  #sent(photo) {
    const item = this.items.get(photo.name);
    if (item?.state === "sending") this.items.put({ ...item, state: "queued" }); // otherwise a newer state is known
    this.listener.onSent(photo);
  }

  /**
   * @param {string} name
   * @param {import("./albums.js").Trouble} error
   * @param {File} [archive]
   */
  #refused(name, error, archive) {
    if (archive?.name === name) return this.listener.onReason(`${name}: ${words.reasonOf(error).detail}`);
    const { code, title, detail } = error;
    this.items.put({ ...this.items.get(name), name, state: "failed", error: { code, title, detail } });
  }
}
