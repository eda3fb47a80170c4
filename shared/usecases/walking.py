"""The walks of a worker node through albums that are too large for a request, or are to be drawn again."""

from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Final

import structlog

from shared.albums.walks import Action, Walk
from shared.errors import NewerRecordError, OverruledError, QueueFullError, QuotaExceededError, UnavailableError
from shared.services import Services
from shared.usecases.redraw import redraw_pages
from shared.usecases.walks import pages

CLAIMED: Final = 100  # walks per node at a time
CLAIMED_PER_CALLER: Final = 10  # of these; whoever deletes hundreds of albums leaves room for those of others
TURN_S: Final = 2.0

log = structlog.get_logger()


class Walking:
    """The walks of one worker node: a page of each caller's in turn, so that nobody waits for the albums of others."""

    def __init__(self, services: Services) -> None:
        """Claim no walks before the first call of `advance`."""
        self._services = services
        self._claimed: dict[str, deque[tuple[Walk, Iterator[None]]]] = {}

    def advance(self) -> None:
        """Walk for a while, or until there is nothing left to walk."""
        until = monotonic() + TURN_S
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
                own.append((walk, _pages(self._services, walk)))
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
        except (QueueFullError, QuotaExceededError, UnavailableError, NewerRecordError) as error:
            log.warning("failed to walk an album; will retry", album=walk.album_id, error=error.detail)
            return
        except OverruledError:
            return  # where it has been asked for again since, it begins anew
        if is_over:
            self._services.walks.finish(walk)
        else:
            self._claimed.setdefault(caller, deque()).appendleft((walk, pages))


def _pages(services: Services, walk: Walk) -> Iterator[None]:
    if walk.action is Action.REDRAW:
        return redraw_pages(services, walk.album_id)
    return pages(services, walk.album_id, walk.action)
