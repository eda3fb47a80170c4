/**
 * The album open on the page: the state of its photos, and the actions on them.
 *
 * @typedef {import("./album-items.js").Item} Item
 * @typedef {import("./albums.js").Album} Album
 * @typedef {import("./albums.js").AlbumPhoto} AlbumPhoto
 * @typedef {import("./choice.js").Choice} Choice
 */

import { AlbumItems } from "./album-items.js";
import { Pace, STOPPED, UNSENT, mayRetry, progressOf } from "./album-progress.js";
import * as api from "./albums.js";
import { compared } from "./compared.js";
import { rememberAlbum, rememberNames, rememberedNames } from "./earlier.js";
import { Following } from "./follow-album.js";
import { copyMiniatures, keepMiniature, keptMiniature } from "./kept-photos.js";
import { withRetries } from "./retry.js";
import { Uploads } from "./uploads.js";
import * as words from "./words.js";

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
  leftOut = 0;
  hidden = 0;
  isKnown = false;
  aside = "";

  #run = new AbortController();
  #following = new Following();
  #due_ms = 0;
  #pace = new Pace();
  /** @type {Promise<void>} */ #keeping = Promise.resolve();
  /** @type {Promise<void>} */ #deeds = Promise.resolve();

  /**
   * @param {Page} page
   * @param {{photoBytes: number, archiveBytes: number}} limits
   */
  constructor(page, limits) {
    this.page = page;
    this.items = new AlbumItems((item) => page.onItem(item));
    this.uploads = new Uploads(this.items, limits, {
      onSent: (photo) => this.#sent(photo),
      onSkipped: ({ leftOut, hidden }) => {
        this.leftOut += leftOut;
        this.hidden += hidden;
      },
      onReason: (sentence) => page.onReason(sentence),
      onAside: (aside) => this.#say(aside),
    });
  }

  get signal() {
    return this.#run.signal;
  }

  get isSending() {
    return this.uploads.isPending;
  }

  /** Stop all work of the page on this album; the service carries on. */
  leave() {
    this.#run.abort();
    this.uploads.stop();
  }

  /**
   * @param {string} name
   * @param {import("./api.js").Options & {keep_photos: boolean}} options
   * @param {Choice} choice
   */
  async start(name, options, choice) {
    this.uploads.add(choice.photos, choice.archives);
    Object.assign(this, { leftOut: choice.leftOut, hidden: choice.hidden });
    this.isKnown = true;
    this.page.onChange();
    await this.#attempt(async () => {
      const create = () => api.createAlbum(name, options, this.signal);
      this.album = await withRetries(create, () => this.#say(words.SILENCE_NOW), this.signal);
      this.#rememberNames();
      this.#goOn(); // a new album lacks everything: there is nothing to ask
    });
  }

  /**
   * @param {string} id
   * @param {string[]} [names] of the photos that the service is about to add
   */
  async find(id, names = []) {
    for (const name of names) this.items.put({ name, state: "queued" });
    for (const name of rememberedNames(id)) this.items.put({ name, state: "missing" });
    await this.#attempt(async () => {
      this.album = await withRetries(() => api.getAlbum(id, this.signal), () => this.#say(words.SILENCE_NOW), this.signal);
      this.look();
    });
  }

  /**
   * Take more photos in: those the album lacks are sent, of the others the photo is known again from now on.
   *
   * @param {Choice} choice
   */
  async add({ photos, archives, leftOut, hidden }) {
    Object.assign(this, { leftOut, hidden });
    if (photos.length + archives.length === 0) return this.page.onReason(words.NO_PHOTOS_FOUND);
    this.page.onReason("");
    await this.#attempt(async () => {
      if (!this.album) return this.uploads.add(photos.filter(({ name }) => !this.items.has(name)), archives);
      const { lacking, known } = await compared(photos, this.album, this.items, this.signal);
      for (const { item, file } of known) if (!item.file) this.items.put({ ...item, file });
      if (lacking.length + archives.length === 0) this.page.onReason(words.NOTHING_NEW);
      this.uploads.add(lacking, archives);
      this.#rememberNames();
      this.#goOn();
    });
  }

  /** Look whether anything has happened to the album meanwhile, in another tab perhaps. */
  async look() {
    if (!this.album) return;
    const { id } = this.album;
    const listener = {
      onAlbum: (/** @type {Album} */ album) => this.#update(album),
      onPhoto: (/** @type {AlbumPhoto} */ photo) => this.#updatePhoto(photo),
      onSilence: () => this.#say(words.SILENCE_NOW),
      expectsMore: () => this.isSending,
    };
    await this.#attempt(() => this.#following.start(id, listener, this.signal));
    this.page.onChange();
  }

  /** @param {string} name */
  async rename(name) {
    await this.#attempt(async () => {
      if (this.album) this.album = await api.renameAlbum(this.album, name);
      this.#remember();
      this.#changed();
    });
  }

  /** Retry what has stopped: on the service also photos that it has, but has not reported yet. */
  async retry() {
    await this.#afterOthers(async () => {
      if (this.album) this.album = await api.retryAlbum(this.album);
      const again = this.items.inState(STOPPED).filter(mayRetry);
      const unsent = again.flatMap(({ name, file, job }) => (file && !job ? [{ name, file }] : []));
      this.uploads.add(unsent, []);
      this.#goOn();
    });
  }

  async cancel() {
    this.uploads.drop();
    const unadded = this.items.inState(new Set(["queued"])).filter(({ job }) => !job);
    for (const item of [...this.items.inState(UNSENT), ...unadded]) this.items.put({ ...item, state: "canceled" });
    await this.#afterOthers(async () => {
      if (this.album) this.album = await api.cancelAlbum(this.album);
      this.look();
      this.#changed();
    });
  }

  /**
   * @param {string} style
   * @returns {Promise<string | null>} the id of another album, of the same photos; null if there is none
   */
  async redraw(style) {
    if (!this.album) return null;
    try {
      const { id } = await api.redrawAlbum(this.album, style);
      await copyMiniatures(this.album.id, id);
      return id;
    } catch (error) {
      this.page.onEnd(error);
      return null;
    }
  }

  /** @returns {Promise<boolean>} whether it is gone */
  async erase() {
    if (!this.album) return true;
    try {
      await api.eraseAlbum(this.album);
      this.#changed();
      return true;
    } catch (error) {
      this.page.onEnd(error);
      return false;
    }
  }

  /** @returns {import("./album-progress.js").Progress} */
  progress() {
    const isGrowing = this.isSending || !this.album || Boolean(this.album.pending?.includes("redraw"));
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

  #goOn() {
    this.#send();
    this.look();
    this.#changed();
  }

  /** Something was done to the album here. */
  #changed() {
    if (this.album) this.page.onDeed(this.album.id);
    this.page.onChange();
  }

  async #send() {
    if (!this.album || this.uploads.isUnderWay) return;
    const { album } = this;
    await this.#attempt(() => this.uploads.send(album));
    this.aside = "";
    this.look(); // it may have seemed over before the last photo arrived
    this.page.onChange();
  }

  /** @param {import("./choice.js").Photo} photo */
  #sent({ name, file }) {
    this.#say("");
    this.#changed();
    const id = this.album?.id ?? "";
    this.#keeping = this.#keeping.then(() => (this.signal.aborted ? undefined : keepMiniature(id, name, file)));
  }

  /** @param {Album} album with a fresh estimate */
  #update(album) {
    this.album = album;
    this.isKnown = true;
    this.#due_ms = album.eta_s === null ? 0 : performance.now() + 1000 * album.eta_s;
    this.#pace.note(album.counts);
    this.#remember();
    if (this.aside === words.SILENCE_NOW) this.aside = "";
    this.page.onChange();
  }

  /** @param {AlbumPhoto} photo */
  #updatePhoto(photo) {
    const before = this.items.get(photo.name);
    if (before?.file && UNSENT.has(before.state) && !photo.job) return; // the refusal that is being tried again
    this.items.put({ ...before, ...photo });
  }

  #rememberNames() {
    if (this.album) rememberNames(this.album.id, [...this.items.keys()]);
    this.#remember();
  }

  #remember() {
    if (this.album) rememberAlbum(this.album, this.items.size, this.page.titleOf(this.album.style));
  }

  /** @param {string} aside */
  #say(aside) {
    this.aside = aside;
    this.page.onChange();
  }

  /**
   * Requests that are under way together may arrive in any order, and what was asked last must count.
   *
   * @param {() => Promise<void>} deed
   */
  #afterOthers(deed) {
    this.#deeds = this.#deeds.then(() => this.#attempt(deed));
    return this.#deeds;
  }

  /** @param {() => Promise<void>} deed */
  async #attempt(deed) {
    try {
      await deed();
    } catch (error) {
      if (!this.signal.aborted) this.page.onEnd(error);
    }
  }
}
