/**
 * The zoom of a frame: how much larger than itself its images are drawn, and which part of them is seen. `sakuga.css`
 * draws it from the custom properties that are set here.
 *
 * @typedef {{x: number, y: number}} Point in shares of the frame, from its left upper corner
 */

const MOST = 8;
const STEP = 2.5;
const MIDDLE = { x: 0.5, y: 0.5 };

export class Zoom {
  scale = 1;
  /** @type {Point} where the images' left upper corner is */ #origin = { x: 0, y: 0 };

  /**
   * @param {HTMLElement} frame
   * @param {HTMLButtonElement | null} button that zooms in and out again
   */
  constructor(frame, button) {
    this.frame = frame;
    this.button = button;
    button?.addEventListener("click", () => this.toggle());
    frame.addEventListener("dblclick", (event) => {
      if (!isOnButton(event)) this.toggle(this.pointOf(event));
    });
    frame.addEventListener("wheel", (event) => this.#pinch(event), { passive: false });
    frame.addEventListener("keydown", (event) => this.#press(event));
  }

  get isZoomed() {
    return this.scale > 1;
  }

  reset() {
    this.#set(1, { x: 0, y: 0 });
  }

  /** @param {Point} [at] what is to stay where it is */
  toggle(at = MIDDLE) {
    if (this.isZoomed) this.reset();
    else this.by(STEP, at);
  }

  /**
   * @param {number} factor
   * @param {Point} [at] what is to stay where it is
   */
  by(factor, at = MIDDLE) {
    const scale = clamp(this.scale * factor, 1, MOST);
    const grown = scale / this.scale;
    this.#set(scale, { x: at.x - (at.x - this.#origin.x) * grown, y: at.y - (at.y - this.#origin.y) * grown });
  }

  /**
   * @param {number} x in shares of the frame
   * @param {number} y
   */
  pan(x, y) {
    this.#set(this.scale, { x: this.#origin.x + x, y: this.#origin.y + y });
  }

  /**
   * @param {{clientX: number, clientY: number}} event
   * @returns {Point}
   */
  pointOf({ clientX, clientY }) {
    const box = this.frame.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  /**
   * @param {number} scale
   * @param {Point} origin
   */
  #set(scale, { x, y }) {
    this.scale = scale;
    this.#origin = { x: clamp(x, 1 - scale, 0), y: clamp(y, 1 - scale, 0) };
    this.frame.style.setProperty("--zoom", String(scale));
    this.frame.style.setProperty("--origin-x", String(100 * this.#origin.x));
    this.frame.style.setProperty("--origin-y", String(100 * this.#origin.y));
    this.frame.classList.toggle("zoomed", this.isZoomed);
    this.button?.setAttribute("aria-pressed", String(this.isZoomed));
  }

  /** @param {WheelEvent} event browsers tell of a pinch on a trackpad as of a turned wheel with Ctrl */
  #pinch(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.by(Math.exp(-event.deltaY / 100), this.pointOf(event));
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 1 / MOST }[event.key];
    const [x, y] = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key] ?? [];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (factor) this.by(factor);
    else if (event.shiftKey && x !== undefined && this.isZoomed) (event.preventDefault(), this.pan(x, y));
  }
}

/** @param {Event} event */
export function isOnButton(event) {
  return /** @type {HTMLElement} */ (event.target).closest("button") !== null;
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}
