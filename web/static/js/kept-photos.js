/**
 * Small copies of an album's photos, kept in this browser: the service gives no photo back, and after a reload they can
 * still be shown beside their pictures. Wherever the browser refuses, the pictures are shown alone.
 */

const DATABASE = "sakuga";
const STORE = "miniatures";
const MAX_SIDE = 768;
const QUALITY = 0.8;

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

/**
 * @param {string} albumId
 * @param {string} name
 * @param {File} photo
 */
export async function keepMiniature(albumId, name, photo) {
  try {
    const blob = await small(photo);
    await done((await store("readwrite")).put(blob, [albumId, name]));
  } catch {
    // a photo that the browser cannot read, or no room
  }
}

/**
 * @param {string} albumId
 * @param {string} name
 * @returns {Promise<Blob | null>}
 */
export async function keptMiniature(albumId, name) {
  try {
    return (await done((await store("readonly")).get([albumId, name]))) ?? null;
  } catch {
    return null;
  }
}

/** @param {string[]} albumIds whose miniatures are still wanted */
export async function dropMiniaturesExcept(albumIds) {
  try {
    const keys = await done((await store("readonly")).getAllKeys());
    const gone = /** @type {[string, string][]} */ (keys).filter(([albumId]) => !albumIds.includes(albumId));
    const miniatures = await store("readwrite");
    for (const key of gone) miniatures.delete(key);
  } catch {
    // there are none
  }
}

/** @param {File} photo */
async function small(photo) {
  const image = await createImageBitmap(photo);
  const scale = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/webp", QUALITY));
}

/** @param {IDBTransactionMode} mode */
async function store(mode) {
  opened ??= open();
  return (await opened).transaction(STORE, mode).objectStore(STORE);
}

function open() {
  const request = indexedDB.open(DATABASE, 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE));
  return done(request);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
