/**
 * A visitor from a link on another site arrives without the session's cookie, though there may be one: reload the page
 * from here, with the fragment of the address.
 */
const again = new URL(location.href);
again.searchParams.set("again", "");
location.replace(again);
