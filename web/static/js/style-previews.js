/** The buttons of the styles show the chosen photo as each style would draw it. Without a photo they show examples. */

import { ask, cancelJob, isOver, submitPreviews } from "./api.js";
import { follow } from "./follow.js";
import { miniatureOf } from "./kept-photos.js";
import { part } from "./view.js";

/** @typedef {import("./api.js").Previews} Previews */

const SIZE = /-(light|full)$/; // a preview in light is good enough for the same style in full
const QUIETLY = { onChange: () => {}, onSilence: () => {} };

/** @type {File | null} */
let shown = null;
let run = new AbortController();

/**
 * Preview a photo, unless that has begun. It is a convenience: whatever goes wrong, the examples stay.
 *
 * @param {File} photo
 */
export async function previewStyles(photo) {
  if (photo === shown) return;
  showExamples();
  shown = photo;
  const { signal } = (run = new AbortController());
  try {
    await preview(photo, signal);
  } catch {
    if (!signal.aborted) showExamples();
  }
}

/** Show the examples again: the photo is no longer chosen. */
export function showExamples() {
  run.abort();
  shown = null;
  choices()?.classList.remove("of-photo", "waiting");
  for (const { image } of buttons()) {
    if (image?.dataset.example === undefined) continue;
    URL.revokeObjectURL(image.src); // does nothing to other addresses
    if (image.dataset.example) image.src = image.dataset.example;
    else image.remove();
  }
}

/**
 * @param {File} photo
 * @param {AbortSignal} signal
 */
async function preview(photo, signal) {
  const small = await miniatureOf(photo).catch(() => null); // the service may read what this browser cannot
  signal.throwIfAborted();
  if (small) showPictures(() => URL.createObjectURL(small));
  choices()?.classList.toggle("waiting", small !== null);
  const sent = await submitPreviews(small ?? photo, signal);
  signal.addEventListener("abort", () => isOver(sent) || cancelJob(sent).catch(() => {}));
  await follow(sent, QUIETLY, signal);
  /** @type {Previews} */
  const { previews } = await ask(sent.links.self, signal);
  const urls = new Map(previews.map(({ style, url }) => [style.replace(SIZE, ""), url]));
  if (urls.size === 0) throw new Error("there are none");
  await Promise.all([...urls.values()].map(load));
  signal.throwIfAborted();
  showPictures((style) => urls.get(style.replace(SIZE, "")) ?? null);
  choices()?.classList.remove("waiting");
}

/** @param {(style: string) => string | null} urlOf null where a style keeps its example */
function showPictures(urlOf) {
  choices()?.classList.add("of-photo");
  for (const { style, input, image } of buttons()) {
    const url = urlOf(style);
    if (url) show(url, image ?? added(input));
  }
}

/**
 * @param {string} url
 * @param {HTMLImageElement} image
 */
function show(url, image) {
  URL.revokeObjectURL(image.src);
  image.dataset.example ??= image.getAttribute("src") ?? "";
  image.src = url;
}

/** @param {string} url */
function load(url) {
  const image = new Image();
  image.src = url;
  return image.decode();
}

/** @returns {HTMLElement | null} null where there are no styles */
function choices() {
  return part("options").querySelector(".styles");
}

/** An imported style may have no example, and so no image. */
function buttons() {
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (part("options").querySelectorAll("input[name=style]"));
  return [...inputs].map((input) => ({
    input,
    style: input.value,
    image: input.parentElement?.querySelector("img") ?? null,
  }));
}

/** @param {HTMLInputElement} input */
function added(input) {
  const image = Object.assign(new Image(28, 28), { alt: "" });
  input.after(image);
  return image;
}
