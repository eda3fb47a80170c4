"""The description of webhook messages for their receivers; `shared.webhooks` sends them."""

from typing import Final

from shared.webhooks.delivery import TIMEOUT_S
from shared.webhooks.outbox import DELAYS_S
from web.album_schemas import AlbumEnded
from web.openapi import Webhook

_DESCRIPTION: Final = (
    "Sent about five seconds after all photos of an album have finished, and again when photos that were added or "
    "retried later have finished. `webhook` of `POST /api/v1/albums` sets the URL; messages are signed with the "
    "`webhook_secret` of its response, following Standard Webhooks 1.0 (https://www.standardwebhooks.com).\n\n"
    f"Respond with any 2xx within {TIMEOUT_S} seconds. Anything else, redirects included, counts as a failed delivery. "
    f"There are up to {len(DELAYS_S) + 1} attempts, with delays that grow from {DELAYS_S[0]} seconds to "
    f"{DELAYS_S[-1] // 3600} hours, for as long as pictures are kept. Duplicates have the same `webhook-id`.\n\n"
    "Only public addresses are called, and hosts that the operator lists in `SAKUGA_WEBHOOK_HOSTS`."
)

WEBHOOKS: Final = {
    "album.ended": Webhook(
        summary="An album has finished",
        description=_DESCRIPTION,
        body=AlbumEnded,
        headers={
            "webhook-id": "Unique to the message; the same for every delivery attempt",
            "webhook-timestamp": "When this attempt was made, in Unix seconds",
            "webhook-signature": "`v1,` and the Base64-encoded HMAC-SHA256 of id, timestamp and body, joined by dots",
        },
    )
}
