/**
 * The album that is open on the page: its photos on their way, what became of each, and what may be done with them.
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

import * as api from "./albums.js";
import { freeName } from "./choice.js";
import { sha256 } from "./digest.js";
import { remember, rememberNames, rememberedNames } from "./earlier.js";
import { followAlbum } from "./follow-album.js";
import { keepMiniature, keptMiniature } from "./miniatures.js";
import { patiently } from "./patience.js";
import { sendPhotos, sendWhole } from "./sending.js";
import * as words from "./words.js";

const TOO_LARGE = "photo_too_large";
/** @type {Set<ItemState>} */
const UNSENT = new Set(["waiting", "sending"]);
/** @type {Set<ItemState>} */
const STOPPED = new Set(["failed", "canceled"]);

/**
 * @typedef {object} Page What shows the album.
 * @property {(item: Item) => void} onItem something happened to a photo
 * @property {() => void} onChange something happened at all
 * @property {(sentence: string) => void} onReason something cannot be done
 * @property {(error: unknown) => void} onEnd the album cannot be had
 */

export class OpenAlbum {
  /** @type {Album | null} */ album = null;
  /** @type {Map<string, Item>} */ items = new Map();
  leftOut = 0;
  aside = "";

  #run = new AbortController();
  #sendingRun = new AbortController();
  #isSending = false;
  #isFollowing = false;
  #due_ms = 0;
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

  /** What is under way ends here; on the service everything goes on. */
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
    this.leftOut = choice.leftOut;
    this.page.onChange();
    await this.#attempt(async () => {
      const create = () => api.createAlbum(name, options, this.signal);
      this.album = await patiently(create, () => this.#silent(), this.signal);
      this.#rememberNames();
      this.#goOn(); // a new album lacks everything: there is nothing to ask
    });
  }

  /** @param {string} id */
  async find(id) {
    for (const name of rememberedNames(id)) this.#put({ name, state: "waiting" });
    await this.#attempt(async () => {
      this.album = await patiently(() => api.getAlbum(id, this.signal), () => this.#silent(), this.signal);
      this.#follow();
    });
  }

  /**
   * Take more photos in: those the album lacks are sent, of the others the photo is known again from now on.
   *
   * @param {Choice} choice
   */
  async add({ photos, archives, leftOut }) {
    this.leftOut = leftOut;
    if (photos.length + archives.length === 0) return this.page.onReason(words.NOTHING_IN);
    this.page.onReason("");
    await this.#attempt(async () => {
      const lacking = await this.#lacking(photos);
      if (lacking.length + archives.length === 0) this.page.onReason(words.NOTHING_NEW);
      this.#enqueue(lacking, archives);
      this.#rememberNames();
      this.#goOn();
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
    });
  }

  /** @returns {Promise<boolean>} whether it is gone */
  async erase() {
    if (!this.album) return true;
    try {
      await api.eraseAlbum(this.album);
      return true;
    } catch (error) {
      this.#explain(error);
      return false;
    }
  }

  /** @returns {import("./album-view.js").Progress} */
  progress() {
    /** @type {Partial<Record<ItemState, number>>} */
    const counts = {};
    for (const { state } of this.items.values()) counts[state] = (counts[state] ?? 0) + 1;
    const of = (/** @type {ItemState[]} */ ...states) => states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
    const onService = of("queued", "running");
    const unsent = of("waiting", "sending");
    return {
      all: this.items.size,
      done: of("succeeded"),
      failed: of("failed"),
      canceled: of("canceled", "expired"),
      missing: of("missing"),
      unsent,
      eta_s: this.#eta_s(onService, unsent),
      isOver: onService + unsent === 0 && !this.isSending && this.album !== null,
      mayRetry: [...this.items.values()].some(mayRetry),
    };
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
      const tooLarge = file.size > this.limits.photoBytes ? words.tooManyBytes(file.size, this.limits.photoBytes) : null;
      const error = tooLarge && { code: TOO_LARGE, ...tooLarge };
      this.#put({ ...this.items.get(name), name, file, state: error ? "failed" : "waiting", error, job: null });
      if (!error) this.#queue.push({ name, file });
    }
    for (const archive of archives) {
      if (archive.size <= this.limits.archiveBytes) this.#archives.push(archive);
      else this.page.onReason(words.archiveTooLarge(archive.size, this.limits.archiveBytes));
    }
  }

  /**
   * @param {import("./choice.js").Photo[]} photos
   * @returns {Promise<import("./choice.js").Photo[]>} under names that are free here
   */
  async #lacking(photos) {
    if (!this.album) return photos;
    const known = await Promise.all(photos.map(async (photo) => ({ ...photo, digest: await this.#digestOf(photo.file) })));
    const digests = [...new Set(known.flatMap(({ digest }) => digest ?? []))];
    const missing = digests.length ? await api.missingFrom(this.album, digests, this.signal) : new Set();
    /** @type {import("./choice.js").Photo[]} */
    const lacking = [];
    for (const { name, file, digest } of known) {
      const item = this.items.get(name);
      const isLacking = item?.state === "missing" || (digest ? missing.has(digest) : !item?.job);
      if (!isLacking) this.#knowAgain(file, name, digest);
      else lacking.push({ name: item?.job ? freeName(name, this.items) : name, file });
    }
    return lacking;
  }

  /** @type {Promise<unknown>} */ #hashing = Promise.resolve();

  /**
   * One after the other: each file is in memory as a whole.
   *
   * @param {File} file
   * @returns {Promise<string | null>}
   */
  #digestOf(file) {
    const digest = this.#hashing.then(() => (this.signal.throwIfAborted(), sha256(file)));
    this.#hashing = digest.catch(() => null);
    return digest;
  }

  /**
   * @param {File} file which the album has under this name, or under another one
   * @param {string} name
   * @param {string | null} digest
   */
  #knowAgain(file, name, digest) {
    const item = [...this.items.values()].find((one) => digest && one.sha256 === digest) ?? this.items.get(name);
    if (item && !item.file) this.#put({ ...item, file });
  }

  #goOn() {
    this.#send();
    this.#follow();
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
    this.#follow(); // it may have come to what looked like the end before the last photo was there
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
      onArchive: (share) => this.#say(words.sendingArchive(archive?.name ?? "", share)),
      onWait: (problem) => (problem.retry_after_s ? this.#say(words.busy(problem.retry_after_s)) : this.#silent()),
    };
  }

  /** @param {import("./choice.js").Photo} photo */
  #sent({ name, file }) {
    const item = this.items.get(name);
    if (item?.state === "sending") this.#put({ ...item, state: "queued" }); // else more is known of it by now
    this.#say("");
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
    await this.#attempt(() => followAlbum(id, listener, this.signal));
    this.#isFollowing = false;
    this.page.onChange();
  }

  /** @param {Album} album with a fresh estimate */
  #hear(album) {
    this.album = album;
    this.#due_ms = album.eta_s === null ? 0 : performance.now() + 1000 * album.eta_s;
    this.#settleMissing();
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

  /** What was to be sent before a reload and is not on the service is missing. */
  #settleMissing() {
    for (const item of this.items.values()) {
      if (item.state === "waiting" && !item.file) this.#put({ ...item, state: "missing" });
    }
  }

  /** @param {Partial<Item> & {name: string, state: ItemState}} item */
  #put(item) {
    const full = { file: null, sha256: null, job: null, error: null, ...item };
    this.items.set(item.name, full);
    this.page.onItem(full);
  }

  /**
   * @param {number} onService
   * @param {number} unsent
   */
  #eta_s(onService, unsent) {
    if (!this.#due_ms || onService === 0) return null;
    const left_s = Math.max(0, this.#due_ms - performance.now()) / 1000;
    return left_s * (1 + unsent / onService); // those that are still here will take as long as those that are there
  }

  #rememberNames() {
    if (this.album) rememberNames(this.album.id, [...this.items.keys()]);
    this.#remember();
  }

  #remember() {
    if (!this.album) return;
    const { id, name, created_at, expires_at } = this.album;
    const [at, until] = [Date.parse(created_at), Date.parse(expires_at)];
    remember({ kind: "album", id, name: name ?? "", count: this.items.size, at, until });
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

/** @param {Item} item whether it can be tried again from here */
function mayRetry({ state, job, file, error }) {
  return STOPPED.has(state) && (job !== null || (file !== null && error?.code !== TOO_LARGE));
}
