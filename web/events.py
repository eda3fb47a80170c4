"""Server-sent events of one job: `state`, `progress` and `done`, with comments in between so that nobody hangs up."""

import json
import time
from collections.abc import Callable, Iterator

from shared.errors import UnknownJobError
from shared.jobs import PATIENCE_S, Event, Job, Jobs
from web.waiting import WaitingRoom

KEEP_ALIVE_S = 10.0
QUEUE_LOOK_S = 2.0  # how often a waiting job's place in the queue is told

Render = Callable[[Job], str]
"""The job as its owner sees it, in JSON."""


def stream(jobs: Jobs, room: WaitingRoom, job_id: str, *, after: str, render: Render) -> Iterator[str]:
    """Yield the events that follow the one named `after` (all news from now on if it is empty) until the job ends."""
    last = after or jobs.last_event(job_id)
    try:
        if not after:
            yield _event("state", last, render(jobs.get(job_id)))
        yield from _follow(jobs, room, job_id, last, render)
    except UnknownJobError:
        return  # erased while we listened


def _follow(jobs: Jobs, room: WaitingRoom, job_id: str, last: str, render: Render) -> Iterator[str]:
    spoke = looked = time.monotonic()
    while room.is_open():
        events = list(jobs.events(job_id, after=last, wait_s=PATIENCE_S))
        job = jobs.get(job_id)
        for event in events:
            last = event.id
            yield _told(event, job, render)
        now = time.monotonic()
        if job.ended and not any(event.kind == "done" for event in events):
            yield _event("done", last, render(job))
        if job.ended:
            return
        if events:
            spoke = looked = now
        elif job.started_at is None and now - looked >= QUEUE_LOOK_S:
            yield _event("state", last, render(job))
            spoke = looked = now
        elif now - spoke >= KEEP_ALIVE_S:
            yield ": still here\n\n"
            spoke = now


def _told(event: Event, job: Job, render: Render) -> str:
    if event.kind == "progress":
        return _event("progress", event.id, json.dumps({"progress": job.progress, "stage": job.stage}))
    return _event(event.kind, event.id, render(job))


def _event(kind: str, event_id: str, data: str) -> str:
    return f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n"
