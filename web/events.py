"""Server-sent events of a job or an album: `state`, `progress`, `done`.

While nothing happens, the current state is repeated to keep the connection alive: as a comment for proxies, and as an
event for pages, whose scripts do not see comments.
"""

import json
import time
from collections.abc import Callable, Iterator

from shared.albums.record import Entry
from shared.albums.store import Albums
from shared.errors import NewerRecordError, UnknownAlbumError, UnknownJobError
from shared.jobs.events import READ_BLOCK_S, Event, Events
from shared.jobs.record import Job
from shared.jobs.store import Jobs
from web.held_requests import Slot

KEEP_ALIVE_S = 10.0
STILL_HERE = ": still here\n\n"
QUEUE_LOOK_S = 2.0  # how often a queued job's position is sent

Render = Callable[[Job], str]
"""Renders the job as its owner sees it, in JSON."""


def stream(jobs: Jobs, events: Events, slot: Slot, job_id: str, *, after: str, render: Render) -> Iterator[str]:
    """Yield the events after `after` (from now on, if it is empty) until the job has finished."""
    last = after or events.last(job_id)
    try:
        if not after:
            yield _event("state", last, render(jobs.get(job_id)))
        yield from _follow(jobs, events, slot, job_id, last, render)
    except (UnknownJobError, NewerRecordError):
        return  # erased meanwhile, or written by a newer release


def _follow(jobs: Jobs, events: Events, slot: Slot, job_id: str, last: str, render: Render) -> Iterator[str]:
    spoke = time.monotonic()
    while slot.is_wanted():
        news = list(events.read(job_id, after=last, wait_s=READ_BLOCK_S))
        job = jobs.get(job_id)
        for event in news:
            last = event.id
            yield _rendered(event, job, render)
        now = time.monotonic()
        if job.ended and not any(event.kind == "done" for event in news):
            yield _event("done", last, render(job))
        if job.ended:
            return
        if news:
            spoke = now
        elif now - spoke >= (QUEUE_LOOK_S if job.started_at is None else KEEP_ALIVE_S):
            yield STILL_HERE + _event("state", last, render(job))
            spoke = now


def _rendered(event: Event, job: Job, render: Render) -> str:
    if event.kind == "progress":
        return _event("progress", event.id, json.dumps({"progress": job.progress, "stage": job.stage}))
    return _event(event.kind, event.id, render(job))


def _event(kind: str, event_id: str, data: str) -> str:
    return f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n"


def album_stream(
    albums: Albums,
    slot: Slot,
    album_id: str,
    *,
    after: str,
    has_ended: Callable[[], bool],
    render: Callable[[], str],
    render_photo: Callable[[Entry], str],
) -> Iterator[str]:
    """Yield the album, each of its photos whose state changes, and `done` when all have finished.

    `progress` repeats the album, every few seconds while something happens, and now and then otherwise.
    """
    last = after or albums.last_event(album_id)
    try:
        yield _event("progress", last, render())
        yield from _follow_album(albums, slot, album_id, last, has_ended, render, render_photo)
    except (UnknownAlbumError, NewerRecordError):
        return  # likewise


def _follow_album(
    albums: Albums,
    slot: Slot,
    album_id: str,
    last: str,
    has_ended: Callable[[], bool],
    render: Callable[[], str],
    render_photo: Callable[[Entry], str],
) -> Iterator[str]:
    spoke = looked = time.monotonic()
    while slot.is_wanted():
        is_over = has_ended()  # asked first: what ended it is then among the events
        events = albums.events(album_id, after=last, wait_s=0 if is_over else READ_BLOCK_S)
        latest = {event.name: event.id for event in events}
        for entry in albums.get_many(album_id, list(latest)):
            yield _event("state", latest[entry.item.name], render_photo(entry))
        last = events[-1].id if events else last
        if is_over:
            yield _event("done", last, render())
            return
        now = time.monotonic()
        if events:
            spoke = now
        if (events and now - looked >= QUEUE_LOOK_S) or now - spoke >= KEEP_ALIVE_S:
            yield STILL_HERE + _event("progress", last, render())
            spoke = looked = now
