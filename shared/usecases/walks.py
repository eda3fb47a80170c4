"""Doing something with every photo of an album: at once with a small one, by a worker node with a large one.

`shared.usecases.walking` is what a node does.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from shared.albums.record import Album
from shared.albums.walks import Action, Walk
from shared.errors import OverruledError, UnknownJobError
from shared.jobs.record import Job, State
from shared.jobs.store import Condition
from shared.services import Services
from shared.usecases.dispatch import dispatch

PAGE: Final = 100  # photos at a time; an album with no more is not worth a wait


def walk_album(services: Services, album: Album, action: Action) -> bool:
    """Do something with every photo of an album; return False if a worker node does that soon.

    An album to be erased is closed at once. A photo that is uploaded meanwhile was either listed before that, and is
    erased with the others, or its upload sees that the album is closed, and erases it.

    Raises:
        QueueFullError: there is no room to retry the rest; those before are retried.
        NewerRecordError: a newer release wrote one of the jobs; nothing of a small album is erased.
    """
    walk = Walk(album.caller, album.id, action)
    if action in {Action.CANCEL, Action.ERASE}:
        services.walks.finish(Walk(album.caller, album.id, Action.REDRAW))
    is_small = services.albums.size(album.id) <= PAGE
    if action is Action.ERASE:
        if is_small:
            services.albums.page(album.id, cursor=0, count=PAGE)  # before anything is changed
        services.albums.close(album.id)
    if not is_small:
        services.walks.put(walk)
        return False
    services.walks.turn_to(walk)
    with suppress(OverruledError):  # by a later request, which is served already
        for _ in pages(services, album.id, action):
            pass
    return True


def pages(services: Services, album_id: str, action: Action) -> Iterator[None]:
    """Do something with every photo of an album, a page at a time.

    Raises:
        OverruledError: the opposite has been asked since; it is not undone.
    """
    condition = services.walks.condition(album_id, action)
    names = services.albums.names(album_id)  # all at once: places move when a name is freed meanwhile
    for place in range(0, len(names), PAGE):
        entries = services.albums.get_many(album_id, names[place : place + PAGE])
        try:
            for job in [entry.job for entry in entries if entry.job]:
                with suppress(UnknownJobError):
                    _STEPS[action](services, job, condition)
        finally:
            if action is Action.RETRY:
                dispatch(services)
        yield
    if action is Action.ERASE:
        services.albums.erase(album_id)


def _cancel(services: Services, job: Job, condition: Condition | None) -> None:
    if not job.ended:
        services.jobs.cancel(job.id, condition=condition)


def _erase(services: Services, job: Job, _: Condition | None) -> None:
    services.jobs.erase(job.id)


def _retry(services: Services, job: Job, condition: Condition | None) -> None:
    if job.is_quarantined:
        return  # it may kill workers: only the operator retries it
    if job.state in {State.FAILED, State.CANCELED}:
        services.admission.admit(job.lane, job.pixels, caller=job.caller, album=job.album)
    elif not job.cancel_requested:
        return
    services.jobs.retry(job.id, condition=condition)


_STEPS: Final[dict[Action, Callable[[Services, Job, Condition | None], None]]] = {
    Action.CANCEL: _cancel,
    Action.ERASE: _erase,
    Action.RETRY: _retry,
}
