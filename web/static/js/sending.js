/** Uploading photos to an album: a few at a time, each until it is accepted or refused. */

import { sendPhoto, sendArchive } from "./albums.js";
import { ProblemError } from "./api.js";
import { withRetries } from "./retry.js";

const AT_A_TIME = 3;
const HIDDEN = "hidden"; // as the service has it

/**
 * @typedef {import("./albums.js").Album} Album
 * @typedef {import("./choice.js").Photo} Photo
 *
 * @typedef {object} Sender
 * @property {(photo: Photo) => void} onStart
 * @property {(photo: Photo) => void} onSent
 * @property {(name: string, problem: import("./albums.js").Trouble) => void} onRefused of a photo, or a whole archive
 * @property {(counts: {leftOut: number, hidden: number}) => void} onSkipped files of an archive that are no photos
 * @property {(share: number) => void} onArchive how much of the archive under way is sent
 * @property {(problem: ProblemError) => void} onWait the service is busy or down; the request is retried
 */

/**
 * @param {Album} album
 * @param {Photo[]} queue shrinks; may grow in the meantime
 * @param {Sender} sender
 * @param {AbortSignal} signal
 */
export async function sendPhotos(album, queue, sender, signal) {
  const lane = async () => {
    for (let photo = queue.shift(); photo; photo = queue.shift()) await sendOne(album, photo, sender, signal);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
}

/**
 * @param {Album} album
 * @param {File} archive
 * @param {Sender} sender
 * @param {AbortSignal} signal
 */
export async function sendWhole(album, archive, sender, signal) {
  try {
    const send = () => sendArchive(album, archive, sender.onArchive, signal);
    const { rejected, skipped } = await withRetries(send, sender.onWait, signal);
    for (const { name, error } of rejected) sender.onRefused(name, error);
    const hidden = skipped.filter(({ code }) => code === HIDDEN).length;
    sender.onSkipped({ leftOut: skipped.length - hidden, hidden });
  } catch (error) {
    sender.onRefused(archive.name, refusal(error));
  }
}

/**
 * @param {Album} album
 * @param {Photo} photo
 * @param {Sender} sender
 * @param {AbortSignal} signal
 */
async function sendOne(album, photo, sender, signal) {
  sender.onStart(photo);
  try {
    await withRetries(() => sendPhoto(album, photo, signal), sender.onWait, signal);
  } catch (error) {
    return sender.onRefused(photo.name, refusal(error));
  }
  sender.onSent(photo);
}

/**
 * @param {unknown} error
 * @returns {ProblemError} the problem of this photo; one that ends the whole album is thrown
 */
function refusal(error) {
  if (error instanceof ProblemError && error.status !== 404) return error;
  throw error;
}
