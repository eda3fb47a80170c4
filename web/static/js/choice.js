/**
 * Chosen, dropped or pasted files, sorted into photos, archives and others.
 *
 * @typedef {{name: string, file: File}} Photo its name is its path within the choice
 *
 * @typedef {object} Choice
 * @property {string | null} title the folder's or the archive's name
 * @property {Photo[]} photos in the order of their names
 * @property {File[]} archives
 * @property {number} leftOut how many files are no photos
 * @property {number} hidden how many photos are hidden, or kept beside photos by a program
 *
 * @typedef {{path: string, file: File}} Found
 */

import { folded, freeName, isClutter, isPhotoName, safeName } from "./filenames.js";

const PHOTO_TYPE = /^image\/(?!svg)/;
const ARCHIVE_NAME = /\.zip$/i;
const SHADOW = /(^|\/)(__MACOSX\/|\._)/i; // what macOS puts beside every file, and nobody misses
const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * @param {Iterable<File>} files
 * @returns {Choice}
 */
export function choiceOfFiles(files) {
  return sorted([...files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/**
 * @param {DataTransfer} data must be read at once: its entries are gone when the event is over
 * @returns {Promise<Choice>}
 */
export async function choiceOfDrop(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.() ?? null).filter((entry) => entry !== null);
  const files = [...data.files];
  if (!entries.some((entry) => entry.isDirectory)) return choiceOfFiles(files);
  /** @type {Found[]} */
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return sorted(found);
}

/**
 * @param {FileSystemEntry} entry
 * @param {Found[]} found
 */
async function walk(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await fileOf(/** @type {FileSystemFileEntry} */ (entry));
    if (file) found.push({ path, file });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (let some = await readSome(reader); some.length > 0; some = await readSome(reader)) {
    for (const child of some) await walk(child, found);
  }
}

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<File | null>} null for one that cannot be read
 */
function fileOf(entry) {
  return new Promise((resolve) => entry.file(resolve, () => resolve(null)));
}

/**
 * @param {FileSystemDirectoryReader} reader
 * @returns {Promise<FileSystemEntry[]>} about a hundred at a time, none at the end
 */
function readSome(reader) {
  return new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
}

/**
 * @param {Found[]} found
 * @returns {Choice}
 */
function sorted(found) {
  const { title, inside } = withoutTop(found);
  const above = title !== null && !isClutter(`${title}/`) ? `${title}/` : ""; // a hidden folder itself may be intended
  const isAlone = found.length === 1; // a single file is intended, whatever its name
  const clutter = new Set(isAlone ? [] : inside.filter(({ path }) => isClutter(above + path)));
  const seen = inside.filter((one) => !clutter.has(one));
  const hidden = [...clutter].filter(({ path, file }) => isPhoto(file) && !SHADOW.test(path));
  const archives = seen.filter(({ file }) => ARCHIVE_NAME.test(file.name)).map(({ file }) => file);
  const photos = seen.filter((one) => !ARCHIVE_NAME.test(one.file.name) && (isAlone || isPhoto(one.file)));
  const only = archives.length === 1 && photos.length === 0 ? archives[0].name.replace(ARCHIVE_NAME, "") : null;
  return {
    title: title ?? only,
    photos: named(photos),
    archives,
    leftOut: seen.length - photos.length - archives.length,
    hidden: hidden.length,
  };
}

/**
 * A folder that holds everything names the album, and no photo.
 *
 * @param {Found[]} found
 * @returns {{title: string | null, inside: Found[]}}
 */
function withoutTop(found) {
  const [top, ...others] = new Set(found.map(({ path }) => path.slice(0, Math.max(0, path.indexOf("/")))));
  if (!top || others.length > 0) return { title: null, inside: found };
  return { title: top, inside: found.map(({ path, file }) => ({ path: path.slice(top.length + 1), file })) };
}

/** @param {File} file */
function isPhoto(file) {
  return PHOTO_TYPE.test(file.type) || isPhotoName(file.name);
}

/**
 * @param {Found[]} found
 * @returns {Photo[]} each under a name of its own, which the service takes as it is
 */
function named(found) {
  const taken = new Set();
  const photos = found.map(({ path, file }) => {
    const name = freeName(safeName(path), taken);
    taken.add(folded(name));
    return { name, file };
  });
  return photos.sort((one, other) => byName.compare(one.name, other.name));
}
