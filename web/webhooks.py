"""What webhooks tell, described for who receives it; `shared.webhooks` tells it."""

from typing import Final

from shared.webhooks.delivery import TIMEOUT_S
from shared.webhooks.outbox import DELAYS_S
from web.openapi import Webhook
from web.schemas import AlbumEnded

_TOLD: Final = (
    "Told whenever all photos of an album have come to their end, about five seconds later; so once more after photos "
    "were added to it, or tried again. `webhook` of `POST /api/v1/albums` names the address, and `webhook_secret` of "
    "its answer is what this is signed with, after Standard Webhooks 1.0 (https://www.standardwebhooks.com).\n\n"
    f"Answer with any 2xx within {TIMEOUT_S} seconds. Whatever else comes, a redirect too, counts as not heard: it is "
    f"told up to {len(DELAYS_S) + 1} times, after pauses that grow from {DELAYS_S[0]} seconds to "
    f"{DELAYS_S[-1] // 3600} hours, for as long as pictures are kept. What comes twice has the same `webhook-id`.\n\n"
    "Only public addresses are called. Others are called where the service's operator names their hosts in "
    "`SAKUGA_WEBHOOK_HOSTS`."
)

WEBHOOKS: Final = {
    "album.ended": Webhook(
        summary="An album has come to its end",
        description=_TOLD,
        body=AlbumEnded,
        headers={
            "webhook-id": "The same for every try to tell this, and for nothing else",
            "webhook-timestamp": "When this try was made, in seconds since 1970",
            "webhook-signature": "`v1,` and in Base64 the HMAC-SHA256 of id, timestamp and body, joined by dots",
        },
    )
}
