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
 * @property {number} hidden how many photos are hidden, or in a folder of a program's own
 *
 * @typedef {{path: string, file: File}} Found
 */

const PHOTO_TYPE = /^image\/(?!svg)/;
const PHOTO_NAME = /\.(jpe?g|jpe|jfif|mpo|png|apng|webp|hei[cf]|hif|avif|tiff?|gif|bmp|jp2|tga|ppm|pgm|pbm|psd)$/i;
const ARCHIVE_NAME = /\.zip$/i;
const HIDDEN =
  /(^|\/)(\.|(__MACOSX|@eaDir|@__thumb|#recycle|#snapshot|\$RECYCLE\.BIN|System Volume Information|lost\+found)\/|[^/]+\.lrdata\/)/i;
const JUNK = /(^|\/)(__MACOSX\/|\._|Thumbs\.db$|desktop\.ini$)/i; // what systems leave behind, and nobody misses
// Rules for the parts of a name, as the service has them in `shared/photos/filenames.py`
const MAX_PARTS = 8;
const MAX_PART_BYTES = 235;
const WINDOWS_DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)/i;
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
  const isAlone = found.length === 1; // a single file is intended, whatever its name
  const seen = inside.filter(({ path }) => isAlone || !(HIDDEN.test(path) || JUNK.test(path)));
  const hidden = isAlone ? [] : inside.filter(({ path }) => HIDDEN.test(path) && !JUNK.test(path));
  const archives = seen.filter(({ file }) => ARCHIVE_NAME.test(file.name)).map(({ file }) => file);
  const photos = seen.filter((one) => !ARCHIVE_NAME.test(one.file.name) && (isAlone || isPhoto(one.file)));
  const only = archives.length === 1 && photos.length === 0 ? archives[0].name.replace(ARCHIVE_NAME, "") : null;
  return {
    title: title ?? only,
    photos: named(photos),
    archives,
    leftOut: seen.length - photos.length - archives.length,
    hidden: hidden.filter(({ file }) => isPhoto(file)).length,
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
  return PHOTO_TYPE.test(file.type) || PHOTO_NAME.test(file.name);
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

/**
 * A name that stays distinct where file systems and the service's archives ignore case, too.
 *
 * @param {string} name
 * @param {Set<string>} taken names, each `folded`
 */
export function freeName(name, taken) {
  const [, stem, suffix] = /** @type {RegExpMatchArray} */ (name.match(/^(.*?)(\.[^./]*)?$/s));
  let free = name;
  for (let number = 2; taken.has(folded(free)); number++) free = `${stem} (${number})${suffix ?? ""}`;
  return free;
}

/**
 * The same text for all names that differ in case alone; like Python's `casefold`, it turns "ß" into "ss".
 *
 * @param {string} name
 */
export function folded(name) {
  return name.toUpperCase().toLowerCase();
}

/**
 * The name the service would make of it, so that both call the photo the same.
 *
 * @param {string} path
 */
function safeName(path) {
  const plain = path.normalize("NFC").replaceAll("\\", "/").replace(/[\x00-\x1f\x7f<>:"|?*]/g, "_");
  const parts = plain.split("/").filter((part) => part.replace(/[ .]/g, ""));
  return parts.slice(-MAX_PARTS).map(safePart).join("/") || "photo";
}

/** @param {string} part */
function safePart(part) {
  const trimmed = withoutEnd(part.replace(/^ +/, ""));
  const name = WINDOWS_DEVICE.test(trimmed) ? `_${trimmed}` : trimmed;
  const [, stem, suffix = ""] = /** @type {RegExpMatchArray} */ (name.match(/^(.+?)(\.[^.]{1,8})?$/su));
  return withoutEnd(cut(stem, MAX_PART_BYTES - byteLength(suffix)) + suffix) || "_";
}

/** @param {string} name without the spaces and dots that Windows drops at its end */
function withoutEnd(name) {
  return name.replace(/[ .]+$/, "");
}

/** @param {string} text */
function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

/**
 * @param {string} text
 * @param {number} bytes the most in UTF-8; a character that would be cut in two is left out
 */
function cut(text, bytes) {
  const start = new TextEncoder().encode(text).subarray(0, bytes);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(start, { stream: true });
}
