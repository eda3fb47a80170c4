/** One photo, its job, and the way between; `single-view.js` shows it. */

import { putInAddress } from "./address.js";
import { ProblemError, cancelJob, getJob, isOver, newKey, submitPhoto } from "./api.js";
import { Cropper } from "./crop.js";
import { addThumbnail, forget, remember } from "./earlier.js";
import { follow } from "./follow.js";
import { keepPhoto, keptPhoto } from "./kept-photos.js";
import { chooseOptions, chosenOptions, titleOf } from "./options.js";
import { withRetries } from "./retry.js";
import * as view from "./single-view.js";
import { previewStyles, showExamples } from "./style-previews.js";
import { thumbnailOf } from "./thumbnails.js";
import { part } from "./view.js";
import * as words from "./words.js";

/** @typedef {import("./api.js").Job} Job */

const REDRAW_AFTER_MS = 250; // the arrow keys may pass over other styles
const cropper = new Cropper(takePart);
const maxBytes = Number(part("workbench").dataset.maxUploadBytes);
/** @type {HTMLInputElement} */
const input = part("photo");
let redrawTimer = 0;

/** The current subject of the page. `run` aborts all its work when another one replaces it. */
const now = {
  /** @type {File | null} */ photo: null,
  /** @type {File | null} before it was cropped */ whole: null,
  /** @type {string | null} */ photoUrl: null,
  mayDraw: true,
  /** @type {Job | null} */ job: null,
  /** @type {Map<string, Job>} the finished ones of this photo, by their options */ drawn: new Map(),
  run: new AbortController(),
};

part("options").addEventListener("submit", (event) => (event.preventDefault(), draw()));
part("options").addEventListener("change", changeOptions);
part("again").addEventListener("click", draw);
part("another").addEventListener("click", () => input.click());
part("cancel").addEventListener("click", cancel);
part("crop").addEventListener("click", () => now.photo && cropper.open(now.whole ?? now.photo));

/** @param {File} photo */
export function takePhoto(photo) {
  giveUp();
  hold(photo);
  view.showPhoto(now);
  scrollTo({ top: 0 });
  if (photo.size <= maxBytes) return draw();
  putInAddress({});
  fail(words.tooManyBytes(photo.size, maxBytes));
}

/** @param {File} photo cropped or rotated, to be drawn in place of the whole one */
function takePart(photo) {
  now.whole ??= now.photo;
  own(photo);
  now.drawn.clear();
  view.showPhoto(now);
  draw();
}

/** An unfinished picture is no longer wanted. */
function giveUp() {
  if (!now.job || isOver(now.job)) return;
  forget(now.job.id);
  cancelJob(now.job).catch(() => {});
}

/** The reader goes elsewhere; the job goes on, and its address leads back to it. */
export function setPhotoAside() {
  hold(null);
}

/** Report that the choice contains no photo. */
export function sayNothingIn() {
  hold(null);
  fail({ title: words.NO_PHOTOS_FOUND, detail: words.PLEASE_PHOTOS, mayRetry: false, isBroken: true });
}

/** Draw the photo at once as it is now wanted, or show the example so. */
function changeOptions() {
  clearTimeout(redrawTimer);
  if (now.photo && now.mayDraw) redrawTimer = setTimeout(draw, REDRAW_AFTER_MS);
  else view.refreshExample();
}

/** Send the current photo and follow its job to the end. */
async function draw() {
  clearTimeout(redrawTimer);
  const { photo, job: before } = now;
  if (!photo) return;
  giveUp();
  const signal = startRun();
  const options = chosenOptions();
  try {
    const job = drawnAlready(options) ?? (await submit(photo, options, signal));
    keep(job, photo, before);
    previewStyles(photo);
    await finish(job, signal);
    if (now.job?.state === "succeeded") now.drawn.set(JSON.stringify(options), now.job);
  } catch (error) {
    if (!signal.aborted && !now.job) putInAddress({}); // it names what was there before this photo
    explain(error, signal);
  }
}

/** @param {import("./api.js").Options} options */
function drawnAlready(options) {
  const job = now.drawn.get(JSON.stringify(options));
  return job && Date.parse(job.expires_at ?? "") > Date.now() ? job : null;
}

/**
 * Send until the service accepts or refuses the photo; the key makes it safe to send again what did arrive.
 *
 * @param {File} photo
 * @param {import("./api.js").Options} options
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
function submit(photo, options, signal) {
  const key = newKey();
  const send = () => (view.showSending(0), submitPhoto(photo, options, { key, onSent: view.showSending }, signal));
  const wait = (/** @type {ProblemError} */ problem) => view.showWaiting("uploading", problem);
  return withRetries(send, wait, signal);
}

/** @param {string | null} id the job that the address names now */
export async function findPicture(id) {
  if (id && id === now.job?.id) return;
  hold(null);
  if (!id) return view.showStart();
  const signal = startRun();
  view.showFinding();
  try {
    const [photo, job] = await Promise.all([keptPhoto(id), getJob(id, signal)]);
    if (signal.aborted) return;
    own(photo);
    chooseOptions(job);
    view.showPhoto(now);
    if (photo) previewStyles(photo);
    await finish(job, signal);
  } catch (error) {
    explain(error, signal);
  }
}

/**
 * @param {Job} job
 * @param {AbortSignal} signal
 */
async function finish(job, signal) {
  const onChange = (/** @type {Job} */ changed) => view.showUnderWay((now.job = changed));
  const watcher = { onChange, onSilence: () => view.showWaiting("running") };
  const ended = await follow(job, watcher, signal);
  now.job = ended;
  if (ended.state === "succeeded") return present(ended, signal);
  if (ended.state === "canceled") return stop();
  const reason = words.whyNot(ended);
  if (!reason.mayRetry) forget(ended.id); // nothing comes of it any more
  fail(reason);
}

async function cancel() {
  try {
    const job = now.job && (await cancelJob(now.job));
    if (job?.state !== "succeeded") stop();
  } catch (error) {
    explain(error, now.run.signal);
  }
}

/** Become idle, keeping the current photo if there is one. */
function stop() {
  startRun();
  if (now.job) forget(now.job.id);
  now.job = null;
  putInAddress({});
  view.showCanceled(now);
}

/** @param {File | null} photo */
function hold(photo) {
  clearTimeout(redrawTimer);
  startRun();
  own(photo);
  now.job = null;
  now.whole = null;
  now.mayDraw = true;
  now.drawn.clear();
}

/** @param {File | null} photo */
function own(photo) {
  if (now.photoUrl) URL.revokeObjectURL(now.photoUrl);
  showExamples();
  now.photo = photo;
  now.photoUrl = photo && URL.createObjectURL(photo);
}

/** @returns {AbortSignal} of the new run; the one before ends here */
function startRun() {
  now.run.abort();
  now.run = new AbortController();
  return now.run.signal;
}

/**
 * Make the job findable after a reload, with its photo. It takes the place of the same photo's picture `before`, in the
 * address and the list: going back leads to what was there before the photo.
 *
 * @param {Job} job
 * @param {File} photo
 * @param {Job | null} before
 */
function keep(job, photo, before) {
  now.job = job;
  putInAddress({ job: job.id }, { isSamePlace: before !== null });
  if (before && before.id !== job.id) forget(before.id);
  const { id, style, max_side, expires_at } = job;
  const until = Date.parse(expires_at ?? "");
  remember({ kind: "job", id, name: photo.name, count: 1, at: Date.now(), until, style: titleOf(style), max_side });
  keepPhoto(id, photo);
}

/**
 * @param {Job} job
 * @param {AbortSignal} signal
 */
async function present(job, signal) {
  await view.showPicture(job, now, signal);
  if (!signal.aborted) addThumbnail(job.id, await thumbnailOf(job.links.result));
}

/** @param {import("./words.js").Reason} reason */
function fail(reason) {
  now.mayDraw = reason.mayRetry;
  view.showFailure(reason, now.photo);
}

/**
 * @param {unknown} error
 * @param {AbortSignal} signal of the run that it ended
 */
function explain(error, signal) {
  if (signal.aborted) return; // another subject has replaced it
  fail(words.reasonOf(error instanceof ProblemError ? error : new ProblemError({ detail: String(error) })));
}
