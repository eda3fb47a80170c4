/**
 * The album's grid. A tile is drawn anew when something happens to its photo, never the whole grid; what is far from
 * the window holds no photo in memory.
 *
 * @typedef {import("./album-items.js").Item} Item
 *
 * @typedef {object} Tile
 * @property {HTMLLIElement} frame
 * @property {HTMLButtonElement} button
 * @property {HTMLImageElement} photo
 * @property {HTMLImageElement} picture
 * @property {Item} item
 * @property {boolean} isNear
 * @property {string | null} photoUrl
 */

import * as words from "./words.js";

const NEAR = "400px";
const AGAIN_MS = 3000;
const STEPS = new Map([["ArrowLeft", -1], ["ArrowRight", 1], ["Home", -Infinity], ["End", Infinity]]);
/** @type {Set<import("./album-items.js").ItemState>} those whose tile says in words why there is no picture */
const UNDRAWN = new Set(["failed", "canceled", "expired", "missing"]);

export class Tiles {
  /** @type {Map<string, Tile>} */ #tiles = new Map();
  /** @type {IntersectionObserver} */ #nearness;

  /**
   * @param {HTMLElement} list
   * @param {HTMLTemplateElement} template of a tile
   * @param {{onOpen: (name: string) => void, photoOf: (item: Item) => Promise<string | null>}} album what opens a
   * tile, and what makes a URL of its photo
   */
  constructor(list, template, { onOpen, photoOf }) {
    this.list = list;
    this.template = template;
    this.onOpen = onOpen;
    this.photoOf = photoOf;
    this.#nearness = new IntersectionObserver((seen) => this.#see(seen), { rootMargin: NEAR });
    list.addEventListener("keydown", (event) => this.#move(event));
    list.addEventListener("focusin", (event) => this.#stayAt(/** @type {HTMLElement} */ (event.target)));
  }

  clear() {
    this.#nearness.disconnect();
    for (const tile of this.#tiles.values()) letGo(tile);
    this.#tiles.clear();
    this.list.replaceChildren();
  }

  /** @param {Item} item */
  draw(item) {
    const tile = this.#tiles.get(item.name) ?? this.#add(item);
    const why = item.error ? words.reasonOf(item.error) : null;
    tile.item = item;
    tile.frame.dataset.state = item.state;
    if (why || UNDRAWN.has(item.state)) tile.button.removeAttribute("aria-label"); // the tile says it itself
    else tile.button.setAttribute("aria-label", words.tile(item.name, item.state));
    tile.button.setAttribute("aria-disabled", String(!isOpenable(item)));
    tile.button.title = item.name;
    const [reason, detail, name] = tile.button.querySelectorAll(".why > *, .tile-name");
    reason.textContent = why?.title ?? words.stateOf(item.state);
    detail.textContent = why?.detail ?? "";
    name.textContent = item.name;
    this.#drawImages(tile);
  }

  /** @param {string} name */
  focus(name) {
    this.#tiles.get(name)?.button.focus();
  }

  /** @param {Item} item */
  #add(item) {
    const frame = /** @type {HTMLLIElement} */ (this.template.content.firstElementChild?.cloneNode(true));
    const [button] = frame.getElementsByTagName("button");
    const [photo, picture] = frame.getElementsByTagName("img");
    const tile = { frame, button, photo, picture, item, isNear: false, photoUrl: null };
    if (this.#tiles.size === 0) button.tabIndex = 0;
    button.addEventListener("click", () => isOpenable(tile.item) && this.onOpen(tile.item.name));
    photo.addEventListener("load", () => (photo.hidden = tile.photoUrl === null));
    picture.addEventListener("load", () => this.#reveal(tile));
    picture.addEventListener("error", () => setTimeout(() => this.#loadAgain(tile), AGAIN_MS));
    this.#tiles.set(item.name, tile);
    frame.dataset.name = item.name;
    this.list.append(frame);
    this.#nearness.observe(frame);
    return tile;
  }

  /** @param {IntersectionObserverEntry[]} seen */
  #see(seen) {
    for (const { target, isIntersecting } of seen) {
      const tile = this.#tiles.get(/** @type {HTMLElement} */ (target).dataset.name ?? "");
      if (!tile) continue;
      tile.isNear = isIntersecting;
      this.#drawImages(tile);
    }
  }

  /** @param {Tile} tile */
  #drawImages(tile) {
    const url = tile.item.state === "succeeded" ? (tile.item.job?.links.result ?? null) : null;
    tile.picture.hidden = url === null;
    if (url === null) tile.frame.classList.remove("drawn");
    if (url !== null && tile.picture.getAttribute("src") !== url) tile.picture.src = url;
    if (!tile.isNear || tile.item.state === "failed") letGo(tile);
    if (!tile.isNear) return;
    if (!tile.frame.classList.contains("drawn") && tile.photoUrl === null) this.#showPhoto(tile);
  }

  /** @param {Tile} tile */
  async #showPhoto(tile) {
    const isBroken = tile.item.error !== null && words.reasonOf(tile.item.error).isBroken;
    const url = isBroken ? null : await this.photoOf(tile.item);
    if (url === null) return;
    if (!tile.isNear || tile.photoUrl !== null || tile.frame.classList.contains("drawn")) {
      return URL.revokeObjectURL(url);
    }
    tile.photoUrl = url;
    tile.photo.src = url;
  }

  /** @param {Tile} tile */
  #reveal(tile) {
    tile.frame.classList.add("drawn");
    setTimeout(() => tile.frame.classList.contains("drawn") && letGo(tile), 600); // when it has faded in over the photo
  }

  /** @param {Tile} tile whose picture did not come, perhaps because the connection is lost */
  #loadAgain(tile) {
    if (!tile.frame.isConnected || tile.item.state !== "succeeded") return;
    tile.picture.removeAttribute("src");
    this.#drawImages(tile);
  }

  /** @param {KeyboardEvent} event arrows go from tile to tile; Tab goes on to what follows the grid */
  #move(event) {
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const steps = new Map([...STEPS, ["ArrowUp", -columns], ["ArrowDown", columns]]);
    const step = steps.get(event.key);
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const frames = /** @type {HTMLElement[]} */ ([...this.list.children]);
    const place = frames.findIndex((frame) => frame.contains(document.activeElement)) + step;
    event.preventDefault();
    if (Number.isFinite(step) && !frames[place]) return;
    this.focus(frames[Math.max(0, Math.min(frames.length - 1, place))].dataset.name ?? "");
  }

  /** @param {HTMLElement} button */
  #stayAt(button) {
    for (const other of this.list.querySelectorAll("button[tabindex='0']")) {
      /** @type {HTMLElement} */ (other).tabIndex = -1;
    }
    button.tabIndex = 0;
  }
}

/** @param {Item} item whether there is something to see, or a reason to read */
export function isOpenable({ state }) {
  return state === "succeeded" || state === "failed";
}

/** @param {Tile} tile */
function letGo(tile) {
  if (tile.photoUrl) URL.revokeObjectURL(tile.photoUrl);
  tile.photoUrl = null;
  tile.photo.hidden = true;
  tile.photo.removeAttribute("src");
}
