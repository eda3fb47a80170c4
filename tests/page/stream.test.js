import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { dispatch, streams } from "./browser.js";
import { openStream } from "../../web/static/js/stream.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/** An open stream, the events received on it, and how often it was lost. */
function listening() {
  const told = { seen: [], losses: 0 };
  const hear = { state: (data) => told.seen.push(data), done: (data) => told.seen.push(data) };
  told.close = openStream("/events", hear, () => told.losses++);
  told.stream = streams.at(-1);
  return told;
}

test("events with a handler are reported, and others are ignored", () => {
  const told = listening();
  told.stream.emit("state", { n: 1 });
  told.stream.emit("progress", { n: 2 });
  told.stream.emit("done", { n: 3 });
  assert.deepEqual(told.seen, [{ n: 1 }, { n: 3 }]);
  assert.equal(told.stream.url, "/events");
});

test("a stream with an event now and then stays open", () => {
  const told = listening();
  for (let times = 0; times < 10; times++) {
    mock.timers.tick(29_999);
    told.stream.emit("state", {});
  }
  assert.equal(told.losses, 0);
});

test("a silent stream is given up after half a minute", () => {
  const told = listening();
  told.stream.emit("state", {});
  mock.timers.tick(29_999);
  assert.equal(told.losses, 0);
  mock.timers.tick(1);
  assert.equal(told.losses, 1);
});

test("a stream is lost when it breaks, or when the browser goes offline or online", () => {
  const told = listening();
  told.stream.fail();
  dispatch("offline");
  dispatch("online");
  assert.equal(told.losses, 3);
});

test("a closed stream reports nothing more", () => {
  const told = listening();
  told.close();
  assert.equal(told.stream.isOpen, false);
  mock.timers.tick(60_000);
  dispatch("offline");
  assert.equal(told.losses, 0);
});
