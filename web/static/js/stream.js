/** Streams of events that may die without a word: a browser notices that after minutes, or never. */

const LONGEST_QUIET_MS = 30_000; // the service speaks every ten seconds

/**
 * @param {string} url
 * @param {Record<string, (data: any) => void>} hear what to do with the events of each kind, all of those that are sent
 * @param {() => void} onLost told when it broke, fell silent, or the browser's connection went or came
 * @returns {() => void} closes it
 */
export function openStream(url, hear, onLost) {
  const source = new EventSource(url);
  const watch = new AbortController();
  let timer = setTimeout(onLost, LONGEST_QUIET_MS);
  for (const [kind, take] of Object.entries(hear)) {
    source.addEventListener(kind, (event) => {
      clearTimeout(timer);
      timer = setTimeout(onLost, LONGEST_QUIET_MS);
      take(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", onLost);
  for (const news of ["offline", "online"]) addEventListener(news, onLost, { signal: watch.signal });
  return () => (clearTimeout(timer), watch.abort(), source.close());
}
