"""The operations on an album, and the notification that it has finished."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress

from shared.albums.record import Album, have_ended
from shared.conversion import Options
from shared.errors import NewerRecordError, UnknownAlbumError, UnknownJobError
from shared.jobs.record import Job, State, new_id
from shared.services import Services
from shared.styles import Style
from shared.usecases.dispatch import dispatch
from shared.webhooks.messages import Message, event, new_secret


def start_album(
    services: Services, caller: str, name: str | None, style: Style, options: Options, *, webhook: str | None = None
) -> Album:
    """Create an album without photos.

    Raises:
        InvalidValueError: `webhook` is not an address that may be called.
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


def cancel_album(services: Services, album_id: str) -> None:
    """Cancel all unfinished jobs of an album."""
    for entry in services.albums.entries(album_id):
        if entry.job and not entry.job.ended:
            with suppress(UnknownJobError):
                services.jobs.cancel(entry.job.id)


def retry_album(services: Services, album_id: str) -> int:
    """Retry the photos of an album that failed or were canceled; return how many.

    Raises:
        QueueFullError: there is no room for the rest; those before are retried.
    """
    retried = 0
    try:
        for entry in services.albums.entries(album_id):
            job = entry.job
            # a quarantined job may kill workers: only the operator retries it
            if job and job.state in {State.FAILED, State.CANCELED} and not job.is_quarantined:
                services.admission.admit(job.lane, job.pixels, job.flow)
                with suppress(UnknownJobError):
                    services.jobs.retry(job.id)
                    retried += 1
    finally:
        dispatch(services)
    return retried


def erase_album(services: Services, album_id: str) -> None:
    """Erase an album with all its photos and pictures: the records now, the files of so many jobs soon after.

    A photo that is uploaded meanwhile was either listed before the album was closed, and is found here, or its upload
    sees that the album is closed, and erases it.

    Raises:
        NewerRecordError: a newer release wrote the album or one of its jobs; nothing is changed.
    """
    _require_readable(services, album_id)
    services.albums.close(album_id)
    for job in _jobs(services, album_id):
        with suppress(UnknownJobError):
            services.jobs.erase(job.id)
    services.albums.erase(album_id)


def _require_readable(services: Services, album_id: str) -> None:
    """Refuse an album that this release cannot read completely, before anything in it is changed."""
    with suppress(UnknownAlbumError):  # what is left of one whose record has gone can still be erased
        services.albums.get(album_id)
    for _ in _jobs(services, album_id):
        pass


def _jobs(services: Services, album_id: str) -> Iterator[Job]:
    names = services.albums.names(album_id)  # all at once: places move when a name is freed meanwhile
    for place in range(0, len(names), 100):
        yield from (entry.job for entry in services.albums.get_many(album_id, names[place : place + 100]) if entry.job)
