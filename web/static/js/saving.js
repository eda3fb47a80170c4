/** Saving the picture as a file, and its name. */

/** @typedef {import("./api.js").Job} Job */

/**
 * @param {HTMLAnchorElement} link
 * @param {Job} job succeeded
 */
export function offerPicture(link, job) {
  URL.revokeObjectURL(link.href); // does nothing unless it is one
  link.href = `${job.links.result}?download=true`; // one from another origin is saved only if its headers say so
  link.download = "";
}

/**
 * Name the picture after its photo. The service's own name would go before the link's, so the link gets the picture
 * itself; if another origin serves it, the service's name stays.
 *
 * @param {HTMLAnchorElement} link
 * @param {Job} job succeeded
 * @param {{name: string}} photo
 * @param {AbortSignal} signal
 */
export async function nameAfter(link, job, photo, signal) {
  const response = await fetch(job.links.result, { redirect: "manual", signal }).catch(() => null);
  const picture = response?.ok ? await response.blob().catch(() => null) : null;
  if (!picture || signal.aborted) return;
  link.href = URL.createObjectURL(picture);
  link.download = `${stem(photo.name)}-${job.style}.${extension(picture.type)}`;
}

/** @param {string} name */
function stem(name) {
  return name.replace(/(.)\.[^.]*$/, "$1");
}

/** @param {string} type */
function extension(type) {
  return type.replace("image/", "").replace("jpeg", "jpg");
}
