import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import "./browser.js";
import { earlier, forget, remember, rememberNames, rememberedNames } from "../../web/static/js/earlier.js";
import { keptPhoto } from "../../web/static/js/session-photo.js";

const ids = () => earlier().map(({ id }) => id);

/** @param {number} at */
function one(at, about = {}) {
  return { kind: "album", id: `album ${at}`, name: "", count: 1, at, until: Date.now() + 60_000, ...about };
}

beforeEach(() => localStorage.clear());

test("the newest comes first, and of many the oldest are forgotten with their names", () => {
  rememberNames("album 1", ["a.jpg"]);
  for (const at of [2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]) remember(one(at));
  assert.deepEqual(
    ids(),
    [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2].map((at) => `album ${at}`),
  );
  assert.deepEqual(rememberedNames("album 1"), []);
});

test("what is remembered again takes its own place", () => {
  remember(one(1));
  remember(one(1, { count: 7 }));
  assert.deepEqual(
    earlier().map(({ count }) => count),
    [7],
  );
});

test("what the service has erased by now is not listed", () => {
  remember(one(1, { until: Date.now() - 1 }));
  remember(one(2));
  assert.deepEqual(ids(), ["album 2"]);
});

test("what is forgotten is gone with its names", () => {
  remember(one(1));
  rememberNames("album 1", ["a.jpg", "b.jpg"]);
  assert.deepEqual(rememberedNames("album 1"), ["a.jpg", "b.jpg"]);
  forget("album 1");
  assert.deepEqual([earlier(), rememberedNames("album 1")], [[], []]);
});

test("where storage is full or damaged, nothing is remembered and nothing breaks", () => {
  localStorage.isFull = true;
  remember(one(1));
  assert.deepEqual(earlier(), []);
  localStorage.isFull = false;
  localStorage.setItem("sakuga.earlier", "{");
  assert.deepEqual(earlier(), []);
});

test("a kept photo is that of its own job alone", () => {
  sessionStorage.setItem("sakuga.photo", JSON.stringify({ jobId: "1", url: "data:," }));
  assert.deepEqual([keptPhoto("1"), keptPhoto("2")], ["data:,", null]);
  sessionStorage.setItem("sakuga.photo", "{");
  assert.equal(keptPhoto("1"), null);
});
