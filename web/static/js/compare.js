/**
 * The photo and its picture in one frame, parted by a line that moves by pointer, touch or keyboard.
 * A range input underneath carries the value, so the keyboard and screen readers get it for nothing.
 *
 * @typedef {"none" | "before" | "after" | "both"} Shown
 */

import { Gestures } from "./gestures.js";
import * as words from "./words.js";
import { Zoom } from "./zoom.js";

const MIDDLE = 50;

export class Compare {
  /**
   * @param {HTMLElement} frame holds an .before, an .after, an input.split and a button.zoom
   * @param {{onSwipe?: (step: number) => void}} [options] what a finger does that swipes away from the line; without
   * it, the finger moves the line from everywhere
   */
  constructor(frame, { onSwipe } = {}) {
    this.frame = frame;
    this.before = /** @type {HTMLImageElement} */ (frame.querySelector(".before"));
    this.after = /** @type {HTMLImageElement} */ (frame.querySelector(".after"));
    this.input = /** @type {HTMLInputElement} */ (frame.querySelector(".split"));
    this.input.addEventListener("input", () => this.part(this.input.valueAsNumber));
    this.zoom = new Zoom(frame, frame.querySelector(".zoom"));
    new Gestures(frame, this.zoom, {
      split: () => (frame.dataset.shown === "both" ? this.input.valueAsNumber / 100 : null),
      onSplit: (share) => (frame.classList.remove("revealing"), this.part(100 * share)),
      onSwipe,
    });
    this.turn = 0;
    this.part(this.input.valueAsNumber);
  }

  /**
   * Show a photo and a picture, each where there is one; what is shown already stays until both are decoded.
   *
   * @param {{before: string | null, after: string | null}} sources URLs
   * @returns {Promise<Shown>} what the browser could show
   */
  async show({ before, after }) {
    const turn = ++this.turn;
    this.frame.classList.remove("revealing");
    const [photo, picture] = await Promise.all([loaded(before), loaded(after)]);
    const shown = picture ? (photo ? "both" : "after") : photo ? "before" : "none";
    if (turn === this.turn) this.#settle(shown, photo, picture); // otherwise something else is to be shown meanwhile
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

  /**
   * @param {Shown} shown
   * @param {HTMLImageElement | null} photo
   * @param {HTMLImageElement | null} picture
   */
  #settle(shown, photo, picture) {
    if (photo?.src !== this.before.src) this.zoom.reset(); // the same photo in another style stays as it is zoomed
    put(this.before, photo);
    put(this.after, picture);
    const { naturalWidth: width, naturalHeight: height } = photo ?? picture ?? { naturalWidth: 800, naturalHeight: 600 };
    this.frame.dataset.shown = shown;
    this.frame.style.setProperty("--ratio", String(width / height));
    this.frame.style.setProperty("--photo-width", `${width}px`);
  }
}

/**
 * @param {HTMLImageElement} image
 * @param {HTMLImageElement | null} source a decoded one, whose address the browser then shows at once
 */
function put(image, source) {
  image.hidden = source === null;
  if (source && image.src !== source.src) image.src = source.src;
}

/**
 * @param {string | null} source a URL
 * @returns {Promise<HTMLImageElement | null>} null where the browser cannot show it
 */
async function loaded(source) {
  if (source === null) return null;
  const image = new Image();
  image.src = source;
  return image.decode().then(
    () => image,
    () => null,
  );
}
