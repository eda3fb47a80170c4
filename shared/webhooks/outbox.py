"""Telling whoever waits for an album that it has ended: messages wait in Redis, and are tried again until heard."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, cast

import structlog

from shared import redis_keys
from shared.redis_clock import Clock
from shared.webhooks.addresses import DeliveryError, require_allowed
from shared.webhooks.delivery import post
from shared.webhooks.messages import Message, read_message
from shared.webhooks.senders import Senders

if TYPE_CHECKING:
    from redis import Redis

DELAYS_S: Final = (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
LOOK_S: Final = 2  # how often to look for messages that are due
CLAIM_S: Final = 120  # of a sender that died; above the deadline and what resolving a name takes
_CLAIM: Final = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, message in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], message) end
return due
"""
_CLAIM_COUNT: Final = 100

log = structlog.get_logger()


class Webhooks:
    """Messages that wait in Redis until they have been heard."""

    def __init__(self, redis: "Redis", clock: Clock, *, private_hosts: frozenset[str] = frozenset()) -> None:
        """Tell public addresses, and the names in `private_hosts` wherever they are."""
        self._redis = redis
        self._clock = clock
        self._private_hosts = private_hosts
        self._senders = Senders()

    def require_url(self, url: str) -> str:
        """The address itself, once checked as far as that goes without asking anybody.

        Raises:
            InvalidValueError: it is none, or plainly a private one.
        """
        require_allowed(url, self._private_hosts)
        return url

    def put(self, message: Message, *, keep_s: float) -> None:
        """Let a message be sent soon; one that was put before is not sent again."""
        key = redis_keys.webhook_message(message.id)
        if self._redis.exists(key):
            return
        with self._redis.pipeline() as pipe:  # two who do this at once write the same
            for name, value in (
                ("url", message.url),
                ("secret", message.secret),
                ("body", message.body),
                ("caller", message.caller),
                ("tries", "0"),
            ):
                pipe.hset(key, name, value)
            pipe.expire(key, int(keep_s))
            pipe.zadd(redis_keys.WEBHOOKS_DUE, {message.id: self._clock.now()})
            pipe.execute()

    def send_due(self) -> int:
        """Start what is due and wait for it; returns how many messages were heard."""
        return sum(future.result() for future in self.start_due())

    def start_due(self) -> list[Future[bool]]:
        """Start to send the messages that are due; those for which no sender is free are due again in a moment."""
        started, waiting = [], []
        while claimed := self._claim():
            for message_id, message in claimed.items():
                if message is None:  # its time to live is over
                    self._drop(message_id)
                elif future := self._senders.start(self._send, message):
                    started.append(future)
                else:
                    waiting.append(message_id)
        if waiting:
            due = self._clock.now() + LOOK_S
            self._redis.zadd(redis_keys.WEBHOOKS_DUE, dict.fromkeys(waiting, due), xx=True)
        return started

    def _claim(self) -> dict[str, Message | None]:
        """Some messages that are due, which no other node sends for `CLAIM_S`."""
        now = self._clock.now()
        claimed = cast(
            "list[str]", self._redis.eval(_CLAIM, 1, redis_keys.WEBHOOKS_DUE, now, now + CLAIM_S, _CLAIM_COUNT)
        )
        with self._redis.pipeline(transaction=False) as pipe:
            for message_id in claimed:
                pipe.hgetall(redis_keys.webhook_message(message_id))
            return {
                message_id: read_message(message_id, found)
                for message_id, found in zip(claimed, pipe.execute(), strict=True)
            }

    def _drop(self, message_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.zrem(redis_keys.WEBHOOKS_DUE, message_id)
            pipe.delete(redis_keys.webhook_message(message_id))  # if it expired while it was sent its tries came back
            pipe.execute()

    def _send(self, message: Message) -> bool:
        try:
            post(message, self._private_hosts)
        except DeliveryError as error:
            self._try_later(message, error)
            return False
        self._redis.zrem(redis_keys.WEBHOOKS_DUE, message.id)
        return True

    def _try_later(self, message: Message, error: DeliveryError) -> None:
        log.warning("webhook delivery failed", webhook=message.id, tries=message.tries + 1, reason=error.detail)
        if message.tries >= len(DELAYS_S):
            self._redis.zrem(redis_keys.WEBHOOKS_DUE, message.id)
            return
        with self._redis.pipeline() as pipe:
            pipe.hincrby(redis_keys.webhook_message(message.id), "tries", 1)
            pipe.zadd(redis_keys.WEBHOOKS_DUE, {message.id: self._clock.now() + DELAYS_S[message.tries]})
            pipe.execute()
