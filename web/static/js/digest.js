/** The digest by which an album identifies a photo. */

/**
 * @param {File} file
 * @returns {Promise<string | null>} its SHA-256 in hex; null where the browser does not tell (only https and this
 * machine's own addresses have `crypto.subtle`) or the file cannot be read
 */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle) return null;
  try {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  } catch {
    return null;
  }
}
