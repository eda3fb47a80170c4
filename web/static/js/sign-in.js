/**
 * Sign in with the key in the address (`#key=…`), as in the link of `sakuga up --lan`, and remove it from there. If the
 * link was on another site, only fill it in: that site must not decide as whom the visitor sends photos.
 */

import { takeKey } from "./address.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector(".key-form"));
const isFromAnotherSite = new URLSearchParams(location.search).has("again");

addEventListener("hashchange", signIn); // the link was opened in the tab of this page
signIn();

function signIn() {
  const key = takeKey();
  if (!key) return;
  /** @type {HTMLInputElement} */ (form.elements.namedItem("key")).value = key;
  if (!isFromAnotherSite) form.submit();
}
