"""The order in which a worker polls the lanes; kombu loads it by the name in `shared.scheduling.broker`."""

from collections.abc import Iterable

from shared.jobs.record import Lane

BULK_SHARE = 0.25  # of the pictures, while single photos keep coming


class LaneOrder:
    """The interactive lane first, until so many of its jobs were taken that a bulk job is due.

    An empty lane never keeps a worker waiting: the order only says where to look first.
    """

    def __init__(self, queues: Iterable[str] = ()) -> None:
        """Order `queues`."""
        self._queues = list(queues)
        self._due = 0.0  # jobs of the bulk lane

    def update(self, queues: Iterable[str]) -> None:
        self._queues = list(queues)

    def consume(self, count: int) -> list[str]:
        first = Lane.BULK if self._due >= 1 else Lane.INTERACTIVE
        return sorted(self._queues, key=lambda queue: queue != first)[:count]

    def rotate(self, taken: str) -> str:
        """Note from which lane a job was taken; what the bulk lane is due expires if it was empty."""
        if taken == Lane.INTERACTIVE and self._due < 1:
            self._due += BULK_SHARE / (1 - BULK_SHARE)
        else:
            self._due = 0.0
        return taken
