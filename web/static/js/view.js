/**
 * The view, for eyes and screen readers. The only module that writes to the page outside the comparison's frame.
 *
 * @typedef {"empty" | "chosen" | "uploading" | "queued" | "running" | "done" | "failed"} PageState
 * @typedef {{headline: string, story: string}} Words
 */

import { titled } from "./words.js";

const TITLE = document.title;

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function part(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * Show the parts whose `data-show` names the state, hide those that name others, and say what is happening.
 *
 * @param {PageState} state
 * @param {Words} [words]
 */
export function show(state, words = { headline: "", story: "" }) {
  part("workbench").dataset.state = state;
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-show]"))) {
    element.hidden = !element.dataset.show?.split(" ").includes(state);
  }
  say(words);
  keepFocus();
}

/** Animate the bar as indeterminate while the progress is unknown. */
export function blurBar() {
  part("bar").classList.add("unknown");
  part("bar").removeAttribute("aria-valuenow");
}

/**
 * @param {number} share from 0 to 1
 * @param {{goal: number, glide_s: number}} [next] what the bar may move on to, and how long that will take
 */
export function fillBar(share, { goal, glide_s } = { goal: share, glide_s: 0.3 }) {
  const bar = part("bar");
  bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  if (bar.classList.contains("unknown")) {
    bar.classList.remove("unknown");
    slide(bar, share, 0);
    bar.getBoundingClientRect(); // settle there first, so that only the way from there is animated
  }
  slide(bar, goal, glide_s);
}

/**
 * @param {HTMLElement} bar
 * @param {number} share
 * @param {number} glide_s
 */
function slide(bar, share, glide_s) {
  bar.style.setProperty("--share", String(share));
  bar.style.setProperty("--glide", `${glide_s}s`);
}

/**
 * Only a new headline is announced: a screen reader should not read out every percent.
 *
 * @param {Words} words
 */
function say({ headline, story }) {
  const isNews = part("headline").textContent !== headline;
  part("headline").textContent = headline;
  part("story").textContent = story;
  document.title = headline ? `${headline} · Sakuga` : TITLE;
  if (isNews) announce(titled(headline, story));
}

/** @param {string} sentence for screen readers */
export function announce(sentence) {
  part("announcement").textContent = sentence;
}

/** Move the focus from a control that has disappeared to the heading that is there, not to the top of the page. */
function keepFocus() {
  if (!document.activeElement?.closest("[hidden]")) return;
  const headings = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#workbench h1"));
  [...headings].find((heading) => !heading.closest("[hidden]"))?.focus({ preventScroll: true });
}
