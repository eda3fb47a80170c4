/**
 * The subject in the page's address (`#job=…` or `#album=…`), so that a reload or a link finds it again. A link that
 * signs in has a key there, too (`#key=…`), since browsers do not send this part of an address.
 */

/** @typedef {{job?: string, album?: string}} Subject at most one of both */

/** @returns {Subject} */
export function subjectInAddress() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/**
 * @param {Subject} subject empty for none
 * @param {{isSamePlace?: boolean}} [options] whether going back is to skip the subject before
 */
export function putInAddress(subject, { isSamePlace = false } = {}) {
  const hash = new URLSearchParams(/** @type {Record<string, string>} */ (subject)).toString();
  if (hash === location.hash.slice(1)) return;
  const url = hash ? `#${hash}` : location.pathname + location.search;
  if (isSamePlace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
}

/** @param {(subject: Subject) => void} onChange called when the user goes back, forward or to another link */
export function watchAddress(onChange) {
  addEventListener("hashchange", () => {
    takeKey();
    onChange(subjectInAddress());
  });
}

/** @returns {string | null} the key in the address, from which it is removed */
export function takeKey() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const key = hash.get("key");
  if (key === null) return null;
  hash.delete("key");
  const rest = hash.toString();
  history.replaceState(null, "", rest ? `#${rest}` : location.pathname + location.search);
  return key;
}

/** Keep the subject, or the place in a page, where the reader changes the language. */
export function keepInOtherLanguages() {
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a.language"))) {
    link.addEventListener("click", () => (link.hash = location.hash));
  }
}
