import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import "./browser.js";
import {
  addThumbnail,
  earlier,
  forget,
  remember,
  rememberNames,
  rememberedNames,
} from "../../web/static/js/earlier.js";

const ids = () => earlier().map(({ id }) => id);

/** @param {number} at */
function one(at, about = {}) {
  return { kind: "album", id: `album ${at}`, name: "", count: 1, at, until: Date.now() + 60_000, ...about };
}

beforeEach(() => localStorage.clear());

test("the newest entry comes first, and the oldest are dropped with their names", () => {
  rememberNames("album 1", ["a.jpg"]);
  for (const at of [2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]) remember(one(at));
  assert.deepEqual(
    ids(),
    [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2].map((at) => `album ${at}`),
  );
  assert.deepEqual(rememberedNames("album 1"), []);
});

test("an entry remembered again replaces the earlier one, but for its thumbnail", () => {
  remember(one(1));
  addThumbnail("album 1", "data:,");
  addThumbnail("album 1", null);
  addThumbnail("album 2", "data:,");
  remember(one(1, { count: 7 }));
  assert.deepEqual(
    earlier().map(({ count, thumbnail }) => [count, thumbnail]),
    [[7, "data:,"]],
  );
});

test("expired entries are not listed", () => {
  remember(one(1, { until: Date.now() - 1 }));
  remember(one(2));
  assert.deepEqual(ids(), ["album 2"]);
});

test("a forgotten entry is removed with its names", () => {
  remember(one(1));
  rememberNames("album 1", ["a.jpg", "b.jpg"]);
  assert.deepEqual(rememberedNames("album 1"), ["a.jpg", "b.jpg"]);
  forget("album 1");
  assert.deepEqual([earlier(), rememberedNames("album 1")], [[], []]);
});

test("full or damaged storage breaks nothing", () => {
  localStorage.isFull = true;
  remember(one(1));
  assert.deepEqual(earlier(), []);
  localStorage.isFull = false;
  localStorage.setItem("sakuga.earlier", "{");
  assert.deepEqual(earlier(), []);
});
