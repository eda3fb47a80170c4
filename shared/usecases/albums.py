"""Beginning an album, and the notification that it has finished."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from shared.albums.record import Album, have_ended
from shared.conversion import Options
from shared.errors import NewerRecordError, UnknownAlbumError
from shared.jobs.record import State, new_id
from shared.services import Services
from shared.styles import Style
from shared.webhooks.messages import Message, event, new_secret


def start_album(  # noqa: PLR0913  all but the first are what the caller chose
    services: Services,
    caller: str,
    name: str | None,
    style: Style,
    options: Options,
    *,
    webhook: str | None = None,
    keep_photos: bool = False,
    source: str | None = None,
) -> Album:
    """Create an album without photos.

    Raises:
        InvalidValueError: `webhook` is not an address that may be called.
        QueueFullError: Redis is nearly full.
    """
    services.admission.require_memory(caller)
    now = services.clock.now()
    return services.albums.create(
        Album(
            id=new_id(),
            caller=caller,
            name=name,
            style=style.name,
            max_side=options.max_side,
            format=options.format,
            faces=options.faces,
            created_at=now,
            expires_at=now + services.settings.ttl_s,
            webhook=services.webhooks.require_url(webhook) if webhook else None,
            secret=new_secret() if webhook else None,
            keep_photos=keep_photos,
            source=source,
        )
    )


def notify_finished(services: Services, count: int = 100) -> None:
    """Notify the webhooks of albums that have finished recently."""
    for album_id in services.albums.unnotified(count):
        counts, last = services.albums.counts_at(album_id)  # whatever happens to a photo adds an event
        with suppress(NewerRecordError):  # a newer release notifies it
            if have_ended(counts):
                _notify(services, album_id, counts, last)
            services.albums.mark_notified(album_id, last)


def _notify(services: Services, album_id: str, counts: Mapping[State, int], last: str) -> None:
    """Notify the album's webhook that all its photos have finished; once, unless some are retried later."""
    with suppress(UnknownAlbumError):
        album = services.albums.get(album_id)
        if album.webhook is None or album.secret is None:
            return
        news = hashlib.sha256(f"{album_id} {last}".encode()).hexdigest()[:32]
        body = event("album.ended", {"id": album.id, "name": album.name, "counts": counts})
        message = Message(f"msg_{news}", album.webhook, album.secret, body, album.caller)
        services.webhooks.put(message, keep_s=services.settings.ttl_s)
