/**
 * The ways in which photos come in: chosen, dropped anywhere on the page, or pasted.
 *
 * @typedef {(choice: import("./choice.js").Choice) => void} OnChoice
 */

import { choiceOfDrop, choiceOfFiles } from "./choice.js";

/**
 * @param {{inputs: HTMLInputElement[], veil: HTMLElement}} parts the file inputs, and what shows while a file hovers
 * @param {OnChoice} onChoice
 */
export function takePhotos({ inputs, veil }, onChoice) {
  for (const input of inputs) takeChosen(input, onChoice);
  document.addEventListener("paste", (event) => take(choiceOfFiles(event.clipboardData?.files ?? []), onChoice));
  takeDrops(veil, onChoice);
}

/**
 * @param {HTMLInputElement} input
 * @param {OnChoice} onChoice
 */
function takeChosen(input, onChoice) {
  // With archives among what it takes, a phone would show its files instead of its photos.
  if (matchMedia("(pointer: coarse)").matches) input.accept = input.accept.replace(/,?\.zip/, "");
  input.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), input.click()));
  input.addEventListener("change", () => {
    const choice = choiceOfFiles(input.files ?? []);
    input.value = ""; // so that the same file can be chosen twice
    take(choice, onChoice);
  });
}

/**
 * @param {HTMLElement} veil
 * @param {OnChoice} onChoice
 */
function takeDrops(veil, onChoice) {
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true; // null: the pointer left the window
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    veil.hidden = true;
    if (event.dataTransfer) take(await choiceOfDrop(event.dataTransfer), onChoice);
  });
}

/**
 * @param {import("./choice.js").Choice} choice
 * @param {OnChoice} onChoice
 */
function take(choice, onChoice) {
  if (choice.photos.length + choice.archives.length + choice.leftOut + choice.hidden > 0) onChoice(choice);
}
