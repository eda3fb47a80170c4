"""Telling whoever waits for an album that it has ended: a signed POST, tried again until it is heard.

After Standard Webhooks 1.0 (https://www.standardwebhooks.com). An address that somebody names could be one that only
this machine can reach, so the name is resolved here, every address it has must be a public one, and it is that address
which is connected to: a name that resolves otherwise a moment later changes nothing. Imported by `shared.services`.
"""

import asyncio
import base64
import ipaddress
import json
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import httpx
import structlog
from standardwebhooks import Webhook

from shared import clock
from shared.errors import InvalidValueError, SakugaError

if TYPE_CHECKING:
    from redis import Redis

DUE: Final = "sakuga:webhooks"  # messages that were not heard yet, by when they are to be sent
DELAYS_S: Final = (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
TIMEOUT_S: Final = 10  # of each step: to connect, to agree on TLS, to be told anything more
DEADLINE_S: Final = 20  # of all steps: one who tells a byte now and then keeps within the other
LOOK_S: Final = 2  # how often to look for messages that are due
SENDERS: Final = 32  # at once; mostly they wait for receivers
# No caller and no host may occupy them all; several callers with slow receivers together can.
SENDERS_PER_CALLER: Final = SENDERS // 2
SENDERS_PER_HOST: Final = 4
_TUNNELS: Final = tuple(  # to IPv4, private ones too: NAT64, the local kind of it (RFC 8215), 6to4, mere IPv4
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96"))
)
CLAIM_S: Final = 120  # of a sender that died; above the deadline and what resolving a name takes
_CLAIM: Final = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, message in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], message) end
return due
"""
_CLAIM_COUNT: Final = 100

log = structlog.get_logger()


class UnreachableError(SakugaError):
    """The address cannot be told anything, now or ever."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell: `id` stays the same over all tries, so that a receiver can tell them apart from news."""

    id: str
    url: str
    secret: str
    body: str
    caller: str
    tries: int = 0  # that failed

    @property
    def host(self) -> str:
        """The receiver, whatever the port."""
        return urlsplit(self.url).hostname or ""


class _Senders:
    """Threads that send, few of them for the same caller or host."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(SENDERS, "webhook")  # starts them as they are needed
        self._lock = Lock()
        self._busy: Counter[str] = Counter()

    def start(self, send: Callable[[Message], bool], message: Message) -> Future[bool] | None:
        """Send a message in a thread; None if its caller, its host or all together have as many as they may."""
        limits = {
            "all": SENDERS,
            f"caller {message.caller}": SENDERS_PER_CALLER,
            f"host {message.host}": SENDERS_PER_HOST,
        }
        with self._lock:
            if any(self._busy[name] >= limit for name, limit in limits.items()):
                return None
            self._busy.update(limits.keys())
        future = self._pool.submit(send, message)
        future.add_done_callback(lambda done: self._end(done, limits.keys()))
        return future

    def _end(self, future: Future[bool], names: Iterable[str]) -> None:
        with self._lock:
            self._busy.subtract(names)
            self._busy = +self._busy  # without those that are at zero
        if error := future.exception():
            log.error("failed to send a webhook; will retry", exc_info=error)


class Webhooks:
    """Messages that wait in Redis until they have been heard."""

    def __init__(self, redis: "Redis", *, private_hosts: frozenset[str] = frozenset()) -> None:
        """Tell public addresses, and the names in `private_hosts` wherever they are."""
        self._redis = redis
        self._private_hosts = private_hosts
        self._senders = _Senders()

    def require_url(self, url: str) -> str:
        """Check what can be checked of an address without asking anybody.

        Raises:
            InvalidValueError: it is none, or plainly a private one.
        """
        host = _require_url(url)
        if _is_private(host) and host not in self._private_hosts:
            raise InvalidValueError(
                "webhook must be a public address; the operator can allow a host on the service's own network with "
                "SAKUGA_WEBHOOK_HOSTS."
            )
        return url

    def put(self, message: Message, *, keep_s: float) -> None:
        """Let a message be sent soon; one that was put before is not sent again."""
        key = _message(message.id)
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
            pipe.zadd(DUE, {message.id: clock.now(self._redis)})
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
            due = clock.now(self._redis) + LOOK_S
            self._redis.zadd(DUE, dict.fromkeys(waiting, due), xx=True)
        return started

    def _claim(self) -> dict[str, Message | None]:
        """Some messages that are due, which no other node sends for `CLAIM_S`."""
        now = clock.now(self._redis)
        claimed = cast("list[str]", self._redis.eval(_CLAIM, 1, DUE, now, now + CLAIM_S, _CLAIM_COUNT))
        with self._redis.pipeline(transaction=False) as pipe:
            for message_id in claimed:
                pipe.hgetall(_message(message_id))
            return {
                message_id: _read(message_id, found) for message_id, found in zip(claimed, pipe.execute(), strict=True)
            }

    def _drop(self, message_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.zrem(DUE, message_id)
            pipe.delete(_message(message_id))  # of one that expired while it was sent its tries came back
            pipe.execute()

    def _send(self, message: Message) -> bool:
        try:
            self._post(message)
        except UnreachableError as error:
            self._try_later(message, error)
            return False
        self._redis.zrem(DUE, message.id)
        return True

    def _try_later(self, message: Message, error: UnreachableError) -> None:
        log.warning("webhook delivery failed", webhook=message.id, tries=message.tries + 1, reason=error.detail)
        if message.tries >= len(DELAYS_S):
            self._redis.zrem(DUE, message.id)
            return
        with self._redis.pipeline() as pipe:
            pipe.hincrby(_message(message.id), "tries", 1)
            pipe.zadd(DUE, {message.id: clock.now(self._redis) + DELAYS_S[message.tries]})
            pipe.execute()

    def _post(self, message: Message) -> None:
        now = datetime.now(UTC)
        address = self._address(message.url)
        headers = {
            "Host": urlsplit(message.url).netloc,
            "Content-Type": "application/json",
            "User-Agent": "Sakuga",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(message.secret).sign(message.id, now, message.body),
        }
        try:
            request = httpx.Request(  # to the address, and still under the name for the certificate
                "POST",
                httpx.URL(message.url).copy_with(host=address),
                content=message.body.encode(),
                headers=headers,
                extensions={"sni_hostname": message.host, "timeout": httpx.Timeout(TIMEOUT_S).as_dict()},
            )
            status = asyncio.run(_status_of_answer(request))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UnreachableError(f"{type(error).__name__}") from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise UnreachableError(f"The receiver answered {status}.")

    def _address(self, url: str) -> str:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise UnreachableError("The host name cannot be resolved.") from error
        if host not in self._private_hosts and not all(is_public(address) for address in found):
            raise UnreachableError("The address is not public; SAKUGA_WEBHOOK_HOSTS can allow it.")
        return found[0]


async def _status_of_answer(request: httpx.Request) -> int:
    """Send a request and read the head of the answer, no more.

    A coroutine, since one that is blocked can be cancelled; a thread cannot.

    Raises:
        httpx.HTTPError: there is no answer.
        TimeoutError: it took longer than `DEADLINE_S`.
    """
    async with httpx.AsyncClient(verify=_trust(), trust_env=False) as client, asyncio.timeout(DEADLINE_S):
        answer = await client.send(request, stream=True)
        await answer.aclose()
    return answer.status_code


@cache
def _trust() -> ssl.SSLContext:
    """The authorities that vouch for receivers; loading them takes longer than sending a message."""
    return httpx.create_ssl_context(trust_env=False)


def _is_private(host: str) -> bool:
    """Whether a host says itself that it is none of the world's; names are judged when they are called."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    for read in (str, lambda text: socket.inet_ntoa(socket.inet_aton(text))):  # the second reads 127.1, too
        with suppress(ValueError, OSError):
            return not is_public(read(host))
    return False


def _require_url(url: str) -> str:
    """Check that this is an address, without asking anybody; returns its host."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.username or parts.password)
        (parts.hostname or "").encode("idna")
        usable = usable and parts.port != 0 and parts.netloc.isascii()
    except ValueError:
        usable = False
    if not usable:
        raise InvalidValueError("webhook must be a URL like https://example.com/hook, without a password.")
    return parts.hostname or ""


def new_secret() -> str:
    """A secret of 256 bits, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def event(kind: str, data: dict[str, object]) -> str:
    """The body of a message, as Standard Webhooks has it."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": now, "data": data}, separators=(",", ":"))


def is_public(address: str) -> bool:
    """Whether an IP address leads out into the world, by no detour to where only this machine can go."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_site_local or any(found in network for network in _TUNNELS):
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast


def _message(message_id: str) -> str:
    return f"sakuga:webhook:{message_id}"


def _read(message_id: str, record: Mapping[str, str]) -> Message | None:
    if "url" not in record:
        return None
    caller = record.get("caller", "")  # an earlier version kept none
    return Message(message_id, record["url"], record["secret"], record["body"], caller, int(record["tries"]))
