import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, mock, test } from "node:test";

import { aJob, aPhoto, anAlbum, isUnreachable, refusal, requests, serve, settled, streams } from "./browser.js";
import { createAlbum, photosOf, sendPhoto } from "../../web/static/js/albums.js";
import { compared } from "../../web/static/js/compared.js";
import { sha256 } from "../../web/static/js/digest.js";
import { earlier, rememberNames, rememberedNames } from "../../web/static/js/earlier.js";
import { followAlbum } from "../../web/static/js/follow-album.js";
import { OpenAlbum } from "../../web/static/js/open-album.js";
import english from "../../web/static/js/phrases-en.js";
import { sendPhotos } from "../../web/static/js/sending.js";

const signal = new AbortController().signal;
const digest = (text) => createHash("sha256").update(text).digest("hex");
const OPTIONS = { style: "hinata", max_side: "512", format: "png", faces: "off" };

beforeEach(() => {
  localStorage.clear();
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => mock.timers.reset());

async function passes(ms) {
  await settled();
  mock.timers.tick(ms);
  await settled();
}

test("a file is identified by its SHA-256, or not at all if it cannot be read", async () => {
  assert.equal(await sha256(new File(["abc"], "a.jpg")), digest("abc"));
  assert.equal(await sha256({ arrayBuffer: () => Promise.reject(new Error("gone")) }), null);
});

test("an album is created with the chosen options", async () => {
  const sent = [];
  serve(({ body }) => (sent.push(JSON.parse(body)), anAlbum()));
  await createAlbum("Trip", OPTIONS, signal);
  assert.deepEqual(sent, [{ name: "Trip", style: "hinata", max_side: 512, format: "png", faces: "off" }]);
});

test("the photos of an album are requested page by page", async () => {
  const pages = { 0: ["a", "b"], 2: ["c"] };
  serve(({ url }) => {
    const cursor = new URL(url, "http://here").searchParams.get("cursor");
    return { photos: pages[cursor], next_cursor: cursor === "0" ? 2 : null };
  });
  const photos = [];
  for await (const photo of photosOf(anAlbum(), signal)) photos.push(photo);
  assert.deepEqual(photos, ["a", "b", "c"]);
});

test("a photo rejected within a successful response counts as refused", async () => {
  const rejected = [{ name: "a.jpg", error: { code: "queue_full", title: "Full", detail: "" }, retry_after_s: 4 }];
  serve(() => ({ rejected }));
  await assert.rejects(sendPhoto(anAlbum(), aPhoto("a.jpg"), signal), {
    status: 503,
    code: "queue_full",
    retry_after_s: 4,
  });
  rejected[0].retry_after_s = null;
  await assert.rejects(sendPhoto(anAlbum(), aPhoto("a.jpg"), signal), { status: 422 });
});

test("a file that changed after it was chosen is told apart from a lost connection", async () => {
  serve(isUnreachable);
  await assert.rejects(sendPhoto(anAlbum(), aPhoto("a.jpg"), signal), { code: "unreachable" });
  const gone = aPhoto("a.jpg");
  gone.file.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("changed")) });
  await assert.rejects(sendPhoto(anAlbum(), gone, signal), { code: "unreadable", title: english.unreadable });
});

/** The photos of an album, by name. */
const known = (...items) =>
  new Map(items.map((item) => [item.name, { state: "succeeded", job: aJob(), sha256: null, ...item }]));

test("of photos chosen again, those whose content the album lacks are missing", async () => {
  serve(({ body }) => ({ missing: JSON.parse(body).sha256.filter((one) => one !== digest("a.jpg")) }));
  const items = known({ name: "x.jpg", sha256: digest("a.jpg") }, { name: "b.jpg" });
  const photos = [aPhoto("a.jpg"), aPhoto("b.jpg"), aPhoto("c.jpg")];
  const { lacking, known: there } = await compared(photos, anAlbum(), items, signal);
  assert.deepEqual(
    lacking.map(({ name }) => name),
    ["b (2).jpg", "c.jpg"],
  );
  assert.deepEqual(
    there.map(({ item, file }) => [item.name, file.name]),
    [["x.jpg", "a.jpg"]],
  );
});

test("a photo never sent before a reload is missing, whatever else has its content", async () => {
  serve(() => ({ missing: [] }));
  const items = known({ name: "a.jpg", state: "missing", job: null });
  const { lacking } = await compared([aPhoto("a.jpg")], anAlbum(), items, signal);
  assert.deepEqual(
    lacking.map(({ name }) => name),
    ["a.jpg"],
  );
});

test("a photo whose name differs from another's in case alone is sent under a name of its own", async () => {
  serve(({ body }) => ({ missing: JSON.parse(body).sha256 }));
  const { lacking } = await compared([aPhoto("A.JPG")], anAlbum(), known({ name: "a.jpg" }), signal);
  assert.deepEqual(
    lacking.map(({ name }) => name),
    ["A (2).JPG"],
  );
});

test("photos without a digest are compared by name", async () => {
  serve(() => assert.fail());
  const unread = (name) => ({ name, file: { arrayBuffer: () => Promise.reject(new Error("no")) } });
  const { lacking, known: there } = await compared(
    [unread("a.jpg"), unread("b.jpg")],
    anAlbum(),
    known({ name: "a.jpg" }),
    signal,
  );
  assert.deepEqual([lacking.map(({ name }) => name), there.length], [["b.jpg"], 1]);
});

/** Send photos to a service and record what dispatch to each. */
async function sending(answer, ...names) {
  const told = [];
  const sender = {
    onStart: ({ name }) => told.push(`start ${name}`),
    onSent: ({ name }) => told.push(`sent ${name}`),
    onRefused: (name, { code }) => told.push(`refused ${name}: ${code}`),
    onWait: ({ code }) => told.push(`wait: ${code}`),
  };
  serve(answer);
  const end = sendPhotos(anAlbum(), names.map(aPhoto), sender, signal);
  end.catch(() => {});
  await settled();
  return { told, end };
}

test("three photos are uploaded at a time", async () => {
  const waiting = [];
  const { told, end } = await sending(() => new Promise((resolve) => waiting.push(resolve)), "1", "2", "3", "4");
  assert.deepEqual(told, ["start 1", "start 2", "start 3"]);
  waiting.shift()({ rejected: [] });
  await settled();
  assert.deepEqual(told.slice(3), ["sent 1", "start 4"]);
  for (const one of waiting) one({ rejected: [] });
  await end;
});

test("a refused photo does not keep others from being sent", async () => {
  const answer = ({ body }) =>
    body.get("photos").name === "1" ? refusal(413, { code: "photo_too_large" }) : { rejected: [] };
  const { told, end } = await sending(answer, "1", "2");
  await end;
  assert.ok(told.includes("refused 1: photo_too_large") && told.includes("sent 2"));
});

test("sending ends when the album is gone", async () => {
  const { end } = await sending(() => refusal(404, { code: "unknown_album" }), "1");
  await assert.rejects(end, { code: "unknown_album" });
});

/** Follow an album and record what is reported. */
function following(about = {}) {
  const seen = { albums: [], photos: [], silences: 0, run: new AbortController(), expectsMore: false };
  const listener = {
    onAlbum: ({ counts }) => seen.albums.push(counts.succeeded),
    onPhoto: ({ name, state }) => seen.photos.push(`${name} ${state}`),
    onSilence: () => seen.silences++,
    expectsMore: () => seen.expectsMore,
    ...about,
  };
  seen.end = followAlbum("a", listener, seen.run.signal);
  seen.end.catch(() => {});
  return seen;
}

/** A service with an album whose photos are in these states, by name. */
function holding(states) {
  const count = (state) => Object.values(states).filter((one) => one === state).length;
  const album = () =>
    anAlbum(Object.fromEntries(["queued", "running", "succeeded", "canceled"].map((state) => [state, count(state)])));
  const photos = () =>
    Object.entries(states).map(([name, state]) => ({ name, state, sha256: null, job: null, error: null }));
  return ({ url }) => (url.includes("/photos") ? { photos: photos(), next_cursor: null } : album());
}

test("an album is followed to its end by its events", async () => {
  const states = { "1.jpg": "succeeded", "2.jpg": "queued" };
  serve(holding(states));
  const seen = following();
  await settled();
  assert.deepEqual(seen.photos, ["1.jpg succeeded", "2.jpg queued"]);
  streams.at(-1).emit("state", { name: "2.jpg", state: "running" });
  assert.equal(seen.photos.at(-1), "2.jpg running");
  states["2.jpg"] = "succeeded";
  streams.at(-1).emit("progress", anAlbum({ succeeded: 2 }));
  streams.at(-1).emit("done", {});
  await passes(200);
  await seen.end;
  assert.equal(seen.albums.at(-1), 2);
  assert.equal(seen.photos.at(-1), "2.jpg succeeded");
  assert.equal(streams.at(-1).isOpen, false);
});

test("an album is followed while all its photos are still to be tried again", async () => {
  const states = { "1.jpg": "succeeded", "2.jpg": "failed" };
  let pending = ["retry"];
  serve((request) => {
    const answer = holding(states)(request);
    return answer.counts ? { ...answer, pending } : answer;
  });
  const seen = following();
  await settled();
  assert.equal(streams.length, 1);
  [states["2.jpg"], pending] = ["queued", []];
  streams.at(-1).emit("progress", anAlbum({ queued: 1, succeeded: 1 }));
  await settled();
  assert.equal(seen.photos.at(-1), "2.jpg queued");
  states["2.jpg"] = "succeeded";
  streams.at(-1).emit("done", {});
  await passes(200);
  await seen.end;
  assert.equal(seen.photos.at(-1), "2.jpg succeeded");
});

test("where events fail the album is polled, with ever fewer attempts to listen", async () => {
  serve(holding({ "1.jpg": "queued" }));
  const seen = following();
  for (let polls = 0; polls < 40; polls++) {
    await settled();
    streams.at(-1).fail();
    await passes(1500);
  }
  assert.ok(requests.length > 30);
  assert.ok(streams.length < 12, `${streams.length} streams`);
  seen.run.abort();
  await assert.rejects(seen.end, { name: "AbortError" });
});

test("an album is not over while more photos are to come, even if none waits", async () => {
  serve(holding({ "1.jpg": "succeeded" }));
  const seen = following();
  const growing = following({ expectsMore: () => true });
  await seen.end;
  await passes(1500);
  assert.ok(growing.albums.length >= 2);
  growing.run.abort();
  await assert.rejects(growing.end);
});

test("an album is requested again from a service that does not respond", async () => {
  let isAway = true;
  const album = holding({ "1.jpg": "succeeded" });
  serve((request) => (isAway ? isUnreachable() : album(request)));
  const seen = following();
  await settled();
  assert.equal(seen.silences, 1);
  isAway = false;
  await passes(1000);
  await seen.end;
});

/** A page that shows an album, and the album. */
function opened(answer) {
  serve(answer);
  const told = { reasons: [], ends: [], changes: 0, deeds: [] };
  const page = {
    onItem: () => {},
    onChange: () => told.changes++,
    onReason: (sentence) => told.reasons.push(sentence),
    onEnd: (error) => told.ends.push(error),
    onDeed: (id) => told.deeds.push(id),
    titleOf: (style) => style.toUpperCase(),
  };
  return { told, album: new OpenAlbum(page, { photoBytes: 100, archiveBytes: 50 }) };
}

const states = (album) => Object.fromEntries([...album.items].map(([name, { state }]) => [name, state]));
const choiceOf = (...names) => ({ title: null, photos: names.map(aPhoto), archives: [], leftOut: 0, hidden: 0 });

/** A service that takes photos into one album and converts each at once. */
function taking(kept = {}) {
  const held = holding(kept);
  return (request) => {
    if (request.url === "/api/v1/albums") return anAlbum();
    if (request.url.endsWith("/check")) return { missing: JSON.parse(request.body).sha256 };
    if (request.method !== "POST" || !request.url.endsWith("/photos")) return held(request);
    kept[request.body.get("photos").name] = "succeeded";
    return { accepted: [], rejected: [], skipped: [] };
  };
}

test("the photos of a new album are sent and followed to their end", async () => {
  const { told, album } = opened(taking());
  await album.start("Trip", OPTIONS, choiceOf("1.jpg", "2.jpg"));
  await settled();
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded", "2.jpg": "succeeded" });
  assert.deepEqual([album.progress().isOver, album.isSending, told.ends], [true, false, []]);
  assert.deepEqual(
    earlier().map(({ id, count, style, max_side }) => [id, count, style, max_side]),
    [["a", 2, "HINATA", 512]],
  );
  assert.deepEqual(new Set(told.deeds), new Set(["a"]), "other tabs are told of it");
  assert.deepEqual(rememberedNames("a"), ["1.jpg", "2.jpg"]);
});

test("a photo with too many bytes is refused before it is sent", async () => {
  const { album } = opened(taking());
  const large = { name: "large.jpg", file: new File(["x".repeat(101)], "large.jpg") };
  await album.start("Trip", OPTIONS, { ...choiceOf(), photos: [large, aPhoto("1.jpg")] });
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.deepEqual(states(album), { "large.jpg": "failed", "1.jpg": "succeeded" });
  assert.equal(album.items.get("large.jpg").error.code, "photo_too_large");
  assert.equal(album.progress().mayRetry, false);
});

test("after a reload unsent photos are missing", async () => {
  rememberNames("a", ["1.jpg", "2.jpg"]);
  const { album } = opened(taking({ "1.jpg": "succeeded" }));
  await album.find("a");
  await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded", "2.jpg": "missing" });
  await album.add(choiceOf("2.jpg"));
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded", "2.jpg": "succeeded" });
});

test("a canceled album sends no more photos", async () => {
  const waiting = [];
  const { album } = opened((request) =>
    request.url.endsWith("/photos") && request.method === "POST"
      ? new Promise((resolve) => waiting.push(resolve))
      : anAlbum(),
  );
  await album.start("Trip", OPTIONS, choiceOf("1", "2", "3", "4", "5"));
  await settled();
  assert.equal(waiting.length, 3);
  await album.cancel();
  await settled();
  assert.deepEqual(new Set(Object.values(states(album))), new Set(["canceled"]));
  assert.equal(waiting.length, 3);
  album.leave();
});

/** A service that draws nothing: it keeps jobs by the name of their photo, cancels and retries them. */
function keeping(kept = {}) {
  const held = holding(kept);
  const all = (from, to) => {
    for (const [name, state] of Object.entries(kept)) if (from.includes(state)) kept[name] = to;
    return anAlbum({ [to]: Object.keys(kept).length });
  };
  return (request) => {
    if (request.url === "/api/v1/albums") return anAlbum();
    if (request.url.endsWith("/cancel")) return all(["queued"], "canceled");
    if (request.url.endsWith("/retry")) return all(["failed", "canceled"], "queued");
    if (request.method === "POST") {
      kept[request.body.get("photos").name] ??= "queued"; // the same photo is one job
      return { accepted: [], rejected: [], skipped: [] };
    }
    const answer = held(request);
    for (const photo of answer.photos ?? []) photo.job = aJob({ state: photo.state });
    return answer;
  };
}

/** The same service; when the page first looks, no photo has arrived. */
function unreported(service) {
  const empty = [anAlbum(), { photos: [], next_cursor: null }];
  return (request) => (request.method === "GET" && empty.shift()) || service(request);
}

test("a canceled album is retried although its jobs have not been reported yet", async () => {
  const kept = {};
  const { album } = opened(unreported(keeping(kept)));
  await album.start("Trip", OPTIONS, choiceOf("1.jpg", "2.jpg"));
  await settled();
  await album.cancel();
  assert.deepEqual(kept, { "1.jpg": "canceled", "2.jpg": "canceled" });
  assert.ok([...album.items.values()].every(({ state, job }) => state === "canceled" && job === null));
  await album.retry();
  await settled();
  assert.deepEqual(kept, { "1.jpg": "queued", "2.jpg": "queued" });
  for (const name of Object.keys(kept)) kept[name] = "succeeded";
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded", "2.jpg": "succeeded" });
  album.leave();
});

test("an album retried while its end is being looked at is followed again", async () => {
  const kept = { "1.jpg": "canceled" };
  const service = keeping(kept);
  const { album } = opened(service);
  await album.find("a");
  await settled();
  const late = [];
  const answerLate = (request) => {
    const answer = service(request);
    return new Promise((resolve) => late.push(() => resolve(answer)));
  };
  serve((request) => (request.method === "GET" && late.length === 0 ? answerLate(request) : service(request)));
  album.look();
  await settled();
  await album.retry();
  assert.equal(kept["1.jpg"], "queued");
  late[0](); // it was over when this was asked
  await settled();
  assert.deepEqual(states(album), { "1.jpg": "queued" });
  kept["1.jpg"] = "succeeded";
  streams.at(-1).emit("done", {});
  await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded" });
  album.leave();
});

test("an album is retried only once it has been canceled", async () => {
  const kept = { "1.jpg": "queued" };
  const service = keeping(kept);
  const { album } = opened(service);
  await album.find("a");
  await settled();
  let cancel = () => {};
  serve((request) =>
    request.url.endsWith("/cancel")
      ? new Promise((resolve) => (cancel = () => resolve(service(request))))
      : service(request),
  );
  const canceled = album.cancel();
  const retried = album.retry();
  await settled();
  assert.ok(!requests.some((request) => request.endsWith("/retry")));
  cancel();
  await Promise.all([canceled, retried]);
  assert.deepEqual(kept, { "1.jpg": "queued" });
  album.leave();
});

test("a photo that is done is not shown as waiting because it is sent once more", async () => {
  const kept = {};
  const waiting = [];
  const service = keeping(kept);
  const { album } = opened(unreported(service));
  await album.start("Trip", OPTIONS, choiceOf("1", "2", "3", "4"));
  await settled();
  await album.cancel();
  serve((request) =>
    request.method === "POST" && request.url.endsWith("/photos")
      ? new Promise((resolve) => waiting.push(() => resolve(service(request))))
      : service(request),
  );
  await album.retry();
  for (const name of Object.keys(kept)) kept[name] = "succeeded";
  await passes(1500); // all are reported before the last is sent
  while (waiting.length > 0) (waiting.shift()(), await settled());
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.deepEqual(new Set(Object.values(states(album))), new Set(["succeeded"]));
  assert.equal(album.progress().isOver, true);
});

test("a busy service and an unreachable one are told apart", async () => {
  let answer = () => refusal(429, { code: "queue_full" }, { "Retry-After": "10" });
  const { album } = opened((request) =>
    request.url.endsWith("/photos") && request.method === "POST" ? answer() : anAlbum(),
  );
  await album.start("Trip", OPTIONS, choiceOf("1.jpg"));
  await settled();
  assert.equal(album.aside, `${english.busy(english.seconds("10"))}.`);
  answer = isUnreachable;
  await passes(10_000);
  assert.equal(album.aside, `${english.silence}. ${english.reconnecting}`);
  album.leave();
});

test("an album that another tab has added to is looked at again, and otherwise its photos are not", async () => {
  const kept = { "1.jpg": "succeeded" };
  const { album } = opened(taking(kept));
  await album.find("a");
  await passes(1500);
  requests.length = 0;
  album.look();
  await passes(1500);
  assert.deepEqual(requests, ["GET /api/v1/albums/a"]);
  kept["2.jpg"] = "succeeded";
  album.look();
  await passes(1500);
  assert.deepEqual(states(album), { "1.jpg": "succeeded", "2.jpg": "succeeded" });
});

test("an album that another tab has deleted is reported", async () => {
  const { told, album } = opened(taking({ "1.jpg": "succeeded" }));
  await album.find("a");
  await passes(1500);
  serve(() => refusal(404, { code: "unknown_album", title: "No such album" }));
  album.look();
  await settled();
  assert.equal(told.ends[0].code, "unknown_album");
});

test("an album is renamed, here and in the list", async () => {
  const { told, album } = opened(taking({ "1.jpg": "succeeded" }));
  await album.find("a");
  await passes(1500);
  const sent = [];
  serve(({ method, body }) => (sent.push(method, JSON.parse(body)), { ...anAlbum(), name: "Sea" }));
  await album.rename("Sea");
  assert.deepEqual(sent, ["PATCH", { name: "Sea" }]);
  assert.deepEqual([album.album.name, earlier()[0].name, told.deeds], ["Sea", "Sea", ["a"]]);
});

test("nothing is said of an album after a reload before the service has told of it", async () => {
  rememberNames("a", ["1.jpg", "2.jpg"]);
  const { album } = opened(taking({ "1.jpg": "succeeded" }));
  const found = album.find("a");
  assert.equal(album.isKnown, false);
  await found;
  await passes(1500);
  assert.equal(album.isKnown, true);
});

test("an unknown album is reported once", async () => {
  const { told, album } = opened(() => refusal(404, { code: "unknown_album", title: "No such album" }));
  await album.find("a");
  assert.deepEqual(
    told.ends.map(({ code }) => code),
    ["unknown_album"],
  );
});

test("a choice without photos is reported", async () => {
  const { told, album } = opened(taking());
  await album.add(choiceOf());
  assert.deepEqual(told.reasons, [english.noPhotosFound]);
});

test("an archive with too many bytes is refused, and the photos beside it are accepted", async () => {
  const { told, album } = opened(taking());
  const archive = new File(["x".repeat(51)], "a.zip");
  await album.start("Trip", OPTIONS, { ...choiceOf("1.jpg"), archives: [archive] });
  for (let times = 0; times < 3; times++) await passes(1500);
  assert.equal(told.reasons.length, 1);
  assert.deepEqual(states(album), { "1.jpg": "succeeded" });
});

test("erasing reports whether the album is gone", async () => {
  const { told, album } = opened(taking());
  assert.equal(await album.erase(), true); // there is none yet
  await album.find("a");
  serve(() => new Response(null, { status: 204 }));
  assert.equal(await album.erase(), true);
  serve(isUnreachable);
  assert.equal(await album.erase(), false);
  assert.equal(told.ends.length, 1);
  album.leave();
});
