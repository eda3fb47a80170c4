/** More to do with a picture: share it, copy it, or save it beside its photo; each is offered where the browser can. */

import { save, stem } from "./saving.js";
import { announce } from "./view.js";
import * as words from "./words.js";

const GAP = 12; // pixels between photo and picture
const QUALITY = 0.92;
const MAX_PIXELS = 4096 ** 2; // that every browser can draw; a picture as large as its photo may have more
const DONE_MS = 2000;

export class More {
  /** @type {File | null} */ #picture = null;
  /** @type {HTMLImageElement | null} */ #photo = null;

  /** @param {HTMLElement} element holds a button for each, named by `data-more` */
  constructor(element) {
    this.element = element;
    const deeds = { share: () => this.#share(), copy: () => this.#copy(), both: () => this.#saveBoth() };
    for (const [name, deed] of Object.entries(deeds)) this.#button(name).addEventListener("click", deed);
  }

  /**
   * @param {File | null} picture null for none
   * @param {HTMLImageElement | null} photo as it is shown; null or hidden where it is not
   */
  offer(picture, photo) {
    this.#picture = picture;
    this.#photo = photo;
    const canShare = picture !== null && Boolean(navigator.canShare?.({ files: [picture] }));
    this.#button("share").hidden = !canShare;
    this.#button("copy").hidden = !picture || typeof ClipboardItem === "undefined" || !navigator.clipboard;
    this.#button("both").hidden = !picture || !photo || photo.hidden;
  }

  /** @param {string} name */
  #button(name) {
    return /** @type {HTMLButtonElement} */ (this.element.querySelector(`[data-more="${name}"]`));
  }

  #share() {
    if (this.#picture) navigator.share({ files: [this.#picture] }).catch(() => {}); // the reader may think better of it
  }

  async #copy() {
    if (!this.#picture) return;
    const png = asPng(this.#picture);
    const isDone = await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]).then(
      () => true,
      () => false,
    );
    this.#say("copy", isDone ? words.COPIED : words.NOT_COPIED);
  }

  async #saveBoth() {
    if (!this.#picture || !this.#photo) return;
    save(await sideBySide(this.#photo, this.#picture), `${stem(this.#picture.name)}-${words.BEFORE_AFTER}.jpg`);
  }

  /**
   * @param {string} name of a button
   * @param {string} sentence that it shows for a moment
   */
  #say(name, sentence) {
    const button = this.#button(name);
    button.dataset.words ??= button.textContent ?? "";
    button.textContent = sentence;
    announce(sentence);
    setTimeout(() => (button.textContent = button.dataset.words ?? ""), DONE_MS);
  }
}

/**
 * @param {Blob} picture
 * @returns {Promise<Blob>} in the format that every clipboard takes
 */
async function asPng(picture) {
  const image = await createImageBitmap(picture);
  const [width, height] = drawable(image, 1);
  const [canvas, context] = canvasOf(width, height);
  context.drawImage(image, 0, 0, width, height);
  return blobOf(canvas, "image/png");
}

/**
 * @param {HTMLImageElement} photo
 * @param {Blob} picture
 * @returns {Promise<Blob>} a JPEG: one above the other if they are wide
 */
async function sideBySide(photo, picture) {
  const image = await createImageBitmap(picture);
  const [width, height] = drawable(image, 2);
  const [right, down] = width > height ? [0, height + GAP] : [width + GAP, 0];
  const [canvas, context] = canvasOf(width + right, height + down);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(photo, 0, 0, width, height);
  context.drawImage(image, right, down, width, height);
  return blobOf(canvas, "image/jpeg");
}

/**
 * @param {ImageBitmap} image
 * @param {number} count of them that are drawn together
 * @returns {[number, number]} the width and height at which that is possible
 */
function drawable({ width, height }, count) {
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (count * width * height)));
  return [Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale))];
}

/**
 * @param {number} width
 * @param {number} height
 * @returns {[HTMLCanvasElement, CanvasRenderingContext2D]}
 */
function canvasOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return [canvas, /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"))];
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {string} type
 * @returns {Promise<Blob>}
 */
function blobOf(canvas, type) {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), type, QUALITY),
  );
}
