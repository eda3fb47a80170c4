/** The dialog in which a tile shows its photo and its picture, one after the other by the arrow keys. */

import { Compare } from "./compare.js";
import { offerPicture } from "./saving.js";
import { More } from "./sharing.js";
import { part } from "./view.js";
import * as words from "./words.js";

/** @typedef {import("./album-items.js").Item} Item */

export class Viewer {
  #more = new More(part("viewer-more"));
  #shown = new AbortController();
  /** @type {HTMLDialogElement} */ #dialog = part("viewer");
  /** @type {string | null} */ #photoUrl = null;

  /** @param {{onStep: (step: number) => void, onClose: () => void}} album */
  constructor({ onStep, onClose }) {
    this.compare = new Compare(part("viewer-compare"), { onSwipe: onStep });
    part("previous").addEventListener("click", () => onStep(-1));
    part("next").addEventListener("click", () => onStep(1));
    part("viewer-close").addEventListener("click", () => this.close());
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.close());
    this.#dialog.addEventListener("close", () => (this.#letGo(), onClose()));
    this.#dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const isOnLine = /** @type {HTMLElement} */ (event.target).matches(".split"); // there the arrows move the line
      if (step && !isOnLine) onStep(step);
    });
  }

  get isOpen() {
    return this.#dialog.open;
  }

  close() {
    this.#dialog.close();
  }

  /**
   * @param {Item} item
   * @param {{place: number, all: number, photoUrl: Promise<string | null>}} context its place among those that can be
   * opened, and a URL of its photo, which is revoked here
   */
  async show(item, { place, all, photoUrl }) {
    this.#letGo();
    const { signal } = this.#shown;
    this.#name(item, place, all);
    const picture = this.#offer(item, signal);
    if (!this.#dialog.open) this.#open();
    const before = await photoUrl;
    if (signal.aborted) return before && URL.revokeObjectURL(before);
    this.#photoUrl = before;
    const isBroken = item.error && words.reasonOf(item.error).isBroken;
    const after = item.job?.result ? item.job.links.result : null;
    await this.compare.show({ before: isBroken ? null : before, after });
    const file = await picture;
    if (!signal.aborted) this.#more.offer(file, this.compare.before);
  }

  /**
   * @param {Item} item
   * @param {number} place
   * @param {number} all
   */
  #name(item, place, all) {
    part("viewer-name").textContent = item.name;
    const story = item.error ? words.reasonOf(item.error) : null;
    const facts = story ? words.titled(story.title, story.detail) : item.job ? words.factsOf(item.job) : "";
    part("viewer-story").textContent = `${words.placeOf(place, all)} · ${facts}`;
    part("viewer").dataset.state = item.state;
    part("previous").hidden = part("next").hidden = all === 1;
  }

  /**
   * @param {Item} item
   * @param {AbortSignal} signal
   * @returns {Promise<File | null>} the picture, if there is one
   */
  async #offer({ name, job }, signal) {
    /** @type {HTMLAnchorElement} */
    const save = part("viewer-save");
    save.classList.toggle("withheld", !job?.result); // its place stays, so that the other buttons do
    this.#more.offer(null, null);
    return job?.result ? offerPicture(save, job, { name: name.slice(name.lastIndexOf("/") + 1) }, signal) : null;
  }

  #open() {
    this.compare.part(50);
    this.#dialog.showModal();
    (part("next").hidden ? part("viewer-close") : part("next")).focus();
  }

  #letGo() {
    this.#shown.abort();
    this.#shown = new AbortController();
    if (this.#photoUrl) URL.revokeObjectURL(this.#photoUrl);
    this.#photoUrl = null;
  }
}
