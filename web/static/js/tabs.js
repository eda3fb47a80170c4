/** Tells the other tabs of this browser that an album has changed, because of something that was done here. */

const CHANNEL = "sakuga.albums";
const PAUSE_MS = 1000;

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
/** @type {Set<string>} those that the other tabs are about to be told of */
const pending = new Set();

/** @param {string} albumId many changes within a second are told once, after the last of them */
export function tellTabs(albumId) {
  if (pending.has(albumId)) return;
  pending.add(albumId);
  setTimeout(() => (pending.delete(albumId), channel?.postMessage(albumId)), PAUSE_MS);
}

/** @param {(albumId: string) => void} onChange */
export function watchTabs(onChange) {
  channel?.addEventListener("message", ({ data }) => onChange(data));
}
