/**
 * How a photo comes in: chosen, dropped anywhere on the page, or pasted.
 *
 * @typedef {(photo: File, count: number) => void} OnPhoto told the first of `count` files
 */

/**
 * @param {{input: HTMLInputElement, veil: HTMLElement}} parts the file input, and what shows while a file hovers
 * @param {OnPhoto} onPhoto
 */
export function takePhotos({ input, veil }, onPhoto) {
  input.addEventListener("change", () => {
    const photo = input.files?.[0];
    input.value = ""; // so that the same file can be chosen twice
    if (photo) onPhoto(photo, 1);
  });
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData, onPhoto));
  takeDrops(veil, onPhoto);
}

/**
 * @param {HTMLElement} veil
 * @param {OnPhoto} onPhoto
 */
function takeDrops(veil, onPhoto) {
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true; // null: the pointer left the window
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    veil.hidden = true;
    takeFirst(event.dataTransfer, onPhoto);
  });
}

/**
 * @param {DataTransfer | null} data
 * @param {OnPhoto} onPhoto
 */
function takeFirst(data, onPhoto) {
  const files = data?.files;
  if (files?.length) onPhoto(files[0], files.length);
}
