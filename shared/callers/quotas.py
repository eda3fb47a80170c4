"""Daily quotas (UTC) of callers in megapixels, charged when a photo is admitted.

What counts is the size after the photo is shrunk, or that of a picture that takes as long as decoding it. A photo that
is rejected after all is refunded; if the process that admits it dies, the reconciliation finds the reservation, and
refunds it unless there is a job.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from redis.exceptions import RedisError

from shared import redis_keys
from shared.callers.api_keys import ApiKeys
from shared.errors import PhotoTooLargeError, QuotaExceededError, SakugaError
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis

RESERVED_S: Final = 3600  # for which a photo may be on its way to its record; whoever admits it for longer has died
PAGE: Final = 100  # reservations per step

# Count if there is room, in one step. KEYS: of the day, the reservations. ARGV: pixels, the most, when the key goes
# (epoch seconds), the reservation, when it ends.
_RESERVE: Final = """
if tonumber(redis.call('GET', KEYS[1]) or 0) + ARGV[1] > tonumber(ARGV[2]) then
    return 0
end
redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('EXPIREAT', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[4])
return 1
"""

# End a reservation, and refund it where it was not ended before. KEYS: of the day, the reservations, a record that
# shows that it was used, if there may be one. ARGV: the reservation, pixels.
_REFUND: Final = """
local is_open = redis.call('ZREM', KEYS[2], ARGV[1]) == 1
if not is_open or KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then
    return 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('DECRBY', KEYS[1], ARGV[2])
end
return 1
"""


class _Entry(NamedTuple):
    """A reservation as Redis keeps it."""

    job_id: str
    pixels: str
    key: str  # of the day

    def __str__(self) -> str:
        return " ".join(self)


@dataclass(slots=True)
class Reservation:
    """The amount charged for a photo that is being admitted."""

    refund: Callable[[], None]
    committed: bool = False  # whether its record may have been written: then only a refusal says that it was not


class Quotas:
    """The usage of all quotas, in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock, keys: ApiKeys) -> None:
        """Count usage in `redis`; the quotas themselves are in `keys`."""
        self._redis = redis
        self._clock = clock
        self._keys = keys

    @contextmanager
    def reserve(self, caller_id: str, pixels: int, job_id: str) -> Iterator[Reservation]:
        """Charge a photo while the block admits it as a job.

        It is refunded if it is rejected, if the block fails before the reservation is committed, and if the block asks
        for it. If the block fails afterwards, it is refunded later, unless there is a record of the job.

        Raises:
            QuotaExceededError: it exceeds what is left of today's quota; with the seconds until tomorrow.
            PhotoTooLargeError: it exceeds a whole day's quota.
        """
        most = self._most(caller_id)
        if most is None:
            yield Reservation(lambda: None)
            return
        entry = self._reserve(caller_id, pixels, most, job_id)
        reservation = Reservation(partial(self._refund, entry))
        try:
            yield reservation
        except BaseException as error:
            if isinstance(error, SakugaError) or not reservation.committed:
                reservation.refund()
            raise
        with suppress(RedisError):  # a reconciliation ends it
            self._redis.zrem(redis_keys.RESERVATIONS, str(entry))

    def reconcile(self) -> Iterator[int]:
        """End the reservations of processes that died, some per step; yield how many each step refunded."""
        while ended := self._redis.zrangebyscore(redis_keys.RESERVATIONS, 0, self._clock.now(), start=0, num=PAGE):
            entries = [_Entry(*str(entry).split(" ")) for entry in ended]
            yield sum(self._end(entry, redis_keys.job_record(entry.job_id)) for entry in entries)

    def left(self, caller_id: str) -> float | None:
        """Return the megapixels left of a caller's quota today; None without a quota."""
        most = self._most(caller_id)
        if most is None:
            return None
        return max(0, most - int(self._redis.get(_key(caller_id, self._now())) or 0)) / 1e6

    def _most(self, caller_id: str) -> int | None:
        caller = self._keys.caller(caller_id)
        return None if caller is None or caller.megapixels_per_day is None else int(caller.megapixels_per_day * 1e6)

    def _reserve(self, caller_id: str, pixels: int, most: int, job_id: str) -> _Entry:
        if pixels > most:
            raise PhotoTooLargeError(
                f"Drawing this photo takes {pixels / 1e6:g} megapixels; your quota is {most / 1e6:g} a day. A smaller "
                "max_side takes fewer."
            )
        now = self._now()
        tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        entry = _Entry(job_id, str(pixels), _key(caller_id, now))
        gone, ends = int((tomorrow + timedelta(days=1)).timestamp()), now.timestamp() + RESERVED_S
        keys = (entry.key, redis_keys.RESERVATIONS)
        if not self._redis.eval(_RESERVE, len(keys), *keys, pixels, most, gone, str(entry), ends):
            raise QuotaExceededError(
                f"This photo exceeds what is left of your quota of {most / 1e6:g} megapixels a day (until 0:00 UTC).",
                retry_after_s=max(1, ceil((tomorrow - now).total_seconds())),
            )
        return entry

    def _now(self) -> datetime:
        """By the clock of Redis: else a web server whose clock is wrong would give everybody another day's quota."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def _refund(self, entry: _Entry) -> None:
        with suppress(RedisError):  # the photo was refused, and that is the error to report
            self._end(entry)

    def _end(self, entry: _Entry, *proof: str) -> int:
        keys = (entry.key, redis_keys.RESERVATIONS, *proof)
        return int(self._redis.eval(_REFUND, len(keys), *keys, str(entry), entry.pixels))


def _key(caller_id: str, now: datetime) -> str:
    return redis_keys.quota(caller_id, f"{now:%Y-%m-%d}")
