/** One photo, its picture, and the way between. */

import { putInAddress } from "./address.js";
import { ProblemError, cancelJob, getJob, isOver, submitPhoto } from "./api.js";
import { Compare } from "./compare.js";
import { forget, remember } from "./earlier.js";
import { follow } from "./follow.js";
import { keepPhoto, keptPhoto } from "./session-photo.js";
import { nameAfter, offerPicture } from "./saving.js";
import { blurBar, fillBar, part, show } from "./view.js";
import * as words from "./words.js";

/** @typedef {import("./api.js").Job} Job */

const compare = new Compare(part("compare"));
const example = { before: compare.before.getAttribute("src"), after: compare.after.getAttribute("src") };
const maxBytes = Number(part("workbench").dataset.maxUploadBytes);
/** @type {HTMLInputElement} */
const input = part("photo");

/** The current subject of the page. `run` aborts all its work when another one replaces it. */
const now = {
  /** @type {File | null} */ photo: null,
  /** @type {string | null} */ photoUrl: null,
  /** @type {Promise<unknown>} */ previewed: Promise.resolve(null),
  /** @type {Job | null} */ job: null,
  run: new AbortController(),
};

part("options").addEventListener("submit", (event) => (event.preventDefault(), draw()));
part("again").addEventListener("click", draw);
part("another").addEventListener("click", () => input.click());
part("cancel").addEventListener("click", cancel);

/** @param {File} photo */
export function takePhoto(photo) {
  giveUp();
  hold(photo);
  now.previewed = display({ before: now.photoUrl, after: null });
  scrollTo({ top: 0 });
  if (photo.size > maxBytes) fail(words.tooManyBytes(photo.size, maxBytes));
  else draw();
}

/** Replace the current photo: an unfinished picture of it is no longer wanted. */
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
  fail({ title: words.NOTHING_IN, detail: words.PLEASE_PHOTOS, mayRetry: false, isBroken: true });
}

/** Send the current photo and follow its job to the end. */
async function draw() {
  const { photo } = now;
  if (!photo) return;
  const signal = startRun();
  now.job = null;
  showSending(0);
  try {
    const job = await submitPhoto(photo, chosenOptions(), showSending, signal);
    await keep(job);
    await finish(job, signal);
  } catch (error) {
    explain(error, signal);
  }
}

/** @param {string | null} id the job that the address names now */
export async function findPicture(id) {
  if (id && id === now.job?.id) return;
  hold(null);
  if (!id) return showStart();
  const signal = startRun();
  show("queued", words.FINDING);
  blurBar();
  try {
    now.previewed = display({ before: keptPhoto(id), after: null });
    await finish(await getJob(id, signal), signal);
  } catch (error) {
    explain(error, signal);
  }
}

/**
 * @param {Job} job
 * @param {AbortSignal} signal
 */
async function finish(job, signal) {
  const ended = await follow(job, { onChange: showUnderWay, onSilence: showSilence }, signal);
  now.job = ended;
  if (ended.state === "succeeded") return showPicture(ended, signal);
  if (ended.state === "canceled") return stop();
  fail(words.whyNot(ended));
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
  if (now.photo) show("chosen", words.CANCELED);
  else showStart();
}

/** @param {File | null} photo */
function hold(photo) {
  startRun();
  if (now.photoUrl) URL.revokeObjectURL(now.photoUrl);
  now.photo = photo;
  now.photoUrl = photo && URL.createObjectURL(photo);
  now.job = null;
}

/** @returns {AbortSignal} of the new run; the one before ends here */
function startRun() {
  now.run.abort();
  now.run = new AbortController();
  return now.run.signal;
}

/**
 * Make the job findable after a reload, its photo too.
 *
 * @param {Job} job
 */
async function keep(job) {
  now.job = job;
  putInAddress({ job: job.id });
  remember({
    kind: "job",
    id: job.id,
    name: now.photo?.name ?? "",
    count: 1,
    at: Date.now(),
    until: Date.parse(job.expires_at ?? ""),
  });
  await now.previewed;
  if (now.job?.id === job.id && !compare.before.hidden) keepPhoto(job.id, compare.before);
}

/** @returns {import("./api.js").Options} */
export function chosenOptions() {
  /** @type {HTMLFormElement} */
  const form = part("options");
  return /** @type {any} */ (Object.fromEntries(new FormData(form)));
}

/** @param {{before: string | null, after: string | null}} sources */
function display(sources) {
  part("caption").hidden = sources !== example;
  return compare.show(sources);
}

function showStart() {
  show("empty");
  display(example);
}

/** @param {number} share */
function showSending(share) {
  show("uploading", words.sending(share));
  if (share < 1) fillBar(share);
  else blurBar();
}

/** @param {Job} job */
function showUnderWay(job) {
  now.job = job;
  show(job.state === "queued" ? "queued" : "running", words.underWay(job));
  if (job.state === "queued") blurBar();
  else if (job.stage === "generate" && job.eta_s !== null) fillBar(job.progress, { goal: 0.9, glide_s: job.eta_s });
  else fillBar(job.progress);
}

function showSilence() {
  show("running", words.SILENCE);
  blurBar();
}

/**
 * @param {Job} job
 * @param {AbortSignal} signal
 */
async function showPicture(job, signal) {
  const before = now.photoUrl ?? keptPhoto(job.id);
  const shown = await display({ before, after: job.links.result });
  if (signal.aborted) return;
  /** @type {HTMLAnchorElement} */
  const save = part("save");
  offerPicture(save, job);
  show("done", words.finished(job));
  part("options").hidden = !now.photo; // after a reload there is no photo to draw again
  if (shown === "both") compare.reveal();
  if (now.photo) await nameAfter(save, job, now.photo, signal);
}

/** @param {import("./words.js").Reason} reason */
function fail({ title, detail, mayRetry, isBroken }) {
  show("failed", { headline: title, story: now.photo?.name ?? "" });
  part("reason").textContent = detail;
  part("again").hidden = !(mayRetry && now.photo);
  if (isBroken) display(example);
  else replaceEmptyFrame(now.run.signal);
}

/** @param {AbortSignal} signal */
async function replaceEmptyFrame(signal) {
  await now.previewed;
  if (!signal.aborted && compare.before.hidden) display(example);
}

/**
 * @param {unknown} error
 * @param {AbortSignal} signal of the run that it ended
 */
function explain(error, signal) {
  if (signal.aborted) return; // another subject has replaced it
  fail(words.reasonOf(error instanceof ProblemError ? error : new ProblemError({ detail: String(error) })));
}
