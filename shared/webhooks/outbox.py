"""The outbox of webhook messages: they wait in Redis, and delivery is retried until it is acknowledged."""

from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import structlog

from shared import redis_keys
from shared.redis_claims import claim_due
from shared.redis_clock import Clock
from shared.webhooks.addresses import DeliveryError, require_allowed
from shared.webhooks.delivery import post
from shared.webhooks.messages import Message, host_of, read_message
from shared.webhooks.senders import Senders

if TYPE_CHECKING:
    from redis import Redis

DELAYS_S: Final = (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
LOOK_S: Final = 2  # the interval between checks for due messages
MAX_WAITING: Final = 1000  # messages per check that find their caller or host at its limit
CLAIM_S: Final = 120  # after which another node may send it; above the deadline and the time to resolve a name

# Count a failed attempt at a message, unless its time to live has ended meanwhile: what is left of it would come back
# without an address. KEYS: the due messages, the message. ARGV: the message, when it is due again.
_TRY_LATER: Final = """
if redis.call('EXISTS', KEYS[2]) == 0 then
    return redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('HINCRBY', KEYS[2], 'tries', 1)
return redis.call('ZADD', KEYS[1], 'XX', ARGV[2], ARGV[1])
"""

log = structlog.get_logger()


class Webhooks:
    """The undelivered messages in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock, *, private_hosts: frozenset[str] = frozenset()) -> None:
        """Send to public addresses, and to the names in `private_hosts` wherever they are."""
        self._redis = redis
        self._clock = clock
        self._private_hosts = private_hosts
        self._senders = Senders()

    def require_url(self, url: str) -> str:
        """Return a URL after checking it as far as possible without resolving it.

        Raises:
            InvalidValueError: it is not a valid URL, or plainly a private address.
        """
        require_allowed(url, self._private_hosts)
        return url

    def put(self, message: Message, *, keep_s: float) -> None:
        """Queue a message; one that was queued before is not sent again."""
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
        """Send the due messages and wait for them; return how many were delivered."""
        return sum(future.result() for future in self.start_due())

    def start_due(self) -> list[Future[bool]]:
        """Start sending due messages while senders are free.

        Messages whose caller or host has reached its limit are due again in a moment, and so behind all others.
        """
        started: list[Future[bool]] = []
        waiting: list[str] = []
        while (free := self._senders.free) and len(waiting) < MAX_WAITING and (claimed := self._claim(free)):
            for message_id, (url, caller) in claimed.items():
                send = partial(self._send, message_id)
                if url is None:  # its time to live is over
                    self._drop(message_id)
                elif future := self._senders.start(send, caller=caller or "", host=host_of(url)):
                    started.append(future)
                else:
                    waiting.append(message_id)
        if waiting:
            due = self._clock.now() + LOOK_S
            self._redis.zadd(redis_keys.WEBHOOKS_DUE, dict.fromkeys(waiting, due), xx=True)
        return started

    def _claim(self, count: int) -> dict[str, list[str | None]]:
        """Claim up to `count` due messages, which no other node sends for `CLAIM_S`; return URL and caller of each."""
        now = self._clock.now()
        claimed = claim_due(self._redis, redis_keys.WEBHOOKS_DUE, now=now, until=now + CLAIM_S, count=count)
        with self._redis.pipeline(transaction=False) as pipe:
            for message_id in claimed:
                pipe.hmget(redis_keys.webhook_message(message_id), ["url", "caller"])
            return dict(zip(claimed, pipe.execute(), strict=True))

    def _drop(self, message_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.zrem(redis_keys.WEBHOOKS_DUE, message_id)
            pipe.delete(redis_keys.webhook_message(message_id))  # an earlier release may have left its tries there
            pipe.execute()

    def _send(self, message_id: str) -> bool:
        record = cast("dict[str, str]", self._redis.hgetall(redis_keys.webhook_message(message_id)))
        message = read_message(message_id, record)
        if message is None:  # it has expired since
            self._drop(message_id)
            return False
        try:
            post(message, self._private_hosts)
        except DeliveryError as error:
            self._try_later(message, error)
            return False
        self._settle(message)
        return True

    def _settle(self, message: Message) -> None:
        """Send a message no more; what is left of it until its time to live ends tells that it was queued before."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(redis_keys.WEBHOOKS_DUE, message.id)
            pipe.hdel(redis_keys.webhook_message(message.id), "url", "secret", "body")
            pipe.execute()

    def _try_later(self, message: Message, error: DeliveryError) -> None:
        log.warning("webhook delivery failed", webhook=message.id, tries=message.tries + 1, reason=error.detail)
        if message.tries >= len(DELAYS_S):
            self._settle(message)
            return
        keys = (redis_keys.WEBHOOKS_DUE, redis_keys.webhook_message(message.id))
        self._redis.eval(_TRY_LATER, len(keys), *keys, message.id, self._clock.now() + DELAYS_S[message.tries])
