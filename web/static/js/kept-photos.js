/**
 * Photos kept in this browser, because the service gives no photo back: after a reload, a single photo can be drawn
 * again, and small copies of an album's photos are shown beside their pictures. Wherever the browser refuses, the
 * pictures are shown alone.
 */

const DATABASE = "sakuga";
const STORE = "miniatures"; // and whole photos, each without a name
const WHOLE = "";
const MAX_SIDE = 768;
const QUALITY = 0.8;

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

/**
 * @param {string} jobId
 * @param {File} photo
 */
export function keepPhoto(jobId, photo) {
  return keep([jobId, WHOLE], async () => photo);
}

/**
 * @param {string} jobId
 * @returns {Promise<File | null>}
 */
export function keptPhoto(jobId) {
  return kept([jobId, WHOLE]);
}

/**
 * @param {string} albumId
 * @param {string} name
 * @param {File} photo
 */
export function keepMiniature(albumId, name, photo) {
  return keep([albumId, name], () => miniatureOf(photo));
}

/**
 * @param {string} albumId
 * @param {string} name
 * @returns {Promise<Blob | null>}
 */
export function keptMiniature(albumId, name) {
  return kept([albumId, name]);
}

/**
 * @param {string} albumId
 * @param {string} otherId of an album of the same photos
 */
export async function copyMiniatures(albumId, otherId) {
  try {
    const keys = /** @type {[string, string][]} */ (await done((await store("readonly")).getAllKeys()));
    for (const [id, name] of keys) if (id === albumId) await keep([otherId, name], () => kept([albumId, name]));
  } catch {
    // there are none
  }
}

/** @param {string[]} ids of the jobs and albums whose photos are still wanted */
export async function dropPhotosExcept(ids) {
  try {
    const keys = await done((await store("readonly")).getAllKeys());
    const gone = /** @type {[string, string][]} */ (keys).filter(([id]) => !ids.includes(id));
    const photos = await store("readwrite");
    for (const key of gone) photos.delete(key);
  } catch {
    // there are none
  }
}

/**
 * @param {[string, string]} key
 * @param {() => Promise<Blob>} make
 */
async function keep(key, make) {
  try {
    const photo = await make();
    await done((await store("readwrite")).put(photo, key));
  } catch {
    // a photo that the browser cannot read, or no room
  }
}

/**
 * @param {[string, string]} key
 * @returns {Promise<any>} null for none
 */
async function kept(key) {
  try {
    return (await done((await store("readonly")).get(key))) ?? null;
  } catch {
    return null;
  }
}

/**
 * @param {File} photo
 * @returns {Promise<Blob>} a small copy; rejected if the browser cannot read the photo
 */
export async function miniatureOf(photo) {
  const image = await createImageBitmap(photo);
  const scale = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject()), "image/webp", QUALITY));
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
