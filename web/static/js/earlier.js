/**
 * Earlier pictures and albums of this browser, kept only in its storage, until the service has erased them.
 *
 * @typedef {object} Earlier
 * @property {"job" | "album"} kind
 * @property {string} id
 * @property {string} name
 * @property {number} count of its photos
 * @property {number} at when it was begun, in milliseconds since the epoch
 * @property {number} until when the service erases it
 * @property {string} style what it is called
 * @property {number} max_side in pixels
 * @property {string} [thumbnail] of the picture, or of an album's first one, as a data URL
 */

const KEY = "sakuga.earlier";
const MOST = 12;

/** @returns {Earlier[]} newest first */
export function earlier() {
  /** @type {Earlier[]} */
  const all = read(KEY) ?? [];
  return all.filter((one) => one.until > Date.now());
}

/** @param {Earlier} one adds to what is known of it */
export function remember(one) {
  const [known, others] = [earlier().filter(({ id }) => id === one.id), earlier().filter(({ id }) => id !== one.id)];
  const kept = [{ ...known[0], ...one }, ...others].sort((a, b) => b.at - a.at);
  write(KEY, kept.slice(0, MOST));
  for (const { id } of kept.slice(MOST)) forgetNames(id);
}

/**
 * @param {import("./albums.js").Album} album
 * @param {number} count of its photos
 * @param {string} style what its style is called
 */
export function rememberAlbum({ id, name, created_at, expires_at, max_side }, count, style) {
  const [at, until] = [Date.parse(created_at), Date.parse(expires_at)];
  remember({ kind: "album", id, name: name ?? "", count, at, until, style, max_side });
}

/**
 * @param {string} id
 * @param {string | null} thumbnail null for none
 */
export function addThumbnail(id, thumbnail) {
  const known = earlier().find((one) => one.id === id);
  if (known && thumbnail) remember({ ...known, thumbnail });
}

/** @param {() => void} onChange called when another tab has changed the list */
export function watchEarlier(onChange) {
  addEventListener("storage", (event) => event.key === KEY && onChange());
}

/** @param {string} id */
export function forget(id) {
  write(KEY, earlier().filter((one) => one.id !== id));
  forgetNames(id);
}

/**
 * Remember which photos an album is to have; after a reload during upload, there is no other record of it.
 *
 * @param {string} albumId
 * @param {string[]} names in their order
 */
export function rememberNames(albumId, names) {
  write(namesKey(albumId), names);
}

/**
 * @param {string} albumId
 * @returns {string[]}
 */
export function rememberedNames(albumId) {
  return read(namesKey(albumId)) ?? [];
}

/** @param {string} albumId */
function forgetNames(albumId) {
  write(namesKey(albumId), null);
}

/** @param {string} albumId */
function namesKey(albumId) {
  return `sakuga.names.${albumId}`;
}

/** @param {string} key */
function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null; // storage is switched off
  }
}

/**
 * @param {string} key
 * @param {unknown} value null for none
 */
function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // storage is full or switched off: the address alone finds it again
  }
}
