/**
 * The photo and its picture in one frame, parted by a line that moves by pointer, touch or keyboard.
 * A range input underneath carries the value, so the keyboard and screen readers get it for nothing.
 *
 * @typedef {"none" | "before" | "after" | "both"} Shown
 */

import * as words from "./words.js";

const MIDDLE = 50;

export class Compare {
  /** @param {HTMLElement} frame holds an .before, an .after and an input.split */
  constructor(frame) {
    this.frame = frame;
    this.before = /** @type {HTMLImageElement} */ (frame.querySelector(".before"));
    this.after = /** @type {HTMLImageElement} */ (frame.querySelector(".after"));
    this.input = /** @type {HTMLInputElement} */ (frame.querySelector(".split"));
    this.input.addEventListener("input", () => this.part(this.input.valueAsNumber));
    frame.addEventListener("pointerdown", (event) => this.#grab(event));
    frame.addEventListener("pointermove", (event) => this.#drag(event));
    this.turn = 0;
    this.part(this.input.valueAsNumber);
  }

  /**
   * Show a photo and a picture, each where there is one. Resolves when they are decoded.
   *
   * @param {{before: string | null, after: string | null}} sources URLs
   * @returns {Promise<Shown>} what the browser could show
   */
  async show({ before, after }) {
    const turn = ++this.turn;
    this.frame.classList.remove("revealing");
    const [hasBefore, hasAfter] = await Promise.all([load(this.before, before), load(this.after, after)]);
    const shown = hasAfter ? (hasBefore ? "both" : "after") : hasBefore ? "before" : "none";
    if (turn === this.turn) this.#settle(shown); // otherwise something else is to be shown meanwhile
    return shown;
  }

  /** Sweep the picture in over the photo. */
  reveal() {
    this.part(100);
    this.frame.getBoundingClientRect(); // settle at 100 first, so that the move to the middle is animated
    this.frame.classList.add("revealing");
    this.part(MIDDLE);
  }

  /** @param {number} percent of the width, from the left, that shows the photo */
  part(percent) {
    const kept = Math.min(100, Math.max(0, percent));
    this.frame.style.setProperty("--split", String(kept));
    this.input.value = String(kept);
    this.input.setAttribute("aria-valuetext", words.split(kept));
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    if (this.frame.dataset.shown !== "both" || event.button !== 0) return;
    this.frame.setPointerCapture(event.pointerId);
    this.#drag(event);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (!this.frame.hasPointerCapture(event.pointerId)) return;
    this.frame.classList.remove("revealing");
    const box = this.frame.getBoundingClientRect();
    this.part((100 * (event.clientX - box.left)) / box.width);
  }

  /** @param {Shown} shown */
  #settle(shown) {
    this.before.hidden = shown === "after" || shown === "none";
    this.after.hidden = shown === "before" || shown === "none";
    const image = shown === "after" ? this.after : this.before;
    const [width, height] = shown === "none" ? [800, 600] : [image.naturalWidth, image.naturalHeight];
    this.frame.dataset.shown = shown;
    this.frame.style.setProperty("--ratio", String(width / height));
    this.frame.style.setProperty("--photo-width", `${width}px`);
  }
}

/**
 * @param {HTMLImageElement} image stays hidden until the caller knows that it is still wanted
 * @param {string | null} source a URL
 * @returns {Promise<boolean>} whether the browser can show it
 */
async function load(image, source) {
  const isThere = source !== null && image.getAttribute("src") === source;
  image.hidden = image.hidden || !isThere;
  if (source === null) return false;
  if (!isThere) image.src = source;
  return image.decode().then(
    () => true,
    () => false,
  );
}
