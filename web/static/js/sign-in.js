/**
 * Who comes by a link on another site comes without the session's cookie, though there may be one: the page is asked for
 * once more from here, with what the address names after the #.
 */
const again = new URL(location.href);
again.searchParams.set("again", "");
location.replace(again);
