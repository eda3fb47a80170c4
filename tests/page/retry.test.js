import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { dispatch, settled } from "./browser.js";
import { ProblemError } from "../../web/static/js/api.js";
import { isTransient, pause, withRetries } from "../../web/static/js/retry.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/** Start a request that fails with each of these problems in turn and then succeeds; return a record of its run. */
function requesting(...problems) {
  const seen = { tries: 0, waits: [], run: new AbortController(), answer: null };
  const request = async () => {
    seen.tries++;
    if (problems.length) throw problems.shift();
    return "here";
  };
  seen.answer = withRetries(request, (problem) => seen.waits.push(problem.code), seen.run.signal);
  seen.answer.catch(() => {});
  return seen;
}

const lost = () => new ProblemError({ code: "unreachable" });

test("errors of the network, of the server and of rate limits are transient", () => {
  const statuses = [0, 429, 500, 503, 400, 404, 413, 422];
  assert.deepEqual(
    statuses.filter((status) => isTransient(new ProblemError({ status }))),
    [0, 429, 500, 503],
  );
  assert.equal(isTransient(new ProblemError({ status: 429, code: "quota_exceeded" })), false);
  assert.equal(isTransient(new Error("ours")), false);
});

test("the delay doubles with every attempt, up to 15 seconds", async () => {
  const seen = requesting(...Array.from({ length: 7 }, lost));
  for (const wait_ms of [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]) {
    await settled();
    const { tries } = seen;
    mock.timers.tick(wait_ms - 1);
    await settled();
    assert.equal(seen.tries, tries, `it waits ${wait_ms} ms`);
    mock.timers.tick(1);
    await settled();
    assert.equal(seen.tries, tries + 1);
  }
  assert.equal(await seen.answer, "here");
  assert.equal(seen.waits.length, 7);
});

test("a busy service is tried again after its Retry-After, and not before", async () => {
  const seen = requesting(new ProblemError({ status: 429, code: "queue_full", retry_after_s: 3 }));
  await settled();
  mock.timers.tick(2999);
  await settled();
  assert.equal(seen.tries, 1);
  mock.timers.tick(1);
  assert.equal(await seen.answer, "here");
});

test("a request is retried at once when the browser is online again", async () => {
  const seen = requesting(lost(), lost());
  await settled();
  dispatch("online");
  await settled();
  dispatch("online");
  assert.equal(await seen.answer, "here");
});

test("a permanent error is thrown without a retry", async () => {
  const seen = requesting(new ProblemError({ status: 422, code: "damaged_photo" }));
  await assert.rejects(seen.answer, { code: "damaged_photo" });
  assert.deepEqual([seen.tries, seen.waits], [1, []]);
});

test("an aborted request is not retried", async () => {
  const seen = requesting(lost(), lost());
  await settled();
  seen.run.abort();
  await assert.rejects(seen.answer, { name: "AbortError" });
  mock.timers.tick(60_000);
  await settled();
  assert.equal(seen.tries, 1);
});

test("a pause ends on time, or when it is aborted", async () => {
  const run = new AbortController();
  const first = pause(1000, run.signal);
  mock.timers.tick(1000);
  await first;
  const second = pause(1000, run.signal);
  run.abort();
  await assert.rejects(second, { name: "AbortError" });
});
