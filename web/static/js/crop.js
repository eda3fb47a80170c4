/**
 * The dialog in which a photo is cropped and rotated before it is sent. The part that is kept is drawn by a pointer, or
 * moved and resized by the arrow keys.
 *
 * @typedef {{left: number, top: number, right: number, bottom: number}} Part in shares of the rotated photo
 */

import { extension, stem } from "./saving.js";
import { part } from "./view.js";

const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };
const LEAST = 0.05; // of a side
const STEP = 0.02;
const PREVIEW_SIDE = 1024;
const MAX_SIDE = 4096; // of what is sent: no more than every browser can draw
const QUALITY = 0.95;

export class Cropper {
  /** @type {HTMLDialogElement} */ #dialog = part("cropper");
  /** @type {HTMLCanvasElement} */ #canvas = part("crop-canvas");
  #frame = part("crop-frame");
  /** @type {File | null} */ #file = null;
  /** @type {ImageBitmap | null} */ #image = null;
  #turns = 0;
  /** @type {Part} */ #kept = WHOLE;
  /** @type {{x: number, y: number, moved: Part | null} | null} where a pointer began, and what it moves */ #grip = null;

  /** @param {(file: File) => void} onDone called with the part that is kept */
  constructor(onDone) {
    const stage = part("crop-stage");
    part("turn-left").addEventListener("click", () => this.#turn(-1));
    part("turn-right").addEventListener("click", () => this.#turn(1));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => this.#up());
    this.#frame.addEventListener("keydown", (event) => this.#press(event));
    this.#dialog.addEventListener("close", async () => {
      const file = this.#dialog.returnValue === "apply" ? await this.#result() : null;
      this.#image?.close();
      this.#image = null;
      if (file) onDone(file);
    });
  }

  /** @param {File} file a photo that the browser can show */
  async open(file) {
    this.#image = await createImageBitmap(file).catch(() => null);
    if (!this.#image) return;
    this.#file = file;
    this.#turns = 0;
    this.#dialog.returnValue = "";
    this.#show();
    this.#dialog.showModal();
  }

  #show() {
    this.#draw(this.#canvas, WHOLE, PREVIEW_SIDE);
    this.#keep(WHOLE);
  }

  /** @param {number} by quarters, clockwise */
  #turn(by) {
    this.#turns = (this.#turns + by + 4) % 4;
    this.#show();
  }

  /** @param {Part} kept */
  #keep({ left, top, right, bottom }) {
    this.#kept = { left, top, right, bottom };
    this.#frame.style.setProperty("inset", [top, 1 - right, 1 - bottom, left].map((share) => `${100 * share}%`).join(" "));
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    part("crop-stage").setPointerCapture(event.pointerId);
    const { x, y } = this.#pointOf(event);
    const { left, top, right, bottom } = this.#kept;
    const isInside = x > left && x < right && y > top && y < bottom;
    const isWhole = right - left === 1 && bottom - top === 1;
    this.#grip = { x, y, moved: isInside && !isWhole ? this.#kept : null };
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#grip) return;
    const { x, y } = this.#pointOf(event);
    if (this.#grip.moved) this.#keep(shifted(this.#grip.moved, x - this.#grip.x, y - this.#grip.y));
    else if (Math.min(Math.abs(x - this.#grip.x), Math.abs(y - this.#grip.y)) >= LEAST) this.#keep(between(this.#grip, { x, y }));
  }

  #up() {
    this.#grip = null;
  }

  /** @param {KeyboardEvent} event arrows move the frame; with Shift, they move its right lower corner */
  #press(event) {
    const way = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!way) return;
    event.preventDefault();
    const { left, top, right, bottom } = this.#kept;
    if (!event.shiftKey) return this.#keep(shifted(this.#kept, way[0], way[1]));
    this.#keep({
      left,
      top,
      right: Math.min(1, Math.max(left + LEAST, right + way[0])),
      bottom: Math.min(1, Math.max(top + LEAST, bottom + way[1])),
    });
  }

  /** @param {PointerEvent} event */
  #pointOf({ clientX, clientY }) {
    const box = this.#canvas.getBoundingClientRect();
    const share = (/** @type {number} */ value) => Math.min(1, Math.max(0, value));
    return { x: share((clientX - box.left) / box.width), y: share((clientY - box.top) / box.height) };
  }

  /** @returns {Promise<File | null>} null where nothing was changed */
  async #result() {
    const { left, top, right, bottom } = this.#kept;
    if (!this.#file || (this.#turns === 0 && (right - left) * (bottom - top) === 1)) return null;
    const canvas = document.createElement("canvas");
    this.#draw(canvas, this.#kept, MAX_SIDE);
    const type = typeOf(canvas, this.#file);
    /** @type {Blob | null} */
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY)); // PNG where WebP is not written
    return blob && new File([blob], `${stem(this.#file.name)}.${extension(blob.type)}`, { type: blob.type });
  }

  /**
   * Draw a part of the rotated photo onto a canvas, which gets its size.
   *
   * @param {HTMLCanvasElement} canvas
   * @param {Part} kept
   * @param {number} maxSide
   */
  #draw(canvas, { left, top, right, bottom }, maxSide) {
    const image = /** @type {ImageBitmap} */ (this.#image);
    const isOnSide = this.#turns % 2 === 1;
    const [width, height] = isOnSide ? [image.height, image.width] : [image.width, image.height];
    const [wide, high] = [width * (right - left), height * (bottom - top)];
    const scale = Math.min(1, maxSide / Math.max(wide, high));
    canvas.width = Math.max(1, Math.round(wide * scale));
    canvas.height = Math.max(1, Math.round(high * scale));
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.imageSmoothingQuality = "high";
    context.scale(canvas.width / wide, canvas.height / high); // all of it is covered: its edges stay opaque
    context.translate(width / 2 - left * width, height / 2 - top * height);
    context.rotate((this.#turns * Math.PI) / 2);
    context.drawImage(image, -image.width / 2, -image.height / 2);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {File} photo that is drawn there
 * @returns {string} in which type it is sent: one that keeps transparency, where there is any
 */
function typeOf(canvas, { type }) {
  if (type === "image/png") return type;
  return type === "image/jpeg" || isOpaque(canvas) ? "image/jpeg" : "image/webp";
}

/** @param {HTMLCanvasElement} canvas */
function isOpaque(canvas) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 3; place < data.length; place += 4) if (data[place] < 255) return false;
  return true;
}

/**
 * @param {Part} moved
 * @param {number} x
 * @param {number} y
 * @returns {Part} as large, and within the photo
 */
function shifted({ left, top, right, bottom }, x, y) {
  const [dx, dy] = [Math.min(1 - right, Math.max(-left, x)), Math.min(1 - bottom, Math.max(-top, y))];
  return { left: left + dx, top: top + dy, right: right + dx, bottom: bottom + dy };
}

/**
 * @param {{x: number, y: number}} one
 * @param {{x: number, y: number}} other
 * @returns {Part} whose corners they are
 */
function between(one, other) {
  return {
    left: Math.min(one.x, other.x),
    top: Math.min(one.y, other.y),
    right: Math.max(one.x, other.x),
    bottom: Math.max(one.y, other.y),
  };
}
