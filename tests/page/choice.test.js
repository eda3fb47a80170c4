import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import "./browser.js";
import { choiceOfDrop, choiceOfFiles } from "../../web/static/js/choice.js";
import { freeName, isClutter, isPhotoName, safeName } from "../../web/static/js/filenames.js";

/** A file of a folder, as a file input gives it. */
function file(path, type = "") {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return Object.assign(new File(["x"], name, { type }), { webkitRelativePath: path === name ? "" : path });
}

const names = ({ photos }) => photos.map(({ name }) => name);

test("photos are recognised by type or name, and sorted by number", () => {
  const choice = choiceOfFiles([file("10.JPG"), file("9.heic"), file("no suffix", "image/png"), file("notes.txt")]);
  assert.deepEqual(names(choice), ["9.heic", "10.JPG", "no suffix"]);
  assert.equal(choice.leftOut, 1);
});

test("SVG drawings are not photos, hidden photos are counted by themselves, and what systems leave behind is not", () => {
  const hidden = [".a.jpg", "trip/.thumbs/c.jpg", "@eaDir/e.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/f.jpg", "x/#recycle/g.jpg"];
  const junk = ["__MACOSX/b.jpg", "trip/._e.jpg", "Thumbs.db", ".DS_Store", "desktop.ini"];
  const choice = choiceOfFiles([
    ...[...hidden, ...junk, "logo.svg"].map((path) => file(path)),
    file("d.svg", "image/svg+xml"),
    file("trip/e.jpg"),
  ]);
  assert.deepEqual(names(choice), ["trip/e.jpg"]);
  assert.deepEqual([choice.leftOut, choice.hidden], [2, hidden.length]);
});

test("what programs keep beside photos is skipped within the chosen folder, and taken where it is chosen itself", () => {
  const library = ["originals/a.jpg", "resources/b.jpg"].map((path) => file(`My.photoslibrary/${path}`));
  assert.deepEqual(names(choiceOfFiles(library)), ["originals/a.jpg"]);
  const thumbnails = ["a.jpg", "b.jpg"].map((path) => file(`@eaDir/${path}`));
  assert.deepEqual(names(choiceOfFiles(thumbnails)), ["a.jpg", "b.jpg"]);
});

test("a single file is accepted whatever its name", () => {
  assert.deepEqual(names(choiceOfFiles([file("diary.txt")])), ["diary.txt"]);
});

test("the common top folder names the album and is left out of the names of photos", () => {
  const choice = choiceOfFiles([file("Summer/1.jpg"), file("Summer/beach/2.jpg")]);
  assert.equal(choice.title, "Summer");
  assert.deepEqual(names(choice), ["1.jpg", "beach/2.jpg"]);
  assert.equal(choiceOfFiles([file("Summer/1.jpg"), file("Winter/2.jpg")]).title, null);
});

test("a single archive names the album", () => {
  const alone = choiceOfFiles([file("Trip.ZIP")]);
  assert.deepEqual([alone.title, alone.photos.length, alone.archives.length], ["Trip", 0, 1]);
  const beside = choiceOfFiles([file("Trip.zip"), file("a.jpg")]);
  assert.deepEqual([beside.title, names(beside), beside.archives.length], [null, ["a.jpg"], 1]);
});

test("a photo has the name that the service gives it", async () => {
  const called = JSON.parse(await readFile(new URL("names.json", import.meta.url), "utf-8"));
  for (const [path, name] of called) assert.equal(safeName(path), name);
  assert.deepEqual(names(choiceOfFiles([file("a?.jpg")])), ["a_.jpg"]);
});

test("a name that is safe is left as it is, with a number too", async () => {
  const called = JSON.parse(await readFile(new URL("names.json", import.meta.url), "utf-8"));
  for (const [, name] of called) {
    const numbered = freeName(name, new Set([name.toUpperCase().toLowerCase()]));
    assert.deepEqual([safeName(name), safeName(numbered)], [name, numbered]);
  }
});

test("the page tells photos and clutter apart as the service does", async () => {
  const files = JSON.parse(await readFile(new URL("files.json", import.meta.url), "utf-8"));
  for (const path of files.photos) assert.deepEqual([path, isPhotoName(path), isClutter(path)], [path, true, false]);
  for (const path of files.others) assert.deepEqual([path, isPhotoName(path), isClutter(path)], [path, false, false]);
  for (const path of files.clutter) assert.ok(isClutter(path), path);
});

test("no two photos of a choice have the same name", () => {
  const same = ["a?.jpg", "a*.jpg", "a_.jpg"].map((path) => file(path));
  assert.deepEqual(new Set(names(choiceOfFiles(same))), new Set(["a_.jpg", "a_ (2).jpg", "a_ (3).jpg"]));
});

test("a name that is taken gets the next number before its extension", () => {
  assert.equal(freeName("a.jpg", new Set(["a.jpg", "a (2).jpg"])), "a (3).jpg");
  assert.equal(freeName("x.y/a", new Set(["x.y/a"])), "x.y/a (2)");
  assert.equal(freeName("b.jpg", new Set()), "b.jpg");
});

test("names that differ in case alone count as the same", () => {
  assert.equal(freeName("IMG.JPG", new Set(["img.jpg"])), "IMG (2).JPG");
  assert.equal(freeName("Straße.jpg", new Set(["strasse.jpg"])), "Straße (2).jpg");
  const chosen = names(choiceOfFiles([file("IMG.JPG"), file("img.jpg")]));
  assert.deepEqual(new Set(chosen), new Set(["IMG.JPG", "img (2).jpg"]));
});

/** The entry that a browser gives for a dropped file or folder. */
function entry(path, below) {
  const common = { fullPath: path, isFile: !below, isDirectory: Boolean(below) };
  if (!below) return { ...common, file: (resolve) => resolve(file(path.slice(1), "image/jpeg")) };
  const batches = below.map((child) => [child]);
  return { ...common, createReader: () => ({ readEntries: (resolve) => resolve(batches.shift() ?? []) }) };
}

const dropped = (...entries) => ({
  items: entries.map((one) => ({ webkitGetAsEntry: () => one })),
  files: [file("a.jpg")],
});

test("a dropped folder is read completely, however few entries come at a time", async () => {
  const folder = entry("/Trip", [
    entry("/Trip/1.jpg"),
    entry("/Trip/sub", [entry("/Trip/sub/2.jpg")]),
    entry("/Trip/3.jpg"),
  ]);
  const choice = await choiceOfDrop(dropped(folder));
  assert.equal(choice.title, "Trip");
  assert.deepEqual(names(choice), ["1.jpg", "3.jpg", "sub/2.jpg"]);
});

test("unreadable entries of a dropped folder are left out", async () => {
  const broken = { ...entry("/Trip/2.jpg"), file: (_resolve, reject) => reject(new Error("no")) };
  const closed = {
    ...entry("/Trip/sub", []),
    createReader: () => ({ readEntries: (_resolve, reject) => reject(new Error("no")) }),
  };
  assert.deepEqual(names(await choiceOfDrop(dropped(entry("/Trip", [entry("/Trip/1.jpg"), broken, closed])))), [
    "1.jpg",
  ]);
});

test("dropped files are taken as they are", async () => {
  assert.deepEqual(names(await choiceOfDrop(dropped(entry("/a.jpg")))), ["a.jpg"]);
  assert.deepEqual(names(await choiceOfDrop({ items: [{}], files: [file("a.jpg")] })), ["a.jpg"]);
});
