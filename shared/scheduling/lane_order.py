"""Which lane a worker looks into first; kombu makes one by the name that `shared.scheduling.broker` gives it."""

from collections.abc import Iterable

from shared.jobs.record import Lane

BULK_SHARE = 0.25  # of the pictures, while single photos keep coming


class LaneOrder:
    """The interactive lane first, until so many of its jobs were taken that one of the bulk lane is due.

    A lane with nothing in it never keeps a worker waiting: the order only says where to look first.
    """

    def __init__(self, queues: Iterable[str] = ()) -> None:
        """Take turns among `queues`."""
        self._queues = list(queues)
        self._due = 0.0  # jobs of the bulk lane

    def update(self, queues: Iterable[str]) -> None:
        self._queues = list(queues)

    def consume(self, count: int) -> list[str]:
        first = Lane.BULK if self._due >= 1 else Lane.INTERACTIVE
        return sorted(self._queues, key=lambda queue: queue != first)[:count]

    def rotate(self, taken: str) -> str:
        """Note from which lane a job was taken; a debt to the bulk lane expires when it had nothing to give."""
        if taken == Lane.INTERACTIVE and self._due < 1:
            self._due += BULK_SHARE / (1 - BULK_SHARE)
        else:
            self._due = 0.0
        return taken
