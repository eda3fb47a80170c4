/** The chosen photo, small, kept by the browser's tab alone: a reload can then still show it beside its picture. */

const KEY = "sakuga.photo";
const MAX_SIDE = 1024;

/**
 * @param {string} jobId
 * @param {HTMLImageElement} image a decoded photo
 */
export function keepPhoto(jobId, image) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ jobId, url: small(image) }));
  } catch {
    sessionStorage.removeItem(KEY); // storage is full or switched off: a reload then shows the picture alone
  }
}

/**
 * @param {string} jobId
 * @returns {string | null} a data URL
 */
export function keptPhoto(jobId) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    return kept?.jobId === jobId ? kept.url : null;
  } catch {
    return null;
  }
}

/** @param {HTMLImageElement} image */
function small(image) {
  const scale = Math.min(1, MAX_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/webp", 0.85);
}
