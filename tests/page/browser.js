/**
 * A stand-in for the browser APIs that the page's modules use. Import it before them.
 *
 * `tests/web/test_page.py` covers in a real browser what this cannot: layout, focus, decoding, storage of pictures.
 */

const events = new EventTarget();
globalThis.addEventListener = events.addEventListener.bind(events);

/** @param {string} name of an event of the window */
export function dispatch(name) {
  events.dispatchEvent(new Event(name));
}

globalThis.document = { documentElement: { lang: "en" } };
Object.defineProperty(globalThis, "navigator", { value: { language: "en-US" }, configurable: true });

globalThis.location = { hash: "", pathname: "/", search: "" };
globalThis.history = {
  pushState(_state, _title, url) {
    history.replaceState(_state, _title, url);
    history.pushed.push(url);
  },
  replaceState(_state, _title, url) {
    location.hash = url.includes("#") ? url.slice(url.indexOf("#")) : "";
  },
  pushed: [],
};

class MemoryStorage {
  #kept = new Map();
  isFull = false;

  getItem(key) {
    return this.#kept.get(key) ?? null;
  }

  setItem(key, value) {
    if (this.isFull) throw new DOMException("no room", "QuotaExceededError");
    this.#kept.set(key, String(value));
  }

  removeItem(key) {
    this.#kept.delete(key);
  }

  clear() {
    this.#kept.clear();
    this.isFull = false;
  }
}

globalThis.localStorage = new MemoryStorage();
globalThis.sessionStorage = new MemoryStorage();

/** Streams that the page has opened, in order; a test sends events on them. */
export const streams = [];

globalThis.EventSource = class extends EventTarget {
  isOpen = true;

  constructor(url) {
    super();
    this.url = url;
    streams.push(this);
  }

  close() {
    this.isOpen = false;
  }

  emit(kind, data) {
    this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
  }

  fail() {
    this.dispatchEvent(new Event("error"));
  }
};

/** Requests made so far, as "GET /path". */
export const requests = [];

/**
 * Answer the requests of the page from now on.
 *
 * @param {(request: {method: string, url: string, body: any, signal?: AbortSignal}) => any} answer gives the body of a
 * good answer, a Response, or throws what `fetch` would throw
 */
export function serve(answer) {
  requests.length = streams.length = 0;
  globalThis.fetch = async (url, { method = "GET", body, signal } = {}) => {
    requests.push(`${method} ${url}`);
    const answered = await answer({ method, url, body, signal });
    return answered instanceof Response ? answered : Response.json(answered);
  };
}

/** The error that `fetch` throws when it cannot connect. */
export function isUnreachable() {
  throw new TypeError("fetch failed");
}

/**
 * @param {number} status
 * @param {object} problem
 * @param {Record<string, string>} [headers]
 */
export function refusal(status, problem, headers = {}) {
  return new Response(JSON.stringify(problem), { status, headers });
}

/** Let all pending microtasks and callbacks run. */
export async function settled() {
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
}

/** @param {object} [about] fields that differ from those of a waiting job */
export function aJob(about = {}) {
  const links = { self: "/api/v1/jobs/1", result: "/api/v1/jobs/1/result", events: "/api/v1/jobs/1/events" };
  return {
    id: "1",
    state: "queued",
    style: "hinata",
    max_side: 512,
    position: 1,
    eta_s: 10,
    error: null,
    links,
    ...about,
  };
}

/** @param {object} [counts] of its photos by state */
export function anAlbum(counts = {}) {
  const all = { queued: 0, running: 0, succeeded: 0, failed: 0, canceled: 0, expired: 0 };
  const at = "/api/v1/albums/a";
  const day_ms = 24 * 3600 * 1000;
  return {
    id: "a",
    name: "Trip",
    style: "hinata",
    max_side: 512,
    counts: { ...all, ...counts },
    eta_s: null,
    created_at: new Date().toISOString(),
    expires_at: new Date(Date.now() + day_ms).toISOString(),
    links: {
      self: at,
      photos: `${at}/photos`,
      events: `${at}/events`,
      check: `${at}/check`,
      retry: `${at}/retry`,
      cancel: `${at}/cancel`,
    },
  };
}

/** @param {string} name its bytes are these words */
export function aPhoto(name) {
  return { name, file: new File([name], name.slice(name.lastIndexOf("/") + 1), { type: "image/jpeg" }) };
}
