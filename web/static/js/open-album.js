/**
 * The album open on the page: its uploads, the states of its photos, and the actions on them.
 *
 * @typedef {import("./albums.js").Album} Album
 * @typedef {import("./albums.js").AlbumPhoto} AlbumPhoto
 * @typedef {import("./choice.js").Choice} Choice
 *
 * @typedef {import("./api.js").JobState | "missing" | "waiting" | "sending"} ItemState missing: known by name from
 * before a reload; waiting: to be sent from here
 *
 * @typedef {object} Item
 * @property {string} name
 * @property {ItemState} state
 * @property {File | null} file where it was chosen on this very page
 * @property {string | null} sha256 as the service knows it
 * @property {import("./api.js").Job | null} job
 * @property {import("./albums.js").Trouble | null} error
 */

import { Pace, STOPPED, UNSENT, mayRetry, progressOf } from "./album-progress.js";
import * as api from "./albums.js";
import { compared } from "./compared.js";
import { remember, rememberNames, rememberedNames } from "./earlier.js";
import { followAlbum } from "./follow-album.js";
import { keepMiniature, keptMiniature } from "./kept-photos.js";
import { withRetries } from "./retry.js";
import { sendPhotos, sendWhole } from "./sending.js";
import * as words from "./words.js";

const TOO_LARGE = "photo_too_large"; // as the service has it

/**
 * @typedef {object} Page The view of the album.
 * @property {(item: Item) => void} onItem something happened to a photo
 * @property {() => void} onChange called on any change
 * @property {(albumId: string) => void} onDeed something was done to the album on the service
 * @property {(sentence: string) => void} onReason something cannot be done
 * @property {(error: unknown) => void} onEnd the album cannot be had
 * @property {(style: string) => string} titleOf what the page calls a style
 */

export class OpenAlbum {
  /** @type {Album | null} */ album = null;
  /** @type {Map<string, Item>} */ items = new Map();
  leftOut = 0;
  hidden = 0;
  isKnown = false;
  aside = "";

  #run = new AbortController();
  #sendingRun = new AbortController();
  #isSending = false;
  #isFollowing = false;
  #due_ms = 0;
  #pace = new Pace();
  /** @type {Album | null} as it was when all its photos were last heard of */ #told = null;
  /** @type {import("./choice.js").Photo[]} */ #queue = [];
  /** @type {File[]} */ #archives = [];
  /** @type {Promise<void>} */ #keeping = Promise.resolve();

  /**
   * @param {Page} page
   * @param {{photoBytes: number, archiveBytes: number}} limits
   */
  constructor(page, limits) {
    this.page = page;
    this.limits = limits;
  }

  get signal() {
    return this.#run.signal;
  }

  get isSending() {
    return this.#isSending || this.#queue.length > 0 || this.#archives.length > 0;
  }

  /** Stop all work of the page on this album; the service carries on. */
  leave() {
    this.#run.abort();
    this.#sendingRun.abort();
  }

  /**
   * @param {string} name
   * @param {import("./api.js").Options} options
   * @param {Choice} choice
   */
  async start(name, options, choice) {
    this.#enqueue(choice.photos, choice.archives);
    Object.assign(this, { leftOut: choice.leftOut, hidden: choice.hidden });
    this.isKnown = true;
    this.page.onChange();
    await this.#attempt(async () => {
      const create = () => api.createAlbum(name, options, this.signal);
      this.album = await withRetries(create, () => this.#silent(), this.signal);
      this.#rememberNames();
      this.#goOn(); // a new album lacks everything: there is nothing to ask
    });
  }

  /** @param {string} id */
  async find(id) {
    for (const name of rememberedNames(id)) this.#put({ name, state: "missing" });
    await this.#attempt(async () => {
      this.album = await withRetries(() => api.getAlbum(id, this.signal), () => this.#silent(), this.signal);
      this.#follow();
    });
  }

  /**
   * Take more photos in: those the album lacks are sent, of the others the photo is known again from now on.
   *
   * @param {Choice} choice
   */
  async add({ photos, archives, leftOut, hidden }) {
    Object.assign(this, { leftOut, hidden });
    if (photos.length + archives.length === 0) return this.page.onReason(words.NOTHING_IN);
    this.page.onReason("");
    await this.#attempt(async () => {
      if (!this.album) return this.#enqueue(photos.filter(({ name }) => !this.items.has(name)), archives);
      const { lacking, known } = await compared(photos, this.album, this.items, this.signal);
      for (const { item, file } of known) if (!item.file) this.#put({ ...item, file });
      if (lacking.length + archives.length === 0) this.page.onReason(words.NOTHING_NEW);
      this.#enqueue(lacking, archives);
      this.#rememberNames();
      this.#goOn();
    });
  }

  /** Look whether anything has happened to the album meanwhile, in another tab perhaps. */
  look() {
    this.#follow();
  }

  /** @param {string} name */
  async rename(name) {
    await this.#attempt(async () => {
      if (this.album) this.album = await api.renameAlbum(this.album, name);
      this.#remember();
      this.#changed();
    });
  }

  async retry() {
    const again = [...this.items.values()].filter((item) => STOPPED.has(item.state));
    const unsent = again.filter(mayRetry).flatMap(({ name, file, job }) => (file && !job ? [{ name, file }] : []));
    await this.#attempt(async () => {
      if (this.album && again.some(({ job }) => job)) this.album = await api.retryAlbum(this.album);
      this.#enqueue(unsent, []);
      this.#goOn();
    });
  }

  async cancel() {
    this.#sendingRun.abort();
    this.#queue.length = this.#archives.length = 0;
    for (const item of this.items.values()) if (UNSENT.has(item.state)) this.#put({ ...item, state: "canceled" });
    await this.#attempt(async () => {
      if (this.album) this.album = await api.cancelAlbum(this.album);
      this.#follow();
      this.#changed();
    });
  }

  /** @returns {Promise<boolean>} whether it is gone */
  async erase() {
    if (!this.album) return true;
    try {
      await api.eraseAlbum(this.album);
      this.#changed();
      return true;
    } catch (error) {
      this.#explain(error);
      return false;
    }
  }

  /** @returns {import("./album-progress.js").Progress} */
  progress() {
    const isGrowing = this.isSending || !this.album;
    return progressOf([...this.items.values()], { due_ms: this.#due_ms, pace_s: this.#pace.photo_s(), isGrowing });
  }

  /**
   * @param {Item} item
   * @returns {Promise<string | null>} a new URL of its photo, for the caller to revoke
   */
  async photoOf({ name, file }) {
    const photo = file ?? (this.album && (await keptMiniature(this.album.id, name)));
    return photo ? URL.createObjectURL(photo) : null;
  }

  /**
   * @param {import("./choice.js").Photo[]} photos
   * @param {File[]} archives
   */
  #enqueue(photos, archives) {
    for (const { name, file } of photos) {
      const { photoBytes } = this.limits;
      const error = file.size > photoBytes ? { code: TOO_LARGE, ...words.tooManyBytes(file.size, photoBytes) } : null;
      this.#put({ ...this.items.get(name), name, file, state: error ? "failed" : "waiting", error, job: null });
      if (!error) this.#queue.push({ name, file });
    }
    for (const archive of archives) {
      if (archive.size <= this.limits.archiveBytes) this.#archives.push(archive);
      else this.page.onReason(words.archiveTooLarge(archive.size, this.limits.archiveBytes));
    }
  }

  #goOn() {
    this.#send();
    this.#follow();
    this.#changed();
  }

  /** Something was done to the album here. */
  #changed() {
    if (this.album) this.page.onDeed(this.album.id);
    this.page.onChange();
  }

  async #send() {
    if (this.#isSending || !this.album) return;
    this.#isSending = true;
    this.#sendingRun = new AbortController();
    const { signal } = this.#sendingRun;
    await this.#attempt(async () => {
      while (this.album && (this.#queue.length || this.#archives.length) && !signal.aborted) {
        await sendPhotos(this.album, this.#queue, this.#sender(), signal);
        const archive = this.#archives.shift();
        if (archive) await sendWhole(this.album, archive, this.#sender(archive), signal);
      }
    }, signal);
    this.#isSending = false;
    this.aside = "";
    this.#follow(); // it may have seemed over before the last photo arrived
    this.page.onChange();
  }

  /**
   * @param {File} [archive]
   * @returns {import("./sending.js").Sender}
   */
  #sender(archive) {
    return {
      onStart: ({ name, file }) => this.#put({ ...this.items.get(name), name, file, state: "sending" }),
      onSent: (photo) => this.#sent(photo),
      onRefused: (name, error) => this.#refused(name, error, archive),
      onSkipped: ({ leftOut, hidden }) => {
        this.leftOut += leftOut;
        this.hidden += hidden;
      },
      onArchive: (share) => this.#say(words.sendingArchive(archive?.name ?? "", share)),
      onWait: (problem) => (problem.retry_after_s ? this.#say(words.busy(problem.retry_after_s)) : this.#silent()),
    };
  }

  /** @param {import("./choice.js").Photo} photo */
  #sent({ name, file }) {
    const item = this.items.get(name);
    if (item?.state === "sending") this.#put({ ...item, state: "queued" }); // otherwise a newer state is known
    this.#say("");
    this.#changed();
    const id = this.album?.id ?? "";
    this.#keeping = this.#keeping.then(() => (this.signal.aborted ? undefined : keepMiniature(id, name, file)));
  }

  /**
   * @param {string} name
   * @param {import("./albums.js").Trouble} error
   * @param {File} [archive]
   */
  #refused(name, error, archive) {
    if (archive?.name === name) return this.page.onReason(`${name}: ${words.reasonOf(error).detail}`);
    const { code, title, detail } = error;
    this.#put({ ...this.items.get(name), name, state: "failed", error: { code, title, detail } });
  }

  async #follow() {
    if (this.#isFollowing || !this.album) return;
    this.#isFollowing = true;
    const { id } = this.album;
    const listener = {
      onAlbum: (/** @type {Album} */ album) => this.#hear(album),
      onPhoto: (/** @type {AlbumPhoto} */ photo) => this.#hearOf(photo),
      onSilence: () => this.#silent(),
      expectsMore: () => this.isSending,
    };
    const told = this.#told;
    this.#told = null;
    await this.#attempt(async () => {
      await followAlbum(id, listener, this.signal, told);
      this.#told = this.album;
    });
    this.#isFollowing = false;
    this.page.onChange();
  }

  /** @param {Album} album with a fresh estimate */
  #hear(album) {
    this.album = album;
    this.isKnown = true;
    this.#due_ms = album.eta_s === null ? 0 : performance.now() + 1000 * album.eta_s;
    this.#pace.note(album.counts);
    this.#remember();
    if (this.aside === words.SILENCE_NOW) this.aside = "";
    this.page.onChange();
  }

  /** @param {AlbumPhoto} photo */
  #hearOf(photo) {
    const before = this.items.get(photo.name);
    if (before?.file && UNSENT.has(before.state) && !photo.job) return; // the refusal that is being tried again
    this.#put({ ...before, ...photo });
  }

  /** @param {Partial<Item> & {name: string, state: ItemState}} item */
  #put(item) {
    const full = { file: null, sha256: null, job: null, error: null, ...item };
    this.items.set(item.name, full);
    this.page.onItem(full);
  }

  #rememberNames() {
    if (this.album) rememberNames(this.album.id, [...this.items.keys()]);
    this.#remember();
  }

  #remember() {
    if (!this.album) return;
    const { id, name, created_at, expires_at, max_side } = this.album;
    const [at, until] = [Date.parse(created_at), Date.parse(expires_at)];
    const style = this.page.titleOf(this.album.style);
    remember({ kind: "album", id, name: name ?? "", count: this.items.size, at, until, style, max_side });
  }

  #silent() {
    this.#say(words.SILENCE_NOW);
  }

  /** @param {string} aside */
  #say(aside) {
    this.aside = aside;
    this.page.onChange();
  }

  /**
   * @param {() => Promise<void>} deed
   * @param {AbortSignal} [signal]
   */
  async #attempt(deed, signal = this.signal) {
    try {
      await deed();
    } catch (error) {
      if (!signal.aborted && !this.signal.aborted) this.#explain(error);
    }
  }

  /** @param {unknown} error */
  #explain(error) {
    this.page.onEnd(error);
  }
}
