/** The album's page: joins the open album, its tiles, its words and its dialogs. */

import { clearAlbum, offerNew, offerRedraw, resetTitle, showAside, showName, showProgress, showReason, showWaiting } from "./album-view.js";
import { ProblemError } from "./api.js";
import { putInAddress, subjectInAddress } from "./address.js";
import { addThumbnail, earlier, forget } from "./earlier.js";
import { dropPhotosExcept } from "./kept-photos.js";
import { OpenAlbum } from "./open-album.js";
import { titleOf } from "./options.js";
import { watchTabs, tellTabs } from "./tabs.js";
import { thumbnailOf } from "./thumbnails.js";
import { Tiles, isOpenable } from "./tiles.js";
import { announce, part } from "./view.js";
import { Viewer } from "./viewer.js";
import * as words from "./words.js";

/** @typedef {import("./album-items.js").Item} Item */

const LONGEST_NAME = 200; // that the service takes
const TICK_MS = 5000; // how often the time left is updated between events
const { maxUploadBytes, maxAlbumUploadBytes } = part("workbench").dataset;
const limits = { photoBytes: Number(maxUploadBytes), archiveBytes: Number(maxAlbumUploadBytes) };

/** @type {OpenAlbum | null} */
let open = null;
let onGone = () => {};
let isStale = false;
let shownName = "";
let isLost = false; // the service has it no longer
let hasThumbnail = false;

const tiles = new Tiles(part("tiles"), part("tile"), {
  onOpen: view,
  photoOf: async (item) => (open ? open.photoOf(item) : null),
});
const viewer = new Viewer({ onStep: step, onClose: () => tiles.focus(shownName) });
/** @type {HTMLDialogElement} */
const question = part("erase-question");
/** @type {HTMLDialogElement} */
const naming = part("naming");

part("retry").addEventListener("click", () => open?.retry());
part("stop").addEventListener("click", () => open?.cancel());
part("erase").addEventListener("click", () => question.showModal());
part("save-all").addEventListener("click", () => open?.look()); // it may be gone: then the page says so
part("rename").addEventListener("click", askName);
part("redraw").addEventListener("click", ({ target }) => redraw(/** @type {HTMLElement} */ (target).dataset.style));
naming.addEventListener("close", () => naming.returnValue === "rename" && rename());
watchTabs((id) => id === currentAlbumId() && open?.look());
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && open?.look());
question.addEventListener("close", () => question.returnValue === "erase" && erase());
setInterval(() => open?.album && paint(), TICK_MS);
addEventListener("beforeunload", (event) => {
  if (open?.isSending) event.preventDefault(); // the browser asks first
});

/** @param {() => void} callback called when the album on the page was erased */
export function whenErased(callback) {
  onGone = callback;
}

/** @returns {string | null} the id of the album on the page */
export function currentAlbumId() {
  return open?.album?.id ?? null;
}

export function isAlbumOpen() {
  return open !== null;
}

/**
 * @param {import("./choice.js").Choice} choice
 * @param {import("./api.js").Options & {keep_photos: boolean}} options
 */
export async function startAlbum(choice, options) {
  const album = enter();
  const name = (choice.title ?? words.albumOf(new Date())).slice(0, LONGEST_NAME);
  showName(name);
  await album.start(name, options, choice);
  if (album === open && album.album) putInAddress({ album: album.album.id });
}

/**
 * @param {string} id
 * @param {string[]} [names] of the photos that the service is about to add
 */
export async function findAlbum(id, names) {
  await enter().find(id, names);
}

/** @param {import("./choice.js").Choice} choice */
export function addToAlbum(choice) {
  return open?.add(choice);
}

export function leaveAlbum() {
  if (!open) return;
  open.leave();
  open = null;
  viewer.close();
  tiles.clear();
  resetTitle();
  part("album").hidden = true;
}

function enter() {
  leaveAlbum();
  clearAlbum();
  isLost = hasThumbnail = false;
  part("album").hidden = false;
  scrollTo({ top: 0 });
  const album = new OpenAlbum(
    {
      onItem: (item) => drawIf(album, item),
      onChange: () => paintSoon(album),
      onDeed: tellTabs,
      onReason: showReason,
      titleOf,
      onEnd: (error) => explain(album, error),
    },
    limits,
  );
  open = album;
  part("album-name").focus({ preventScroll: true });
  return album;
}

/**
 * @param {OpenAlbum} album
 * @param {Item} item
 */
function drawIf(album, item) {
  if (album !== open) return;
  tiles.draw(item);
  paintSoon(album);
}

/** @param {OpenAlbum} album many things happen at once; they are painted once */
function paintSoon(album) {
  if (album !== open || isStale) return;
  isStale = true;
  setTimeout(paint, 50);
}

function paint() {
  isStale = false;
  if (!open || isLost) return;
  if (!open.isKnown) return showWaiting(open.aside);
  const { album, aside } = open;
  const progress = open.progress();
  const look = album ? words.look(titleOf(album.style), album.max_side) : "";
  if (album?.name) showName(album.name);
  showAside(words.skipped(open));
  showProgress(progress, { expiresAt: album?.expires_at ?? "", archive: album?.links.archive ?? null, look, aside });
  offerRedraw(progress.isOver && album?.keep_photos ? album.style : null);
  if (album && progress.isOver && !hasThumbnail) addFirstAsThumbnail(album.id);
}

/** @param {string} id */
async function addFirstAsThumbnail(id) {
  const first = [...(open?.items.values() ?? [])].find(({ state }) => state === "succeeded");
  if (!first?.job) return;
  hasThumbnail = true;
  addThumbnail(id, await thumbnailOf(first.job.links.result));
}

/** @param {string} name */
function view(name) {
  const openable = [...(open?.items.values() ?? [])].filter(isOpenable);
  const place = openable.findIndex((item) => item.name === name);
  if (!open || place < 0) return;
  shownName = name;
  viewer.show(openable[place], { place: place + 1, all: openable.length, photoUrl: open.photoOf(openable[place]) });
}

/** @param {number} by how many */
function step(by) {
  const openable = [...(open?.items.values() ?? [])].filter(isOpenable);
  const place = openable.findIndex((item) => item.name === shownName) + by;
  if (openable.length) view(openable.at(place % openable.length)?.name ?? "");
}

function askName() {
  /** @type {HTMLInputElement} */
  const name = part("new-name");
  name.value = open?.album?.name ?? "";
  naming.returnValue = "";
  naming.showModal();
  name.select();
}

function rename() {
  /** @type {HTMLInputElement} */
  const { value } = part("new-name");
  if (value.trim()) open?.rename(value.trim());
}

/** @param {string} [style] none where another part was clicked */
async function redraw(style) {
  const album = open;
  const id = style && (await album?.redraw(style));
  if (!id || !album || album !== open) return;
  putInAddress({ album: id });
  await findAlbum(id, [...album.items.keys()]);
}

async function erase() {
  const album = open;
  if (!album?.album || !(await album.erase())) return;
  forget(album.album.id);
  dropPhotosExcept(earlier().map(({ id }) => id));
  onGone();
}

/**
 * @param {OpenAlbum} album
 * @param {unknown} error
 */
function explain(album, error) {
  if (album !== open) return;
  const problem = error instanceof ProblemError ? error : new ProblemError({ detail: String(error) });
  const { title, detail } = words.reasonOf(problem);
  if (!album.album || problem.code === "unknown_album") showName(title);
  showReason(detail);
  if (problem.code === "unknown_album") lose(title, detail);
  offerNew();
}

/**
 * There is nothing left to see.
 *
 * @param {string} title
 * @param {string} detail
 */
function lose(title, detail) {
  forget(currentAlbumId() ?? subjectInAddress().album ?? "");
  isLost = true;
  open?.leave();
  viewer.close();
  tiles.clear();
  clearAlbum();
  showName(title);
  showReason(detail);
  announce(words.titled(title, detail));
}
