/** The view of a single photo and its picture, or of the example in their place. */

import { Compare } from "./compare.js";
import { chosenOptions, exampleOf } from "./options.js";
import { offerPicture } from "./saving.js";
import { More } from "./sharing.js";
import { blurBar, fillBar, part, show } from "./view.js";
import * as words from "./words.js";

/**
 * @typedef {import("./api.js").Job} Job
 *
 * @typedef {object} Subject The visible state of the photo.
 * @property {File | null} photo null for none
 * @property {string | null} photoUrl
 */

const EXAMPLE_CAPTION = part("caption").textContent ?? "";
const compare = new Compare(part("compare"));
const more = new More(part("more"));
let isExample = true;

export function showStart() {
  show("empty");
  showExample();
}

/** @param {Subject} subject the photo alone is shown */
export function showPhoto({ photo, photoUrl }) {
  display({ before: photoUrl, after: null }, photo);
}

/** Show the example, if it is there, as the options are now. */
export function refreshExample() {
  if (isExample) showExample();
}

/** It is not known yet how the picture was drawn. */
export function showFinding() {
  show("queued", words.FINDING);
  part("options").hidden = true;
  blurBar();
}

/** @param {number} share of the photo */
export function showSending(share) {
  show("uploading", words.sending(share));
  if (share < 1) fillBar(share);
  else blurBar();
}

/** @param {Job} job */
export function showUnderWay(job) {
  show(job.state === "queued" ? "queued" : "running", words.underWay(job));
  if (job.state === "queued") blurBar();
  else if (job.stage === "generate" && job.eta_s !== null) fillBar(job.progress, { goal: 0.9, glide_s: job.eta_s });
  else fillBar(job.progress);
}

/**
 * @param {import("./view.js").PageState} state
 * @param {import("./api.js").ProblemError} [problem] that passes: the service is busy, or else it does not respond
 */
export function showWaiting(state, problem) {
  show(state, problem?.retry_after_s ? words.busyNow(problem) : words.SILENCE);
  blurBar();
}

/**
 * @param {Job} job
 * @param {Subject} subject
 * @param {AbortSignal} signal
 */
export async function showPicture(job, { photo, photoUrl }, signal) {
  const wasShown = compare.frame.dataset.shown === "both";
  const shown = await display({ before: photoUrl, after: job.links.result }, photo);
  if (signal.aborted) return;
  show("done", words.finished(job));
  part("options").hidden = !photo; // the browser did not keep it: there is none to draw again
  if (shown === "both" && !wasShown) compare.reveal();
  const picture = await offerPicture(part("save"), job, photo, signal);
  if (signal.aborted) return;
  more.offer(picture, compare.before);
  part("crop").hidden = !photo || compare.before.hidden;
}

/** @param {Subject} subject still there, if there was one */
export function showCanceled({ photo }) {
  if (photo) show("chosen", words.CANCELED);
  else showStart();
}

/**
 * @param {import("./words.js").Reason} reason
 * @param {File | null} photo
 */
export function showFailure({ title, detail, mayRetry, isBroken }, photo) {
  show("failed", { headline: title, story: photo?.name ?? "" });
  part("reason").textContent = detail;
  part("again").hidden = !(mayRetry && photo);
  if (!photo) showExample();
  else if (isBroken) display({ before: null, after: null }, photo);
}

/**
 * @param {{before: string | null, after: string | null}} sources
 * @param {File | null} photo
 */
function display(sources, photo) {
  isExample = false;
  caption(photo?.name ?? "");
  return compare.show(sources);
}

function showExample() {
  isExample = true;
  caption(EXAMPLE_CAPTION);
  compare.show(exampleOf(chosenOptions().style));
}

/** @param {string} words */
function caption(words) {
  part("caption").hidden = !words;
  part("caption").textContent = words;
}
