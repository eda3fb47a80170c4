/** How a photo comes in: chosen, dropped anywhere on the page, or pasted. */

/**
 * @param {{input: HTMLInputElement, veil: HTMLElement}} parts the file input, and what shows while a file hovers
 * @param {(photo: File) => void} onPhoto
 */
export function takePhotos({ input, veil }, onPhoto) {
  input.addEventListener("change", () => {
    const photo = input.files?.[0];
    input.value = ""; // so that the same file can be chosen twice
    if (photo) onPhoto(photo);
  });
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData, onPhoto));
  takeDrops(veil, onPhoto);
}

/**
 * @param {HTMLElement} veil
 * @param {(photo: File) => void} onPhoto
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
 * @param {(photo: File) => void} onPhoto
 */
function takeFirst(data, onPhoto) {
  const photo = data?.files[0];
  if (photo) onPhoto(photo);
}
