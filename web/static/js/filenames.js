/**
 * The files that are photos, and names that are safe on every system: the rules of `shared/photos/filenames.py`, so that
 * the page and the service call a photo the same.
 */

const PHOTO = new RegExp(
  "[^/]\\.(jpe?g|jpe|jfif|jps|mpo|a?png|webp|hei[cf]s?|hif|avifs?|tiff?|gif|bmp|dib" +
    "|jp2|j2[kc]|jp[cfx]|jxl|jxr|wdp|hdp|jls|ps[db]|tga|dds|qoi|pcx|p[pgbn]m|sgi|exr|hdr|xcf|bpg|flif" +
    "|3fr|arw|cr[23w]|dcr|dng|eip|erf|fff|gpr|iiq|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|raw|rw2|rwl|sr[2fw]|x3f)$",
  "i",
);
const CLUTTER = new RegExp(
  "(^|/)(" +
    [
      "\\.(?!\\.?(/|$))",
      "__MACOSX/|(Network Trash Folder|Temporary Items)/",
      "(Thumbs|ehthumbs(_vista)?)\\.db$|desktop\\.ini$",
      "(\\$RECYCLE\\.BIN|RECYCLER|System Volume Information)/",
      "(@eaDir|#recycle|#snapshot|@tmp|@sharebin)/",
      "(@Recycle|@Recently-Snapshot|@__thumb)/",
      "(lost\\+found|\\$Trash\\$|trashbox|files_trashbin)/",
      "[^/]+\\.lrdata/",
      "[^/]+\\.(photoslibrary|photolibrary|aplibrary|migratedphotolibrary)/(?!originals/|masters/|$)",
      "CaptureOne/(Cache|Settings)/|[^/]+\\.cocatalog/(?!originals/|$)",
      "THMBNL/|[^/]+\\.thm$",
    ].join("|") +
    ")",
  "i",
);
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]/gu;
const WINDOWS_DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)/i;
const MAX_PARTS = 8;
const MAX_PART_BYTES = 235;
const MAX_PATH_BYTES = 800;

/** @param {string} path of a file, or of a folder with a slash at its end */
export function isClutter(path) {
  return CLUTTER.test(path.replaceAll("\\", "/"));
}

/** @param {string} name */
export function isPhotoName(name) {
  return PHOTO.test(name);
}

/**
 * The name the service would make of it.
 *
 * @param {string} path
 */
export function safeName(path) {
  const plain = path.normalize("NFC").replaceAll("\\", "/").replace(UNPRINTABLE, "_");
  const parts = plain.split("/").filter((part) => part.replace(/[ .]/g, "")).slice(-MAX_PARTS).map(safePart);
  while (byteLength(parts.join("/")) > MAX_PATH_BYTES) parts.shift();
  return parts.join("/") || "photo";
}

/**
 * A name that stays distinct where file systems and the service's archives ignore case, too.
 *
 * @param {string} name
 * @param {Set<string>} taken names, each `folded`
 */
export function freeName(name, taken) {
  let free = name;
  for (let number = 2; taken.has(folded(free)); number++) free = withNumber(name, number);
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
 * @param {string} name
 * @param {number} number
 */
function withNumber(name, number) {
  const start = name.lastIndexOf("/") + 1;
  const { stem, suffix } = split(name.slice(start));
  const end = ` (${number})${suffix}`;
  return name.slice(0, start) + cut(stem, MAX_PART_BYTES - byteLength(end)) + end;
}

/** @param {string} part */
function safePart(part) {
  const name = short(part);
  return WINDOWS_DEVICE.test(name) ? short(`_${name}`) : name;
}

/** @param {string} part */
function short(part) {
  const { stem, suffix } = split(withoutEnd(part.replace(/^ +/, "")));
  return withoutEnd(cut(stem, MAX_PART_BYTES - byteLength(suffix)) + suffix) || "_";
}

/**
 * A name's stem and its extension, if that is as short as those are.
 *
 * @param {string} name
 */
function split(name) {
  const [, stem, suffix = ""] = /** @type {RegExpMatchArray} */ (name.match(/^(.+?)(\.[^.]{1,8})?$/su));
  return { stem, suffix };
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
