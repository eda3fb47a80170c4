import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { aJob, isUnreachable, refusal, requests, serve, settled, streams } from "./browser.js";
import { Countdown } from "../../web/static/js/countdown.js";
import { follow } from "../../web/static/js/follow.js";

let now_ms = 0;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now_ms);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

async function passes(ms) {
  now_ms += ms;
  mock.timers.tick(ms);
  await settled();
}

/** Follow a job and record what is reported, and its end. */
function following(job) {
  const seen = { jobs: [], silences: 0, run: new AbortController() };
  const watcher = { onChange: (now) => seen.jobs.push(now), onSilence: () => seen.silences++ };
  seen.end = follow(job, watcher, seen.run.signal);
  seen.end.catch(() => {});
  return seen;
}

const lefts = (seen) => seen.jobs.map(({ eta_s }) => eta_s);

test("the time left counts down between two events", async () => {
  const told = [];
  const countdown = new Countdown(aJob({ eta_s: 2.5 }), ({ eta_s }) => told.push(eta_s));
  for (let seconds = 0; seconds < 3; seconds++) await passes(1000);
  assert.deepEqual(told, [2.5, 1.5, 0.5, 0]);
  countdown.restart(aJob({ eta_s: null }));
  countdown.stop();
  await passes(5000);
  assert.deepEqual(told.slice(4), [null]);
});

test("progress is reported without restarting the estimate", async () => {
  const told = [];
  const countdown = new Countdown(aJob({ eta_s: 5 }), (job) => told.push(job));
  await passes(1000);
  countdown.amend({ stage: "generate" });
  assert.deepEqual([told.at(-1).stage, told.at(-1).eta_s], ["generate", 4]);
  countdown.stop();
});

test("a job is followed to its end by its events", async () => {
  const seen = following(aJob());
  const [stream] = streams.slice(-1);
  assert.equal(stream.url, "/api/v1/jobs/1/events");
  stream.emit("state", aJob({ state: "running", eta_s: 4 }));
  stream.emit("progress", { progress: 0.5, stage: "generate" });
  await passes(1000);
  const { state, stage, eta_s } = seen.jobs.at(-1);
  assert.deepEqual([state, stage, eta_s], ["running", "generate", 3]);
  stream.emit("done", aJob({ state: "succeeded" }));
  assert.equal((await seen.end).state, "succeeded");
  assert.equal(stream.isOpen, false);
  const count = seen.jobs.length;
  await passes(5000);
  assert.equal(seen.jobs.length, count, "nothing is counted down after the end");
});

test("a finished job opens no stream", async () => {
  serve(() => assert.fail());
  assert.equal((await following(aJob({ state: "failed" })).end).state, "failed");
  assert.equal(streams.length, 0);
});

test("a job whose stream is lost is polled until it is over", async () => {
  const answers = [aJob({ state: "running", eta_s: 3 }), aJob({ state: "succeeded" })];
  serve(() => answers.shift());
  const seen = following(aJob());
  streams.at(-1).fail();
  await settled();
  assert.equal(seen.jobs.at(-1).state, "running");
  await passes(1000);
  assert.equal((await seen.end).state, "succeeded");
  assert.deepEqual(requests, ["GET /api/v1/jobs/1", "GET /api/v1/jobs/1"]);
});

test("an unreachable service is polled again, and the countdown stops meanwhile", async () => {
  let isAway = true;
  serve(() => (isAway ? isUnreachable() : aJob({ state: "succeeded" })));
  const seen = following(aJob());
  streams.at(-1).fail();
  await settled();
  const count = seen.jobs.length;
  await passes(1000);
  await passes(1000);
  assert.deepEqual([seen.silences, seen.jobs.length], [3, count]);
  isAway = false;
  await passes(1000);
  assert.equal((await seen.end).state, "succeeded");
});

test("polling ends when the job is gone", async () => {
  serve(() => refusal(404, { code: "unknown_job", title: "No such job" }));
  const seen = following(aJob());
  streams.at(-1).fail();
  await assert.rejects(seen.end, { code: "unknown_job" });
});

test("nothing is reported after an abort", async () => {
  const seen = following(aJob());
  const stream = streams.at(-1);
  seen.run.abort();
  await assert.rejects(seen.end, { name: "AbortError" });
  assert.equal(stream.isOpen, false);
  await assert.rejects(follow(aJob(), {}, seen.run.signal), { name: "AbortError" });
  assert.ok(lefts(seen).length >= 1);
});
