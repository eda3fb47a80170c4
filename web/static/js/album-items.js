/**
 * The photos of an album as the page knows them.
 *
 * @typedef {import("./api.js").JobState | "missing" | "waiting" | "sending"} ItemState missing: known by name from
 * before a reload; waiting: to be sent from here
 *
 * @typedef {object} Item
 * @property {string} name
 * @property {ItemState} state
 * @property {File | null} file where it was chosen on this very page
 * @property {string | null} sha256 as the service knows it
 * @property {import("./api.js").Job | null} job
 * @property {import("./albums.js").Trouble | null} error
 */

/**
 * The photos by name.
 *
 * @extends {Map<string, Item>}
 */
export class AlbumItems extends Map {
  /** @param {(item: Item) => void} onItem called when something happened to a photo */
  constructor(onItem) {
    super();
    this.onItem = onItem;
  }

  /** @param {Partial<Item> & {name: string, state: ItemState}} item what is not given is unknown */
  put(item) {
    const full = { file: null, sha256: null, job: null, error: null, ...item };
    this.set(item.name, full);
    this.onItem(full);
  }

  /** @param {Set<ItemState>} states */
  inState(states) {
    return [...this.values()].filter(({ state }) => states.has(state));
  }
}
