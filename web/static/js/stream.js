/** Event streams whose death is detected here: a browser may notice a dead connection after minutes, or never. */

const LONGEST_QUIET_MS = 30_000; // the service sends an event every ten seconds

/**
 * @param {string} url
 * @param {Record<string, (data: any) => void>} handlers for each kind of event
 * @param {() => void} onLost called when the stream breaks or falls silent, or the browser goes offline or online
 * @returns {() => void} closes it
 */
export function openStream(url, handlers, onLost) {
  const source = new EventSource(url);
  const watch = new AbortController();
  let timer = setTimeout(onLost, LONGEST_QUIET_MS);
  for (const [kind, handle] of Object.entries(handlers)) {
    source.addEventListener(kind, (event) => {
      clearTimeout(timer);
      timer = setTimeout(onLost, LONGEST_QUIET_MS);
      handle(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", onLost);
  for (const news of ["offline", "online"]) addEventListener(news, onLost, { signal: watch.signal });
  return () => (clearTimeout(timer), watch.abort(), source.close());
}
