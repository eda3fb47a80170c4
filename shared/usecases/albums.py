"""What the owner of an album does with it, and telling that it has ended."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from shared.albums.record import Album, have_ended
from shared.conversion import Options
from shared.errors import NewerRecordError, UnknownAlbumError, UnknownJobError
from shared.jobs.record import State, new_id
from shared.services import Services
from shared.styles import Style
from shared.usecases.dispatch import dispatch
from shared.webhooks.messages import Message, event, new_secret


def start_album(
    services: Services, caller: str, name: str | None, style: Style, options: Options, *, webhook: str | None = None
) -> Album:
    """Write the record of an album that has no photos yet.

    Raises:
        InvalidValueError: `webhook` is no address that may be called.
        QueueFullError: Redis is nearly full.
    """
    services.admission.require_memory()
    now = services.clock.now()
    return services.albums.create(
        Album(
            id=new_id(),
            caller=caller,
            name=name,
            style=style.name,
            max_side=options.max_side,
            format=options.format,
            created_at=now,
            expires_at=now + services.settings.ttl_s,
            webhook=services.webhooks.require_url(webhook) if webhook else None,
            secret=new_secret() if webhook else None,
        )
    )


def notify_finished(services: Services, count: int = 100) -> None:
    """Tell the webhooks of albums that have come to their end lately."""
    for album_id in services.albums.unnotified(count):
        counts, last = services.albums.counts_at(album_id)  # whatever happens to a photo moves the last event
        with suppress(NewerRecordError):  # whoever can read it tells it
            if have_ended(counts):
                _notify(services, album_id, counts, last)
            services.albums.mark_notified(album_id, last)


def _notify(services: Services, album_id: str, counts: Mapping[State, int], last: str) -> None:
    """Tell the album's webhook that all its photos have come to their end; once, unless some began anew."""
    with suppress(UnknownAlbumError):
        album = services.albums.get(album_id)
        if album.webhook is None or album.secret is None:
            return
        news = hashlib.sha256(f"{album_id} {last}".encode()).hexdigest()[:32]
        body = event("album.ended", {"id": album.id, "name": album.name, "counts": counts})
        message = Message(f"msg_{news}", album.webhook, album.secret, body, album.caller)
        services.webhooks.put(message, keep_s=services.settings.ttl_s)


def cancel_album(services: Services, album_id: str) -> None:
    """Stop everything of an album that has not ended."""
    for entry in services.albums.entries(album_id):
        if entry.job and not entry.job.ended:
            with suppress(UnknownJobError):
                services.jobs.cancel(entry.job.id)


def retry_album(services: Services, album_id: str) -> int:
    """Let the photos of an album that failed or were canceled be tried anew; returns how many.

    Raises:
        QueueFullError: there is no room for the rest; those before are tried.
    """
    retried = 0
    try:
        for entry in services.albums.entries(album_id):
            job = entry.job
            # what is in quarantine may kill workers: that is for the operator to try
            if job and job.state in {State.FAILED, State.CANCELED} and not job.is_quarantined:
                services.admission.admit(job.lane, job.pixels, job.flow)
                with suppress(UnknownJobError):
                    services.jobs.retry(job.id)
                    retried += 1
    finally:
        dispatch(services)
    return retried


def erase_album(services: Services, album_id: str) -> None:
    """Remove an album with all its photos and pictures: the records now, the files of so many jobs soon after.

    A photo that comes meanwhile is named before the album is closed, and found here, or its sender sees that the
    album is closed, and erases it.
    """
    services.albums.close(album_id)
    names = services.albums.names(album_id)  # all at once: places move when a name is freed meanwhile
    for place in range(0, len(names), 100):
        for entry in services.albums.get_many(album_id, names[place : place + 100]):
            if entry.job:
                with suppress(UnknownJobError):
                    services.jobs.erase(entry.job.id)
    services.albums.erase(album_id)
