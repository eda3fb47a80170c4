/**
 * The page: photos come in, a single one is drawn by `single.js`, many become an album in `album.js`. What the address
 * names is shown. Joins the modules; each of them knows only its own matter.
 */

import { keepInOtherLanguages, putInAddress, subjectInAddress, takeKey, watchAddress } from "./address.js";
import { addToAlbum, currentAlbumId, findAlbum, isAlbumOpen, leaveAlbum, startAlbum, whenErased } from "./album.js";
import { earlier } from "./earlier.js";
import { showEarlier } from "./earlier-view.js";
import { takePhotos } from "./intake.js";
import { dropPhotosExcept } from "./kept-photos.js";
import { chosenOptions } from "./options.js";
import { findPicture, sayNothingIn, setPhotoAside, takePhoto } from "./single.js";
import { part } from "./view.js";
import * as words from "./words.js";

/** @typedef {import("./choice.js").Choice} Choice */

const inputs = ["photo", "camera", "folder", "photos-again", "folder-again"].map((id) => part(id));
/** @type {HTMLInputElement} */
const keepPhotos = part("keep-photos");
const dropWords = part("drop-words").textContent;

takePhotos({ inputs: /** @type {HTMLInputElement[]} */ (inputs), veil: part("drop-veil") }, take);
watchAddress(open);
part("new").addEventListener("click", startAnew);
whenErased(startAnew);
keepInOtherLanguages();
showEarlier();
dropPhotosExcept(earlier().map(({ id }) => id));
takeKey(); // there is no need to sign in
open(subjectInAddress());

/** @param {Choice} choice */
function take(choice) {
  const { photos, archives } = choice;
  if (isAlbumOpen()) return addToAlbum(choice);
  if (photos.length + archives.length === 0) return sayNothingIn();
  if (photos.length === 1 && archives.length === 0) return takePhoto(photos[0].file);
  setPhotoAside();
  showAlbum(true);
  startAlbum(choice, { ...chosenOptions(), keep_photos: keepPhotos.checked });
}

function startAnew() {
  putInAddress({});
  open({});
}

/** @param {import("./address.js").Subject} subject what the address names now */
function open({ job, album }) {
  if (album && album === currentAlbumId()) return;
  showAlbum(Boolean(album));
  if (album) {
    setPhotoAside();
    findAlbum(album);
  } else {
    leaveAlbum();
    findPicture(job ?? null);
    showEarlier();
  }
}

/** @param {boolean} isAlbum */
function showAlbum(isAlbum) {
  part("workbench").hidden = isAlbum;
  part("drop-words").textContent = isAlbum ? words.ADD_HERE : dropWords;
}
