import assert from "node:assert/strict";
import { test } from "node:test";

import { aJob, anAlbum } from "./browser.js";
import { Pace, progressOf } from "../../web/static/js/album-progress.js";
import english from "../../web/static/js/phrases-en.js";
import chinese from "../../web/static/js/phrases-zh.js";
import * as words from "../../web/static/js/words.js";

/** Where a phrase is missing the page would say "undefined". */
function places(value, path = "") {
  if (typeof value !== "object") return [`${path}: ${typeof value}`];
  return Object.entries(value).flatMap(([key, below]) => places(below, `${path}.${key}`));
}

test("both languages have the same phrases", () => {
  const own = (place) => !/^\.(problems|notes|sentences)\./.test(place); // the service's own English is shown instead
  assert.deepEqual(places(english).filter(own), places(chinese).filter(own));
});

test("every phrase with a parameter contains it", () => {
  for (const [language, say] of Object.entries({ english, chinese })) {
    for (const [key, phrase] of Object.entries(say).filter(([, phrase]) => typeof phrase === "function")) {
      const given = ["7", "9"].slice(0, phrase.length);
      for (const one of given) assert.ok(phrase(...given).includes(one), `${key} in ${language}`);
    }
  }
});

const queued = (about) => words.underWay(aJob(about)).story;

test("a waiting job shows its place in the queue and its time", () => {
  const toGo = english.toGo(english.seconds("5"));
  assert.equal(queued({ position: 1, eta_s: 4.2 }), `${english.next}. ${toGo}.`);
  assert.equal(queued({ position: 3, eta_s: 4.2 }), `${english.before(2)}. ${toGo}.`);
  assert.equal(queued({ position: null, eta_s: null }), `${english.noWorker}.`);
  assert.equal(queued({ position: 1, eta_s: 0.4 }), `${english.next}.`);
});

test("a running job shows its stage and its time", () => {
  const running = (about) => words.underWay(aJob({ state: "running", ...about }));
  assert.deepEqual(running({ stage: "decode", eta_s: 12 }), {
    headline: english.stages.decode,
    story: `${english.toGo(english.seconds("12"))}.`,
  });
  assert.deepEqual(running({ stage: null, eta_s: 0 }), { headline: english.drawing, story: `${english.anyMoment}.` });
  assert.deepEqual(running({ stage: "new", eta_s: null }), { headline: english.drawing, story: "" });
});

test("the facts of a picture are those that are known", () => {
  const result = { width: 512, height: 384 };
  const facts = (about) => words.finished(aJob({ state: "succeeded", max_side: 512, result, ...about })).story;
  assert.equal(
    facts({ timings: { generate_s: 0.24 } }),
    `${english.pixels(512, 384)}, ${english.drawnIn(english.seconds("0.2"))}.`,
  );
  for (const timings of [{ generate_s: 0.04 }, {}, null]) {
    assert.equal(facts({ timings }), `${english.pixels(512, 384)}.`); // an imperceptible time is left out
  }
  assert.equal(facts({ max_side: 1024 }), `${english.pixels(512, 384)}, ${english.asLargeAsPhoto}.`);
  assert.match(facts({ expires_at: "2030-01-01T10:00:00Z" }), /Tuesday/);
  assert.ok(facts({ notes: ["The alpha is gone."] }).endsWith(". The alpha is gone."));
  assert.equal(words.factsOf(aJob({ state: "succeeded", result: null })), "");
});

test("the reason for a failure decides whether the same photo can be retried", () => {
  const reason = (code) => words.reasonOf({ code, title: "Title", detail: "Detail" });
  const { title, detail } = reason("damaged_photo");
  assert.deepEqual([title, detail], [english.problems.damaged_photo.title, "Detail"]);
  const codes = [
    "internal",
    "timed_out",
    "not_a_photo",
    "damaged_photo",
    "photo_too_large",
    "unusable_photo",
    "unknown_job",
    "expired",
  ];
  assert.deepEqual(
    codes.filter((code) => reason(code).mayRetry),
    ["internal", "timed_out"],
  );
  assert.deepEqual(
    codes.filter((code) => reason(code).isBroken),
    ["not_a_photo", "damaged_photo"],
  );
  assert.equal(words.whyNot(aJob({ state: "expired" })).title, english.expiredTitle);
  assert.equal(words.whyNot(aJob({ state: "failed", error: { code: "x", title: "T", detail: "D" } })).title, "T");
});

test("the refusal for too many bytes names the limit", () => {
  assert.equal(words.tooManyBytes(41.26 * 2 ** 20, 2 ** 25).detail, english.tooLarge("41.3 MiB", "32 MiB"));
  assert.equal(words.archiveTooLarge(2 ** 31, 2 ** 30), english.archiveTooLarge("2,048 MiB", "1,024 MiB"));
});

test("an upload shows its progress, and then that the photo is being checked", () => {
  assert.equal(words.sending(0.999).story, english.sentShare(99));
  assert.equal(words.sending(1).story, english.checkingPhoto);
  assert.equal(words.sendingArchive("a.zip", 0.5), `${english.sendingArchive("a.zip", 50)}.`);
  assert.equal(words.sendingArchive("a.zip", 1), `${english.unpacking("a.zip")}.`);
});

test("a long time is rounded, and does not flicker", () => {
  const roughly = {
    0: "5 s",
    3: "5 s",
    6: "10 s",
    54: "55 s",
    75: "75 s",
    114: "115 s",
    116: "2 min",
    200: "3 min",
    3569: "59 min",
    3600: "1 h",
    5400: "1 h 30 min",
  };
  for (const [value, told] of Object.entries(roughly))
    assert.equal(words.busy(Number(value)), `${english.busy(told)}.`);
});

const none = { all: 0, done: 0, failed: 0, canceled: 0, unsent: 0, eta_s: null };

test("an album under way shows what is done, failed, left and still to be sent", () => {
  assert.equal(words.albumProgress({ ...none, all: 3, done: 1 }), `${english.progress("1", "3")}.`);
  const all = words.albumProgress({ ...none, all: 1200, done: 2, failed: 1, unsent: 4, eta_s: 42 });
  assert.equal(
    all,
    `${english.progress("2", "1,200")}, ${english.about("45 s")}, ${english.someFailed("1")}. ${english.keepOpen("4")}.`,
  );
});

test("a finished album sums up its photos", () => {
  const { expires_at } = anAlbum();
  assert.equal(words.albumOver(none, expires_at), english.noneInAlbum);
  assert.ok(words.albumOver({ ...none, all: 2, done: 2 }, expires_at).startsWith(`${english.allDone(2)}. `));
  assert.equal(
    words.albumOver({ ...none, all: 3, failed: 2, canceled: 1 }, expires_at),
    `${english.someDone("0", "3")}, ${english.someFailed("2")}, ${english.someCanceled("1")}.`,
  );
});

test("an earlier picture or album tells its style, its size and its time, without the day if that is today", () => {
  const today = new Date();
  today.setHours(9, 5);
  const told = (about) => words.earlierOne({ count: 2, at: today.getTime(), style: "Yoi", max_side: 512, ...about });
  assert.equal(told({ kind: "album" }), "2 photos · Yoi, 512 px · 9:05 AM");
  assert.equal(told({ kind: "job" }), "Yoi, 512 px · 9:05 AM");
  assert.equal(told({ kind: "job", max_side: 8192 }), "Yoi, original size · 9:05 AM");
  assert.equal(told({ kind: "job", style: undefined }), "9:05 AM"); // remembered by an earlier release
  assert.match(told({ kind: "job", at: Date.parse("2030-01-01T12:00:00Z") }), /Tue|Mon|Wed/);
});

test("labels come from the phrases", () => {
  assert.equal(words.tile("a.jpg", "running"), english.tile("a.jpg", english.states.running));
  assert.equal(words.stateOf("failed"), english.states.failed);
  assert.equal(words.split(33.4), english.split(33, 67));
  assert.deepEqual([words.retry(true), words.retry(false)], [english.retryFailed, english.convertRest]);
  assert.equal(words.albumOf(new Date(2030, 0, 2, 15, 7)), english.albumOf("January 2 at 3:07 PM"));
  assert.equal(words.skipped({ leftOut: 2, hidden: 1 }), `${english.leftOut(2)} ${english.hidden(1)}`);
  assert.deepEqual([words.skipped({ leftOut: 0, hidden: 2 }), words.skipped({ leftOut: 0, hidden: 0 })], [english.hidden(2), ""]);
  assert.deepEqual([1, 2].map(words.missing), [1, 2].map(english.missing));
  assert.equal(words.placeOf(2, 4), english.placeOf(2, 4));
  assert.equal(words.statusOnly(502), english.badStatus(502));
});

/** @param {string[]} states */
const items = (...states) =>
  states.map((state, place) => ({ name: `${place}.jpg`, state, job: null, file: null, error: null }));

test("the photos of an album are counted by state", (t) => {
  t.mock.method(performance, "now", () => 0);
  const all = items("succeeded", "failed", "canceled", "expired", "missing", "waiting", "sending", "queued", "running");
  const progress = progressOf(all, { due_ms: 10_000, pace_s: null, isGrowing: false });
  const { done, failed, canceled, missing, unsent, isOver } = progress;
  assert.deepEqual([progress.all, done, failed, canceled, missing, unsent, isOver], [9, 1, 1, 2, 1, 2, false]);
  const eta_s = (states, pace_s = null) => progressOf(items(...states), { due_ms: 10_000, pace_s, isGrowing: false }).eta_s;
  assert.equal(progress.eta_s, null, "the service knows nothing of what is unsent");
  assert.deepEqual([eta_s(["queued", "running"]), eta_s(["queued", "waiting"], 3), eta_s(["failed"], 3)], [10, 6, null]);
});

test("the pace is that of the photos seen to end, once they are a few", (t) => {
  let now_ms = 0;
  t.mock.method(performance, "now", () => now_ms);
  const pace = new Pace();
  const paces = [1, 1, 3, 5].map((succeeded) => {
    now_ms += 1000;
    pace.note({ queued: 9, running: 1, succeeded, failed: 0 });
    return pace.photo_s();
  });
  assert.deepEqual(paces, [null, null, null, 0.75]);
  pace.note({ queued: 0, running: 0, succeeded: 9, failed: 0 });
  assert.equal(pace.photo_s(), null);
});

test("an album is over when nothing waits on either side and no more is to come", () => {
  const over = (states, isGrowing = false) => progressOf(items(...states), { due_ms: 0, pace_s: null, isGrowing }).isOver;
  assert.deepEqual(
    [over(["succeeded", "missing"]), over(["succeeded"], true), over(["queued"]), over(["waiting"])],
    [true, false, false, false],
  );
});

test("a failed photo can be retried if that can help and its file is at hand", () => {
  const [item] = items("failed");
  const mayRetry = (about) => progressOf([{ ...item, ...about }], { due_ms: 0, pace_s: null, isGrowing: false }).mayRetry;
  const error = (code) => ({ code, title: "", detail: "" });
  assert.equal(mayRetry({ job: aJob(), error: error("timed_out") }), true);
  assert.equal(mayRetry({ file: new File([], "a.jpg"), error: error("unreadable") }), true);
  assert.equal(mayRetry({ job: aJob(), error: error("damaged_photo") }), false);
  assert.equal(mayRetry({}), false);
  assert.equal(mayRetry({ state: "succeeded", job: aJob() }), false);
});
