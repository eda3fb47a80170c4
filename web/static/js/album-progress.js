/**
 * The progress of an album.
 *
 * @typedef {import("./album-items.js").Item} Item
 * @typedef {import("./album-items.js").ItemState} ItemState
 *
 * @typedef {object} Progress The counts of photos by state.
 * @property {number} all
 * @property {number} done
 * @property {number} failed
 * @property {number} canceled
 * @property {number} missing known by name alone, from before a reload
 * @property {number} unsent still to be sent from here
 * @property {number | null} eta_s
 * @property {boolean} isOver
 * @property {boolean} mayRetry
 */

import { reasonOf } from "./words.js";

const FEW = 3; // photos, which may have been done together

/** @type {Set<ItemState>} */
export const UNSENT = new Set(["waiting", "sending"]);
/** @type {Set<ItemState>} */
export const STOPPED = new Set(["failed", "canceled"]);

/**
 * @param {Item[]} items
 * @param {{due_ms: number, pace_s: number | null, isGrowing: boolean}} album when the photos on the service will be
 * done, by the page's clock (0 while unknown), how long each takes (null while unknown), and whether more are to come
 * @returns {Progress}
 */
export function progressOf(items, { due_ms, pace_s, isGrowing }) {
  const count = (/** @type {ItemState[]} */ ...states) => items.filter(({ state }) => states.includes(state)).length;
  const onService = count("queued", "running");
  const unsent = count(...UNSENT);
  return {
    all: items.length,
    done: count("succeeded"),
    failed: count("failed"),
    canceled: count("canceled", "expired"),
    missing: count("missing"),
    unsent,
    eta_s: left_s({ due_ms, pace_s, onService, unsent }),
    isOver: onService + unsent === 0 && !isGrowing,
    mayRetry: items.some(mayRetry),
  };
}

/** @param {Item} item whether it can be tried again from here */
export function mayRetry({ state, job, file, error }) {
  return STOPPED.has(state) && (job !== null || file !== null) && (error === null || reasonOf(error).mayRetry);
}

/**
 * The pace seen from here counts, as soon as it is known: it includes the uploads. Before that, the service's estimate
 * does, if it has all photos.
 *
 * @param {{due_ms: number, pace_s: number | null, onService: number, unsent: number}} album
 */
function left_s({ due_ms, pace_s, onService, unsent }) {
  if (onService + unsent === 0) return null;
  if (pace_s !== null) return pace_s * (onService + unsent);
  return due_ms && !unsent ? Math.max(0, due_ms - performance.now()) / 1000 : null;
}

/** The pace at which the photos of an album finish, from the first one that is seen to finish. */
export class Pace {
  /** @type {{ended: number, at_ms: number} | null} */ #first = null;
  /** @type {{ended: number, at_ms: number} | null} */ #last = null;

  /** @param {Record<import("./api.js").JobState, number>} counts */
  note({ queued, running, succeeded, failed }) {
    const ended = succeeded + failed;
    if (queued + running === 0) this.#first = this.#last = null; // what comes next may be long after
    else if (ended === 0 || ended === this.#last?.ended) return;
    else this.#last = { ended, at_ms: performance.now() };
    this.#first ??= this.#last;
  }

  /** @returns {number | null} null while there is too little to go by */
  photo_s() {
    const ended = (this.#last?.ended ?? 0) - (this.#first?.ended ?? 0);
    if (!this.#last || !this.#first || ended < FEW) return null;
    return (this.#last.at_ms - this.#first.at_ms) / 1000 / ended;
  }
}
