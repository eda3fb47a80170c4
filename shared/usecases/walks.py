"""Doing something with every photo of an album: at once with a small one, by a worker node with a large one."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Final

import structlog

from shared.albums.record import Album
from shared.albums.walks import Action, Walk
from shared.errors import NewerRecordError, QueueFullError, UnavailableError, UnknownJobError
from shared.jobs.record import Job, State
from shared.services import Services
from shared.usecases.dispatch import dispatch

PAGE: Final = 100  # photos at a time; an album with no more is not worth a wait
CLAIMED: Final = 100  # walks per node at a time
CLAIMED_PER_CALLER: Final = 10  # of these; whoever deletes hundreds of albums leaves room for those of others
BEAT_S: Final = 2.0

log = structlog.get_logger()


def walk_album(services: Services, album: Album, action: Action) -> bool:
    """Do something with every photo of an album; return False if a worker node does that soon.

    An album to be erased is closed at once. A photo that is uploaded meanwhile was either listed before that, and is
    erased with the others, or its upload sees that the album is closed, and erases it.

    Raises:
        QueueFullError: there is no room to retry the rest; those before are retried.
        NewerRecordError: a newer release wrote one of the jobs; nothing of a small album is erased.
    """
    is_small = services.albums.size(album.id) <= PAGE
    if action is Action.ERASE:
        if is_small:
            services.albums.page(album.id, cursor=0, count=PAGE)  # before anything is changed
        services.albums.close(album.id)
    if not is_small:
        services.walks.put(Walk(album.caller, album.id, action))
        return False
    for _ in _pages(services, album.id, action):
        pass
    return True


def _pages(services: Services, album_id: str, action: Action) -> Iterator[None]:
    """Do it with a page of photos at a time."""
    names = services.albums.names(album_id)  # all at once: places move when a name is freed meanwhile
    for place in range(0, len(names), PAGE):
        entries = services.albums.get_many(album_id, names[place : place + PAGE])
        try:
            for job in [entry.job for entry in entries if entry.job]:
                with suppress(UnknownJobError):
                    _STEPS[action](services, job)
        finally:
            if action is Action.RETRY:
                dispatch(services)
        yield
    if action is Action.ERASE:
        services.albums.erase(album_id)


def _cancel(services: Services, job: Job) -> None:
    if not job.ended:
        services.jobs.cancel(job.id)


def _erase(services: Services, job: Job) -> None:
    services.jobs.erase(job.id)


def _retry(services: Services, job: Job) -> None:
    # a quarantined job may kill workers: only the operator retries it
    if job.state in {State.FAILED, State.CANCELED} and not job.is_quarantined:
        services.admission.admit(job.lane, job.pixels, caller=job.caller, album=job.album)
        services.jobs.retry(job.id)


_STEPS: Final[dict[Action, Callable[[Services, Job], None]]] = {
    Action.CANCEL: _cancel,
    Action.ERASE: _erase,
    Action.RETRY: _retry,
}


class Walking:
    """The walks of one worker node: a page of each caller's in turn, so that nobody waits for the albums of others."""

    def __init__(self, services: Services) -> None:
        """Begin with the next beat."""
        self._services = services
        self._claimed: dict[str, deque[tuple[Walk, Iterator[None]]]] = {}

    def beat(self) -> None:
        """Walk for a while, or until there is nothing left to walk."""
        until = monotonic() + BEAT_S
        while self._claim():
            for caller in list(self._claimed):
                self._step(caller)
            if monotonic() >= until:
                return

    def _claim(self) -> bool:
        """Claim what others have not; return whether there is anything to walk."""
        free = CLAIMED - sum(map(len, self._claimed.values()))
        too_many: list[Walk] = []
        for walk in self._services.walks.claim(free) if free > 0 else []:
            own = self._claimed.setdefault(walk.caller, deque())
            if len(own) < CLAIMED_PER_CALLER:
                own.append((walk, _pages(self._services, walk.album_id, walk.action)))
            else:
                too_many.append(walk)
        self._services.walks.put_off(too_many)
        return bool(self._claimed)

    def _step(self, caller: str) -> None:
        """Walk the next page for a caller; a walk that cannot go on now begins anew when its claim has expired."""
        walks = self._claimed.pop(caller)
        walk, pages = walks.popleft()
        if walks:
            self._claimed[caller] = walks
        if not self._services.walks.renew(walk):
            return
        try:
            is_over = next(pages, self) is self
        except (QueueFullError, UnavailableError, NewerRecordError) as error:
            log.warning("failed to walk an album; will retry", album=walk.album_id, error=error.detail)
            return
        if is_over:
            self._services.walks.finish(walk)
        else:
            self._claimed.setdefault(caller, deque()).appendleft((walk, pages))
