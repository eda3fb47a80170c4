/** Thumbnails of pictures, small enough for the list of earlier ones in this browser's storage. */

const SIDE = 88; // twice as many pixels as it has on the page
const QUALITY = 0.75;

/**
 * @param {string} url
 * @returns {Promise<string | null>} a data URL; null where another origin serves the picture
 */
export async function thumbnailOf(url) {
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    return square(image);
  } catch {
    return null;
  }
}

/** @param {HTMLImageElement} image */
function square(image) {
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  const [left, top] = [(image.naturalWidth - side) / 2, (image.naturalHeight - side) * 0.3]; // heads are above the middle
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.getContext("2d")?.drawImage(image, left, top, side, side, 0, 0, SIDE, SIDE);
  return canvas.toDataURL("image/webp", QUALITY);
}
