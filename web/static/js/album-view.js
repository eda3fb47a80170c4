/** The view of an album, for eyes and screen readers, apart from its tiles. */

import { announce, part } from "./view.js";
import * as words from "./words.js";

/** @typedef {import("./album-progress.js").Progress} Progress */

const QUARTER = 0.25;
const TITLE = document.title;
/** The last announcement: screen readers are told of every quarter, not of every photo. */
let announced = "";

/** @param {string} name */
export function showName(name) {
  part("album-name").textContent = name;
}

/**
 * @param {Progress} progress
 * @param {{expiresAt: string, archive: string | null, look: string, aside: string}} album `look` is its style and size;
 * `aside` is a message shown in place of the progress for the moment
 */
export function showProgress(progress, { expiresAt, archive, look, aside }) {
  const story = progress.isOver ? words.albumOver(progress, expiresAt) : words.albumProgress(progress);
  part("album-story").textContent = aside || story;
  part("album-look").textContent = look;
  showBar(progress);
  showActions(progress, archive);
  part("missing").hidden = progress.missing === 0;
  if (progress.missing) part("missing-words").textContent = words.missing(progress.missing);
  document.title = titleOf(progress);
  announceNews(progress, aside || story, aside === words.SILENCE_NOW);
}

/** @param {string} aside what keeps the album from being known; empty for nothing */
export function showWaiting(aside) {
  if (aside && part("album-story").textContent !== aside) announce(aside);
  part("album-story").textContent = aside;
}

/** @param {string} sentence empty for none */
export function showReason(sentence) {
  part("album-reason").hidden = !sentence;
  part("album-reason").textContent = sentence;
}

/** @param {string} sentence empty for none */
export function showAside(sentence) {
  part("left-out").hidden = !sentence;
  part("left-out").textContent = sentence;
}

/** Show the album's page before anything of it is known. */
export function clearAlbum() {
  announced = "";
  for (const id of ["save-all", "retry", "stop", "new", "rename", "erase", "album-bar", "missing", "redraw"]) part(id).hidden = true;
  showName(words.FINDING_ALBUM);
  part("album-story").textContent = part("album-look").textContent = "";
  showReason("");
  showAside("");
}

/** @param {string | null} style that the album is in, if it can be drawn in others */
export function offerRedraw(style) {
  part("redraw").hidden = style === null;
  for (const button of part("redraw").querySelectorAll("button")) button.hidden = button.dataset.style === style;
}

/** There is no album to do anything with. */
export function offerNew() {
  part("new").hidden = false;
}

/** @param {Progress} progress */
function showBar({ all, done, failed, canceled, unsent, missing, isOver }) {
  const bar = part("album-bar");
  const ended = done + failed + canceled;
  bar.hidden = isOver;
  bar.setAttribute("aria-valuenow", String(Math.floor((100 * ended) / Math.max(1, all))));
  bar.style.setProperty("--share", String(ended / Math.max(1, all)));
  bar.style.setProperty("--sent", String((all - unsent - missing) / Math.max(1, all)));
}

/**
 * @param {Progress} progress
 * @param {string | null} archive its address
 */
function showActions({ done, failed, unsent, isOver, mayRetry }, archive) {
  /** @type {HTMLAnchorElement} */
  const save = part("save-all");
  if (archive) save.href = archive;
  save.hidden = !archive || done === 0 || unsent > 0;
  save.classList.toggle("primary", isOver);
  part("retry").hidden = !isOver || !mayRetry;
  part("retry").textContent = words.retry(failed > 0);
  part("stop").hidden = isOver;
  part("erase").hidden = !isOver || !archive;
  part("rename").hidden = !archive;
  part("new").hidden = !isOver;
  if (document.activeElement?.closest("[hidden]")) part("album-name").focus({ preventScroll: true });
}

/** @param {Progress} progress */
function titleOf({ all, done, isOver }) {
  const name = part("album-name").textContent;
  return `${isOver ? "" : `${done}/${all} · `}${name} · Sakuga`;
}

export function resetTitle() {
  document.title = TITLE;
}

/**
 * @param {Progress} progress
 * @param {string} sentence
 * @param {boolean} isSilent whether the service does not respond
 */
function announceNews({ all, done, failed, canceled, isOver }, sentence, isSilent) {
  const quarter = Math.floor((done + failed + canceled) / Math.max(1, all) / QUARTER);
  const going = isOver ? `over ${done} ${failed} ${canceled}` : `quarter ${quarter}`;
  const news = isSilent ? "silent" : going;
  if (news !== announced) announce(words.titled(part("album-name").textContent ?? "", sentence));
  announced = news;
}
