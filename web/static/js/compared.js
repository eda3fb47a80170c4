/** The chosen photos that an album lacks, so that an interrupted upload resumes without sending a byte twice. */

import { missingFrom } from "./albums.js";
import { folded, freeName } from "./filenames.js";
import { sha256 } from "./digest.js";

/**
 * @typedef {import("./choice.js").Photo} Photo
 * @typedef {import("./album-items.js").Item} Item
 */

/**
 * Compare by content, or by name where the browser computes no digests.
 *
 * @param {Photo[]} photos
 * @param {import("./albums.js").Album} album
 * @param {Map<string, Item>} items what is known of the album, by name
 * @param {AbortSignal} signal
 * @returns {Promise<{lacking: Photo[], known: {item: Item, file: File}[]}>} what is to be sent, under names that are
 * free in the album, and the files of what is there
 */
export async function compared(photos, album, items, signal) {
  const digests = await digestsOf(photos, signal);
  const known = [...new Set(digests.filter((digest) => digest !== null))];
  const missing = known.length ? await missingFrom(album, known, signal) : new Set();
  /** @type {{lacking: Photo[], known: {item: Item, file: File}[]}} */
  const result = { lacking: [], known: [] };
  const taken = new Set([...items].filter(([, item]) => item.job).map(([name]) => folded(name)));
  for (const [place, { name, file }] of photos.entries()) {
    const item = items.get(name);
    const digest = digests[place];
    const isLacking = item?.state === "missing" || (digest ? missing.has(digest) : !item?.job);
    const isExpected = item && !item.job; // the album waits for a photo under this very name
    if (isLacking) result.lacking.push({ name: isExpected ? name : freeName(name, taken), file });
    const same = isLacking ? undefined : (withContent(items, digest) ?? item);
    if (same) result.known.push({ item: same, file });
  }
  return result;
}

/**
 * One after the other: each file is in memory as a whole.
 *
 * @param {Photo[]} photos
 * @param {AbortSignal} signal
 */
async function digestsOf(photos, signal) {
  const digests = [];
  for (const { file } of photos) {
    signal.throwIfAborted();
    digests.push(await sha256(file));
  }
  return digests;
}

/**
 * @param {Map<string, Item>} items
 * @param {string | null} digest
 */
function withContent(items, digest) {
  return digest ? [...items.values()].find((item) => item.sha256 === digest) : undefined;
}
