import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { dispatch } from "./browser.js";
import { keepInOtherLanguages, putInAddress, subjectInAddress, takeKey, watchAddress } from "../../web/static/js/address.js";

beforeEach(() => {
  location.hash = location.search = "";
  history.pushed.length = 0;
});

test("a subject written to the address is read back, whatever its id", () => {
  putInAddress({ job: "a/b&c=#" });
  assert.deepEqual(subjectInAddress(), { job: "a/b&c=#" });
});

test("an address without a subject keeps the language", () => {
  location.search = "?lang=zh";
  putInAddress({ album: "1" });
  putInAddress({});
  assert.deepEqual(subjectInAddress(), {});
  assert.equal(history.pushed.at(-1), "/?lang=zh");
});

test("the same subject again adds no history entry", () => {
  putInAddress({ job: "1" });
  putInAddress({ job: "1" });
  assert.equal(history.pushed.length, 1);
});

test("a subject in the same place takes the place of the one before in the history", () => {
  history.pushed.length = 0;
  putInAddress({ job: "3" });
  putInAddress({ job: "4" }, { isSamePlace: true });
  assert.deepEqual([history.pushed.length, location.hash], [1, "#job=4"]);
});

test("going back reports the subject", () => {
  const seen = [];
  watchAddress((subject) => seen.push(subject));
  location.hash = "#album=2";
  dispatch("hashchange");
  assert.deepEqual(seen, [{ album: "2" }]);
});

test("a key is taken out of the address, and nothing else is", () => {
  location.hash = "#key=sakuga_a-b_c&job=1";
  assert.equal(takeKey(), "sakuga_a-b_c");
  assert.equal(location.hash, "#job=1");
  assert.equal(takeKey(), null);
  assert.deepEqual([location.hash, history.pushed], ["#job=1", []]);
});

test("an address with nothing but a key keeps the language", () => {
  const addresses = [];
  const { replaceState } = history;
  history.replaceState = (_state, _title, url) => addresses.push(url);
  location.search = "?lang=zh";
  location.hash = "#key=sakuga_abc";
  takeKey();
  history.replaceState = replaceState;
  assert.deepEqual(addresses, ["/?lang=zh"]);
});

test("a key that arrives while the page is open is no subject", () => {
  const seen = [];
  watchAddress((subject) => seen.push(subject));
  location.hash = "#key=sakuga_abc";
  dispatch("hashchange");
  assert.deepEqual([seen, location.hash], [[{}], ""]);
});

test("a link to the other language keeps the subject", () => {
  const link = Object.assign(new EventTarget(), { hash: "" });
  document.querySelectorAll = () => [link];
  keepInOtherLanguages();
  location.hash = "#job=1";
  link.dispatchEvent(new Event("click"));
  assert.equal(link.hash, "#job=1");
});
