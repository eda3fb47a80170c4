import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { happens } from "./browser.js";
import { carrySubject, putInAddress, subjectInAddress, watchAddress } from "../../web/static/js/address.js";

beforeEach(() => {
  location.hash = location.search = "";
  history.pushed.length = 0;
});

test("what is put in the address is read from it, whatever its id", () => {
  putInAddress({ job: "a/b&c=#" });
  assert.deepEqual(subjectInAddress(), { job: "a/b&c=#" });
});

test("nothing in the address leaves the language in it", () => {
  location.search = "?lang=zh";
  putInAddress({ album: "1" });
  putInAddress({});
  assert.deepEqual(subjectInAddress(), {});
  assert.equal(history.pushed.at(-1), "/?lang=zh");
});

test("the same subject again is no step to go back", () => {
  putInAddress({ job: "1" });
  putInAddress({ job: "1" });
  assert.equal(history.pushed.length, 1);
});

test("who goes back is told the subject", () => {
  const heard = [];
  watchAddress((subject) => heard.push(subject));
  location.hash = "#album=2";
  happens("hashchange");
  assert.deepEqual(heard, [{ album: "2" }]);
});

test("a link to the other language takes the subject along", () => {
  const link = Object.assign(new EventTarget(), { hash: "" });
  carrySubject(link);
  location.hash = "#job=1";
  link.dispatchEvent(new Event("click"));
  assert.equal(link.hash, "#job=1");
});
