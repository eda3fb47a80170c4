import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { aJob, isUnreachable, refusal, requests, serve, settled } from "./browser.js";
import { ProblemError, ask, call, cancelJob, getJob, isOver } from "../../web/static/js/api.js";
import english from "../../web/static/js/phrases-en.js";

const signal = new AbortController().signal;
const problemWith = (expected) => (error) =>
  error instanceof ProblemError && Object.entries(expected).every(([key, value]) => error[key] === value);

test("a job is requested by its id, with any characters escaped", async () => {
  serve(() => aJob());
  assert.equal((await getJob("a/b", signal)).state, "queued");
  await cancelJob(aJob({ links: { cancel: "/api/v1/jobs/1/cancel" } }));
  assert.deepEqual(requests, ["GET /api/v1/jobs/a%2Fb", "POST /api/v1/jobs/1/cancel"]);
});

test("a response without a body is null", async () => {
  serve(() => new Response(null, { status: 204 }));
  assert.equal(await call("/x", { method: "DELETE" }), null);
});

test("a problem carries the details of the service and when to retry", async () => {
  const problem = { code: "queue_full", title: "The queue is full", detail: "Later.", status: 1 };
  serve(() => refusal(503, problem, { "Retry-After": "7" }));
  await assert.rejects(call("/x", {}), problemWith({ ...problem, status: 503, retry_after_s: 7 }));
});

test("an error of a proxy in between, without a problem document, carries its status", async () => {
  serve(() => new Response("<html>Bad gateway", { status: 502 }));
  await assert.rejects(
    call("/x", {}),
    problemWith({ status: 502, code: "unknown", detail: english.badStatus(502), retry_after_s: 0 }),
  );
});

test("a lost connection is a problem of its own", async () => {
  serve(isUnreachable);
  await assert.rejects(call("/x", {}), problemWith({ status: 0, code: "unreachable", title: english.unreachable }));
});

test("an aborted request rejects with AbortError and not with a problem", async () => {
  const run = new AbortController();
  serve(() => {
    run.abort();
    throw run.signal.reason;
  });
  await assert.rejects(ask("/x", run.signal), { name: "AbortError" });
  await assert.rejects(ask("/x", run.signal), { name: "AbortError" });
  assert.deepEqual(requests, ["GET /x"]); // an aborted signal sends no request
});

test("a dead connection is given up after 15 seconds", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    serve(({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
    const answer = ask("/x", signal);
    answer.catch(() => {});
    await settled();
    mock.timers.tick(15_000);
    await assert.rejects(answer, problemWith({ code: "unreachable" }));
  } finally {
    mock.timers.reset();
  }
});

test("a job is over unless it waits or runs", () => {
  const states = ["queued", "running", "succeeded", "failed", "canceled", "expired"];
  assert.deepEqual(
    states.filter((state) => isOver(aJob({ state }))),
    states.slice(2),
  );
});
