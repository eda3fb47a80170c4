/** The job in the page's address (`#job=…`), so that a reload or a link finds it again. */

/** @returns {string | null} */
export function jobInAddress() {
  return new URLSearchParams(location.hash.slice(1)).get("job");
}

/** @param {string | null} id null for none */
export function putJobInAddress(id) {
  if (id !== jobInAddress()) history.pushState(null, "", id ? `#job=${encodeURIComponent(id)}` : location.pathname);
}

/** @param {(id: string | null) => void} onChange told when the reader goes back, forward or to another link */
export function watchAddress(onChange) {
  addEventListener("hashchange", () => onChange(jobInAddress()));
}
