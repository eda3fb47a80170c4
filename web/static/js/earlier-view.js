/** The list of earlier pictures in this browser, on the start page. */

import { earlier, forget } from "./earlier.js";
import { dropMiniaturesExcept } from "./miniatures.js";
import { part } from "./view.js";
import * as words from "./words.js";

part("earlier-clear").addEventListener("click", () => {
  for (const { id } of earlier()) forget(id);
  dropMiniaturesExcept([]);
  showEarlier();
});

export function showEarlier() {
  const known = earlier();
  part("earlier-list").replaceChildren(...known.map(entry));
  part("earlier").classList.toggle("is-empty", known.length === 0);
}

/** @param {import("./earlier.js").Earlier} one */
function entry({ kind, id, name, count, at }) {
  const [item, link, detail] = ["li", "a", "small"].map((tag) => document.createElement(tag));
  link.setAttribute("href", `#${kind}=${encodeURIComponent(id)}`);
  link.append(name || words.A_PICTURE, detail);
  detail.textContent = [...(kind === "album" ? [words.photosCount(count)] : []), words.longAgo(at)].join(" · ");
  item.append(link);
  return item;
}
