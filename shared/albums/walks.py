"""Walks through albums that are too large for a request: all of their photos are canceled, erased, retried or redrawn.

They wait in Redis until a worker node walks them (`shared.usecases.walks`).
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self, cast

from shared import redis_keys
from shared.errors import OverruledError
from shared.jobs.store import Condition
from shared.redis_claims import claim_due
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis

CLAIM_S: Final = 60  # after which another node may walk it; renewed with every page
PUT_OFF_S: Final = 2
TURN_S: Final = 3600  # more than a walk, or a request for one, takes between two of its photos


class Action(StrEnum):
    """An operation on every photo of an album."""

    CANCEL = "cancel"
    ERASE = "erase"
    RETRY = "retry"
    REDRAW = "redraw"  # of another album: its photos are added to this one


_OPPOSITES: Final = {Action.CANCEL: Action.RETRY, Action.RETRY: Action.CANCEL}

# Redis runs a script as one step. KEYS: an album's turn, the walks. ARGV: what is asked, an id, for how many seconds to
# keep it, the opposite walk.
_TURN: Final = """
if string.match(redis.call('GET', KEYS[1]) or '', '^%a+') ~= ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[4])
"""


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk through an album of a caller."""

    caller: str
    album_id: str
    action: Action

    def __str__(self) -> str:
        return f"{self.caller} {self.album_id} {self.action}"

    @classmethod
    def of(cls, member: str) -> Self:
        """Parse what `str` made."""
        caller, album_id, action = member.split(" ")
        return cls(caller, album_id, Action(action))


class Walks:
    """The walks that are not done yet, in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock) -> None:
        """Keep them in `redis`."""
        self._redis = redis
        self._clock = clock

    def turn_to(self, walk: Walk) -> None:
        """Overrule the opposite of a walk: it is not needed any more and, where it is under way, does nothing more."""
        _turn_to(self._redis, walk)

    def condition(self, album_id: str, action: Action) -> Condition | None:
        """Return on what every step of a walk depends; None if it has no opposite.

        Raises:
            OverruledError: the opposite was asked since.
        """
        opposite = _OPPOSITES.get(action)
        if opposite is None:
            return None
        key = redis_keys.album_turn(album_id)
        turn = cast("str | None", self._redis.get(key))
        if turn and turn.startswith(f"{opposite} "):
            raise OverruledError("Something else was asked since.")
        return Condition(key, turn)

    def put(self, walk: Walk) -> None:
        """Ask for a walk; one that does the opposite is not needed any more."""
        with self._redis.pipeline() as pipe:  # of two opposite walks, one alone may wait
            _turn_to(pipe, walk)
            pipe.zadd(redis_keys.WALKS, {str(walk): self._clock.now()}, nx=True)
            pipe.execute()

    def claim(self, count: int) -> list[Walk]:
        """Claim up to `count` walks that no other node is at."""
        now = self._clock.now()
        return [
            Walk.of(one) for one in claim_due(self._redis, redis_keys.WALKS, now=now, until=now + CLAIM_S, count=count)
        ]

    def put_off(self, walks: Iterable[Walk]) -> None:
        """Let walks be claimed again in a moment, and so behind all others."""
        until = self._clock.now() + PUT_OFF_S
        if found := dict.fromkeys(map(str, walks), until):
            self._redis.zadd(redis_keys.WALKS, found, xx=True)

    def renew(self, walk: Walk) -> bool:
        """Go on with a walk; return whether it is still wanted."""
        until = self._clock.now() + CLAIM_S
        self._redis.zadd(redis_keys.WALKS, {str(walk): until}, xx=True)
        return self._redis.zscore(redis_keys.WALKS, str(walk)) is not None

    def finish(self, walk: Walk) -> None:
        self._redis.zrem(redis_keys.WALKS, str(walk))

    def pending(self, caller: str, album_id: str) -> list[Action]:
        """Return what is still to be done with all photos of an album."""
        walks = [str(Walk(caller, album_id, action)) for action in Action]
        found = self._redis.zmscore(redis_keys.WALKS, walks)
        return [action for action, due in zip(Action, found, strict=True) if due is not None]


def _turn_to(redis: "Redis", walk: Walk) -> None:
    """Overrule the opposite of a walk; in a pipeline, queue that."""
    if opposite := _OPPOSITES.get(walk.action):
        keys = redis_keys.album_turn(walk.album_id), redis_keys.WALKS
        unwanted = str(Walk(walk.caller, walk.album_id, opposite))
        redis.eval(_TURN, len(keys), *keys, walk.action, secrets.token_hex(8), TURN_S, unwanted)
