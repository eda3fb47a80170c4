"""Daily quotas (UTC) of callers in megapixels, charged when a photo is admitted.

The size that counts is the one after the photo is shrunk. A photo that is rejected after all is refunded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from shared import redis_keys
from shared.callers.api_keys import ApiKeys
from shared.errors import PhotoTooLargeError, QuotaExceededError, SakugaError
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis

# Count if there is room, in one step. KEYS: of the day. ARGV: pixels, the most, when the key goes (epoch seconds).
_RESERVE: Final = """
if tonumber(redis.call('GET', KEYS[1]) or 0) + ARGV[1] > tonumber(ARGV[2]) then
    return 0
end
redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('EXPIREAT', KEYS[1], ARGV[3])
return 1
"""


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
    def reserve(self, caller_id: str, pixels: int) -> Iterator[Reservation]:
        """Charge a photo while the block admits it.

        It is refunded if it is rejected, if the block fails before the reservation is committed, and if the block asks
        for it.

        Raises:
            QuotaExceededError: it exceeds what is left of today's quota; with the seconds until tomorrow.
            PhotoTooLargeError: it exceeds a whole day's quota.
        """
        most = self._most(caller_id)
        if most is None:
            yield Reservation(lambda: None)
            return
        key = self._reserve(caller_id, pixels, most)
        reservation = Reservation(partial(self._refund, key, pixels))
        try:
            yield reservation
        except BaseException as error:
            if isinstance(error, SakugaError) or not reservation.committed:
                reservation.refund()
            raise

    def left(self, caller_id: str) -> float | None:
        """Return the megapixels left of a caller's quota today; None without a quota."""
        most = self._most(caller_id)
        if most is None:
            return None
        return max(0, most - int(self._redis.get(_key(caller_id, self._now())) or 0)) / 1e6

    def _most(self, caller_id: str) -> int | None:
        caller = self._keys.caller(caller_id)
        return None if caller is None or caller.megapixels_per_day is None else int(caller.megapixels_per_day * 1e6)

    def _reserve(self, caller_id: str, pixels: int, most: int) -> str:
        if pixels > most:
            raise PhotoTooLargeError(
                f"Drawing this photo takes {pixels / 1e6:g} megapixels; your quota is {most / 1e6:g} a day. A smaller "
                "max_side takes fewer."
            )
        now = self._now()
        tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        key = _key(caller_id, now)
        gone = int((tomorrow + timedelta(days=1)).timestamp())
        if not self._redis.eval(_RESERVE, 1, key, pixels, most, gone):
            raise QuotaExceededError(
                f"This photo exceeds what is left of your quota of {most / 1e6:g} megapixels a day (until 0:00 UTC).",
                retry_after_s=max(1, ceil((tomorrow - now).total_seconds())),
            )
        return key

    def _now(self) -> datetime:
        """By the clock of Redis: else a web whose clock is wrong would give everybody another day's quota."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def _refund(self, key: str, pixels: int) -> None:
        with suppress(RedisError):  # the photo was refused; that is what its sender is to hear
            self._redis.decrby(key, pixels)


def _key(caller_id: str, now: datetime) -> str:
    return redis_keys.quota(caller_id, f"{now:%Y-%m-%d}")
