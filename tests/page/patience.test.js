import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { happens, settled } from "./browser.js";
import { ProblemError } from "../../web/static/js/api.js";
import { mayPass, patiently, pause } from "../../web/static/js/patience.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/** Ask something that fails with each of these problems in turn and then is there; what was heard of it. */
function asking(...problems) {
  const heard = { tries: 0, waits: [], run: new AbortController(), answer: null };
  const ask = async () => {
    heard.tries++;
    if (problems.length) throw problems.shift();
    return "here";
  };
  heard.answer = patiently(ask, (problem) => heard.waits.push(problem.code), heard.run.signal);
  heard.answer.catch(() => {});
  return heard;
}

const lost = () => new ProblemError({ code: "unreachable" });

test("asking again can help where nobody answered, all was busy, or the service had a fault", () => {
  const statuses = [0, 429, 500, 503, 400, 404, 413, 422];
  assert.deepEqual(
    statuses.filter((status) => mayPass(new ProblemError({ status }))),
    [0, 429, 500, 503],
  );
  assert.equal(mayPass(new ProblemError({ status: 429, code: "quota_exceeded" })), false);
  assert.equal(mayPass(new Error("ours")), false);
});

test("each wait is twice as long as the one before, up to a quarter of a minute", async () => {
  const heard = asking(...Array.from({ length: 7 }, lost));
  for (const wait_ms of [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]) {
    await settled();
    const { tries } = heard;
    mock.timers.tick(wait_ms - 1);
    await settled();
    assert.equal(heard.tries, tries, `it waits ${wait_ms} ms`);
    mock.timers.tick(1);
    await settled();
    assert.equal(heard.tries, tries + 1);
  }
  assert.equal(await heard.answer, "here");
  assert.equal(heard.waits.length, 7);
});

test("a busy service is asked again when it says, and not before", async () => {
  const heard = asking(new ProblemError({ status: 429, code: "queue_full", retry_after_s: 3 }));
  await settled();
  mock.timers.tick(2999);
  await settled();
  assert.equal(heard.tries, 1);
  mock.timers.tick(1);
  assert.equal(await heard.answer, "here");
});

test("when the connection is back it is asked at once", async () => {
  const heard = asking(lost(), lost());
  await settled();
  happens("online");
  await settled();
  happens("online");
  assert.equal(await heard.answer, "here");
});

test("what waiting cannot mend is told at once", async () => {
  const heard = asking(new ProblemError({ status: 422, code: "damaged_photo" }));
  await assert.rejects(heard.answer, { code: "damaged_photo" });
  assert.deepEqual([heard.tries, heard.waits], [1, []]);
});

test("who leaves in the middle of a wait leaves for good", async () => {
  const heard = asking(lost(), lost());
  await settled();
  heard.run.abort();
  await assert.rejects(heard.answer, { name: "AbortError" });
  mock.timers.tick(60_000);
  await settled();
  assert.equal(heard.tries, 1);
});

test("a pause ends when it is over, or when nobody wants it any more", async () => {
  const run = new AbortController();
  const first = pause(1000, run.signal);
  mock.timers.tick(1000);
  await first;
  const second = pause(1000, run.signal);
  run.abort();
  await assert.rejects(second, { name: "AbortError" });
});
