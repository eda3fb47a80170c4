/** The list of earlier pictures in this browser, on the start page. */

import { earlier, forget, watchEarlier } from "./earlier.js";
import { dropPhotosExcept } from "./kept-photos.js";
import { part } from "./view.js";
import * as words from "./words.js";

part("earlier-clear").addEventListener("click", () => {
  for (const { id } of earlier()) forget(id);
  dropPhotosExcept([]);
  showEarlier();
});
watchEarlier(showEarlier);

export function showEarlier() {
  const known = earlier();
  part("earlier-list").replaceChildren(...known.map(entry));
  part("earlier").classList.toggle("is-empty", known.length === 0);
}

/** @param {import("./earlier.js").Earlier} one */
function entry(one) {
  const [item, link, image, text, name, detail] = ["li", "a", "img", "span", "b", "small"].map((tag) =>
    document.createElement(tag),
  );
  link.setAttribute("href", `#${one.kind}=${encodeURIComponent(one.id)}`);
  image.setAttribute("alt", "");
  image.setAttribute("src", one.thumbnail ?? part("earlier").dataset.blank ?? "");
  name.textContent = one.name || words.A_PICTURE;
  detail.textContent = words.earlierOne(one);
  text.append(name, " ", detail);
  link.append(image, text);
  item.append(link);
  return item;
}
