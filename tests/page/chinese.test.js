import assert from "node:assert/strict";
import { test } from "node:test";

import { aJob } from "./browser.js";
import chinese from "../../web/static/js/phrases-zh.js";

document.documentElement.lang = "zh"; // before a module looks
const words = await import("../../web/static/js/words.js");

test("on a Chinese page the same modules speak Chinese", () => {
  const { story } = words.underWay(aJob({ position: 1, eta_s: 4.2 }));
  assert.equal(
    story,
    [chinese.next, chinese.toGo(chinese.seconds("5"))].map((part) => part + chinese.stop).join(chinese.space),
  );
  const told = (code, detail) => words.reasonOf({ code, title: "", detail }).detail;
  const large = "A photo may have at most 64 megapixels; this one has 283.5.";
  assert.equal(told("photo_too_large", large), "照片最多 6400 万像素，这张有 2.8 亿像素。");
  assert.equal(told("photo_too_large", "What no release says."), chinese.problems.photo_too_large.detail);
});
