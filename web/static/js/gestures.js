/**
 * Gestures of pointers in a frame: move the line between photo and picture, move what is zoomed, pinch, or swipe.
 *
 * A mouse begins at once. A finger begins when it has moved sideways, so that it can scroll the page up and down.
 */

import { isOnButton } from "./zoom.js";

/**
 * @typedef {"line" | "pan" | "swipe" | "none"} Kind
 * @typedef {import("./zoom.js").Point} Point
 *
 * @typedef {object} Frame
 * @property {() => number | null} split where the line is, in shares of the width; null where there is none
 * @property {(share: number) => void} onSplit
 * @property {((step: number) => void) | undefined} onSwipe
 */

const FIRST_PX = 8; // a finger rests no more quietly
const SWIPE_PX = 50;
const NEAR_PX = 36; // of the line, whose handle is 44 wide

export class Gestures {
  /** @type {Map<number, {clientX: number, clientY: number}>} */ #pointers = new Map();
  /** @type {{clientX: number, clientY: number} | null} */ #start = null;
  /** @type {Kind | null} */ #kind = null;

  /**
   * @param {HTMLElement} element
   * @param {import("./zoom.js").Zoom} zoom
   * @param {Frame} frame
   */
  constructor(element, zoom, frame) {
    this.element = element;
    this.zoom = zoom;
    this.frame = frame;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#pointers.delete(event.pointerId));
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0 || isOnButton(event)) return;
    this.#pointers.set(event.pointerId, event);
    this.#start = event;
    this.#kind = null;
    if (event.pointerType === "touch") return;
    this.element.setPointerCapture(event.pointerId);
    this.#kind = this.zoom.isZoomed && !this.#isNearLine(event) ? "pan" : "line";
    if (this.#kind === "line") this.#part(event);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    if (others.length === 1) this.#pinch(before, event, others[0]);
    else if (others.length === 0) this.#drag(before, event);
    this.#pointers.set(event.pointerId, event);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (!this.#pointers.delete(event.pointerId) || this.#kind !== "swipe" || !this.#start) return;
    const way = event.clientX - this.#start.clientX;
    if (Math.abs(way) >= SWIPE_PX) this.frame.onSwipe?.(way < 0 ? 1 : -1);
    this.#kind = "none";
  }

  /**
   * @param {{clientX: number, clientY: number}} before
   * @param {PointerEvent} event
   */
  #drag(before, event) {
    this.#kind ??= this.#begun(event);
    if (this.#kind === "line") this.#part(event);
    if (this.#kind !== "pan") return;
    const [from, to] = [this.zoom.pointOf(before), this.zoom.pointOf(event)];
    this.zoom.pan(to.x - from.x, to.y - from.y);
  }

  /**
   * @param {PointerEvent} event
   * @returns {Kind | null} null while the finger has hardly moved
   */
  #begun(event) {
    const start = this.#start ?? event;
    const [x, y] = [Math.abs(event.clientX - start.clientX), Math.abs(event.clientY - start.clientY)];
    if (Math.max(x, y) < FIRST_PX) return null;
    const isNearLine = this.#isNearLine(start);
    if (this.zoom.isZoomed) return isNearLine && x > y ? "line" : "pan";
    if (y > x) return "none"; // the page scrolls
    return this.frame.onSwipe && !isNearLine ? "swipe" : "line";
  }

  /**
   * @param {{clientX: number, clientY: number}} before
   * @param {PointerEvent} event
   * @param {{clientX: number, clientY: number}} other
   */
  #pinch(before, event, other) {
    const distance = (/** @type {{clientX: number, clientY: number}} */ one) =>
      Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
    const [from, to] = [this.zoom.pointOf(event), this.zoom.pointOf(other)];
    this.zoom.by(distance(event) / distance(before), { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 });
    this.#kind = "none"; // until all fingers are up
  }

  /** @param {{clientX: number, clientY: number}} event */
  #part(event) {
    if (this.frame.split() !== null) this.frame.onSplit(this.zoom.pointOf(event).x);
  }

  /** @param {{clientX: number, clientY: number}} event */
  #isNearLine(event) {
    const split = this.frame.split();
    const width = this.element.getBoundingClientRect().width;
    return split !== null && Math.abs(this.zoom.pointOf(event).x - split) * width < NEAR_PX;
  }
}
