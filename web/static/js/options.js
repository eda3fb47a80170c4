/** The options of how a photo is drawn. */

import { part } from "./view.js";

/** @typedef {import("./api.js").Options} Options */

/** @type {HTMLFormElement} */
const form = part("options");

form.addEventListener("change", describeStyle);
describeStyle();

/** @returns {Options} */
export function chosenOptions() {
  return /** @type {any} */ (Object.fromEntries(new FormData(form)));
}

/** @param {{style: string, max_side: number, format: string, faces: string}} options those that are not offered change nothing */
export function chooseOptions(options) {
  for (const [name, value] of Object.entries(options)) {
    const input = ["style", "max_side", "format", "faces"].includes(name) ? inputOf(name, String(value)) : null;
    if (input) input.checked = true;
  }
  describeStyle();
}

/**
 * @param {string} style
 * @returns {string} as it is called here, or its name
 */
export function titleOf(style) {
  return inputOf("style", style)?.dataset.title ?? style;
}

/**
 * @param {string} style
 * @returns {{before: string, after: string}} the URLs of a photo and its picture
 */
export function exampleOf(style) {
  const { before, after } = /** @type {{before: string, after: string}} */ ({ ...part("compare").dataset });
  return { before, after: inputOf("style", style)?.dataset.example ?? after };
}

function describeStyle() {
  const words = document.getElementById("style-words"); // none where there are no styles
  if (words) words.textContent = inputOf("style", chosenOptions().style)?.dataset.words ?? "";
}

/**
 * @param {string} name
 * @param {string} value
 * @returns {HTMLInputElement | null}
 */
function inputOf(name, value) {
  return form.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`);
}
