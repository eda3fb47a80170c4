/** Saving the picture as a file, and its name. */

/** @typedef {import("./api.js").Job} Job */

/**
 * Offer a picture, at once under the service's own name, and soon under its photo's. That name would go before the
 * link's, so the link gets the picture itself; if another origin serves it, the service's name stays.
 *
 * @param {HTMLAnchorElement} link
 * @param {Job} job succeeded
 * @param {{name: string} | null} photo
 * @param {AbortSignal} signal
 * @returns {Promise<File | null>} the picture, if this page may read it
 */
export async function offerPicture(link, job, photo, signal) {
  URL.revokeObjectURL(link.href); // does nothing unless it is one
  link.href = `${job.links.result}?download=true`; // one from another origin is saved only if its headers say so
  link.download = "";
  const response = await fetch(job.links.result, { redirect: "manual", signal }).catch(() => null);
  const picture = response?.ok ? await response.blob().catch(() => null) : null;
  if (!picture || signal.aborted) return null;
  const name = `${photo ? stem(photo.name) : "sakuga"}-${job.style}.${extension(picture.type)}`;
  const file = new File([picture], name, { type: picture.type });
  if (photo) [link.href, link.download] = [URL.createObjectURL(file), name];
  return file;
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(blob), name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when the browser has surely begun to save it
}

/** @param {string} name */
export function stem(name) {
  return name.replace(/(.)\.[^.]*$/, "$1");
}

/** @param {string} type of an image */
export function extension(type) {
  return type.replace("image/", "").replace("jpeg", "jpg");
}
