/**
 * How far an album is.
 *
 * @typedef {import("./open-album.js").Item} Item
 * @typedef {import("./open-album.js").ItemState} ItemState
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

/** @type {Set<ItemState>} */
export const UNSENT = new Set(["waiting", "sending"]);
/** @type {Set<ItemState>} */
export const STOPPED = new Set(["failed", "canceled"]);

/**
 * @param {Item[]} items
 * @param {{due_ms: number, isGrowing: boolean}} album when the photos on the service will be done, by the page's clock
 * (0 while unknown), and whether more are to come
 * @returns {Progress}
 */
export function progressOf(items, { due_ms, isGrowing }) {
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
    eta_s: due_ms && onService ? left_s(due_ms, onService, unsent) : null,
    isOver: onService + unsent === 0 && !isGrowing,
    mayRetry: items.some(mayRetry),
  };
}

/** @param {Item} item whether it can be tried again from here */
export function mayRetry({ state, job, file, error }) {
  return STOPPED.has(state) && (job !== null || file !== null) && (error === null || reasonOf(error).mayRetry);
}

/**
 * Photos that are still here will take as long as those that are there.
 *
 * @param {number} due_ms
 * @param {number} onService
 * @param {number} unsent
 */
function left_s(due_ms, onService, unsent) {
  return (Math.max(0, due_ms - performance.now()) / 1000) * (1 + unsent / onService);
}
