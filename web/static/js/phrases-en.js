/** The page's phrases in English. `phrases-zh.js` has the same keys. */

/** @typedef {typeof import("./phrases-en.js").default} Phrases */

export default {
  stages: /** @type {Record<string, string>} */ ({
    decode: "Reading your photo",
    preprocess: "Preparing the canvas",
    generate: "Drawing",
    postprocess: "Finishing the picture",
    encode: "Saving the picture",
  }),
  states: {
    missing: "not uploaded yet",
    waiting: "waiting to upload",
    sending: "uploading",
    queued: "queued",
    running: "being drawn",
    succeeded: "done",
    failed: "failed",
    canceled: "canceled",
    expired: "expired",
  },
  // Headlines for problems whose own title would repeat their detail.
  problems: /** @type {Record<string, {title?: string, detail?: string}>} */ ({
    damaged_photo: { title: "This photo couldn't be converted" },
    unauthorized: { title: "You're no longer signed in", detail: "Reload this page and sign in with your key." },
    unknown_job: { title: "Picture not found" },
    unknown_album: { title: "Album not found" },
  }),
  /** Translations of the service's own sentences, whose numbers a general explanation would lose. */
  sentences: /** @type {[RegExp, (...found: string[]) => string][]} */ ([]),
  notes: /** @type {Record<string, string>} */ ({}),

  canceled: "Canceled",
  photoIsKept: "Your photo is still here: draw it, or choose another.",
  finding: "Loading your picture",
  serviceBusy: "The service is busy",
  silence: "The service is not responding",
  reconnecting: "Reconnecting…",
  unreachable: "The service can't be reached",
  checkConnection: "Check your connection and try again.",
  unreadable: "The file can't be read",
  goneFile: "It was changed, moved or deleted after you chose it.",
  badStatus: (/** @type {number} */ status) => `The service responded with status ${status}.`,
  sendingPhoto: "Uploading your photo",
  sentShare: (/** @type {number} */ percent) => `${percent}% uploaded.`,
  checkingPhoto: "Uploaded. Checking the photo.",
  inQueue: "In the queue",
  drawing: "Drawing",
  hereItIs: "Here it is",
  keptUntil: (/** @type {string} */ time) => `Kept until ${time}`,
  expiredTitle: "This picture has expired",
  expired: "Pictures are only kept for a limited time.",
  tooLargeTitle: "This photo is too large",
  tooLarge: (/** @type {string} */ has, /** @type {string} */ most) =>
    `This file is ${has}; photos may be at most ${most}.`,
  archiveTooLarge: (/** @type {string} */ has, /** @type {string} */ most) =>
    `This archive is ${has}; the limit per upload is ${most}. Drop the folder itself instead.`,
  pixels: (/** @type {number} */ width, /** @type {number} */ height) => `${width} × ${height} pixels`,
  asLargeAsPhoto: "same size as the photo",
  drawnIn: (/** @type {string} */ time) => `drawn in ${time}`,
  next: "You're next",
  before: (/** @type {number} */ count) => `${count} ahead of you`,
  noWorker: "Waiting for a worker to start",
  anyMoment: "Any moment now",
  toGo: (/** @type {string} */ time) => `About ${time} to go`,
  seconds: (/** @type {string} */ count) => `${count} s`,
  minutes: (/** @type {string} */ count) => `${count} min`,
  hours: (/** @type {string} */ count) => `${count} h`,
  stop: ".",
  space: " ",
  comma: ", ",
  split: (/** @type {number} */ photo, /** @type {number} */ anime) => `${photo}% photo, ${anime}% anime`,

  progress: (/** @type {string} */ done, /** @type {string} */ all) => `${done} of ${all} done`,
  about: (/** @type {string} */ time) => `about ${time}`,
  keepOpen: (/** @type {string} */ count) => `${count} left to upload: keep this page open`,
  sendingArchive: (/** @type {string} */ name, /** @type {number} */ percent) => `Uploading ${name}, ${percent}%`,
  unpacking: (/** @type {string} */ name) => `Unpacking ${name}`,
  busy: (/** @type {string} */ time) => `The service is busy; uploading resumes in ${time}`,
  allDone: (/** @type {number} */ all) => (all === 1 ? "The picture is done" : `All ${all} pictures are done`),
  someDone: (/** @type {string} */ done, /** @type {string} */ all) => `${done} of ${all} pictures are done`,
  someFailed: (/** @type {string} */ count) => `${count} failed`,
  someCanceled: (/** @type {string} */ count) => `${count} canceled`,
  leftOut: (/** @type {number} */ count) =>
    count === 1
      ? "1 file was skipped because it isn't a photo."
      : `${count} files were skipped because they aren't photos.`,
  hidden: (/** @type {number} */ count) =>
    count === 1
      ? "1 photo was skipped because it is hidden or belongs to another program."
      : `${count} photos were skipped because they are hidden or belong to other programs.`,
  noPhotosFound: "No photos found",
  pleasePhotos: "Choose photos, a folder of them, or a ZIP archive.",
  noneInAlbum: "This album has no photos yet.",
  missing: (/** @type {number} */ count) =>
    `${count === 1 ? "1 photo has" : `${count} photos have`} not been uploaded yet. ` +
    "Choose the same photos or folder again; only the missing ones are uploaded.",
  findingAlbum: "Loading your album",
  retryFailed: "Retry failed",
  convertRest: "Draw the rest",
  nothingNew: "All of these are already in the album.",
  addHere: "Add to this album",
  tile: (/** @type {string} */ name, /** @type {string} */ state) => `${name}, ${state}`,
  placeOf: (/** @type {number} */ place, /** @type {number} */ all) => `${place} of ${all}`,
  albumOf: (/** @type {string} */ day) => `Album from ${day}`,
  photosCount: (/** @type {number} */ count) => (count === 1 ? "1 photo" : `${count} photos`),
  picture: "Picture",
  sizeOf: (/** @type {number} */ pixels) => `${pixels} px`,
  originalSize: "original size",
  copied: "Copied",
  notCopied: "Copying failed",
  beforeAfter: "before-after",
};
