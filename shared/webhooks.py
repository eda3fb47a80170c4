"""Telling whoever waits for an album that it has ended: a signed POST, tried again until it is heard.

After Standard Webhooks 1.0 (https://www.standardwebhooks.com). An address that somebody names could be one that only
this machine can reach, so the name is resolved here, every address it has must be a public one, and it is that address
which is connected to: a name that resolves otherwise a moment later changes nothing. Imported by `shared.services`.
"""

import base64
import ipaddress
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Timer
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import httpx
import structlog
from standardwebhooks import Webhook

from shared import clock
from shared.errors import InvalidValueError, SakugaError

if TYPE_CHECKING:
    import httpcore
    from redis import Redis

DUE: Final = "sakuga:webhooks"  # messages that were not heard yet, by when they are to be sent
DELAYS_S: Final = (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
TIMEOUT_S: Final = 10  # of each step: to connect, to agree on TLS, to be told anything more
DEADLINE_S: Final = 20  # of all steps: one who tells a byte now and then keeps within the other
SENDERS: Final = 4  # at once, so that a slow receiver keeps few others waiting
_TUNNELS: Final = tuple(  # to IPv4, private ones too: NAT64, the local kind of it (RFC 8215), 6to4, mere IPv4
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96"))
)
CLAIM_S: Final = 120  # of a sender that died; above the deadline and what resolving a name takes

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


class Webhooks:
    """Messages that wait in Redis until they have been heard."""

    def __init__(self, redis: "Redis", *, private_hosts: frozenset[str] = frozenset()) -> None:
        """Tell public addresses, and the names in `private_hosts` wherever they are."""
        self._redis = redis
        self._private_hosts = private_hosts

    def require_url(self, url: str) -> str:
        """Check what can be checked of an address without asking anybody.

        Raises:
            InvalidValueError: it is none, or plainly a private one.
        """
        host = _require_url(url)
        if _is_private(host) and host not in self._private_hosts:
            raise InvalidValueError(
                "webhook must be a public address; for one of the service's own network its operator can name the host "
                "in SAKUGA_WEBHOOK_HOSTS."
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
                ("tries", "0"),
            ):
                pipe.hset(key, name, value)
            pipe.expire(key, int(keep_s))
            pipe.zadd(DUE, {message.id: clock.now(self._redis)})
            pipe.execute()

    def send_due(self, count: int = 10) -> int:
        """Send up to `count` messages whose time has come; returns how many were heard."""
        due = cast("list[str]", self._redis.zrangebyscore(DUE, 0, clock.now(self._redis), start=0, num=count))
        with ThreadPoolExecutor(SENDERS, "webhook") as pool:
            return sum(pool.map(self._send_one, due))

    def _send_one(self, message_id: str) -> bool:
        if not self._redis.set(f"{_message(message_id)}:claim", "1", nx=True, ex=CLAIM_S):
            return False  # another node does it
        found = cast("dict[str, str]", self._redis.hgetall(_message(message_id)))
        if "tries" not in found:
            self._redis.zrem(DUE, message_id)
            return False
        try:
            self._post(Message(message_id, found["url"], found["secret"], found["body"]))
        except UnreachableError as error:
            self._try_later(message_id, int(found["tries"]), error)
            return False
        self._redis.zrem(DUE, message_id)
        self._redis.delete(f"{_message(message_id)}:claim")
        return True

    def _try_later(self, message_id: str, tries: int, error: UnreachableError) -> None:
        log.warning("a webhook was not heard", webhook=message_id, tries=tries + 1, reason=error.detail)
        if tries >= len(DELAYS_S):
            self._redis.zrem(DUE, message_id)
            return
        with self._redis.pipeline() as pipe:
            pipe.hincrby(_message(message_id), "tries", 1)
            pipe.zadd(DUE, {message_id: clock.now(self._redis) + DELAYS_S[tries]})
            pipe.delete(f"{_message(message_id)}:claim")
            pipe.execute()

    def _post(self, message: Message) -> None:
        now, host = datetime.now(UTC), urlsplit(message.url).hostname or ""
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
            client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
            with (
                _cut_off_after(DEADLINE_S) as watch,
                client,
                client.stream(  # to the address, and still under the name for the certificate
                    "POST",
                    httpx.URL(message.url).copy_with(host=address),
                    content=message.body.encode(),
                    headers=headers,
                    extensions={"sni_hostname": host, "trace": watch},
                ) as answer,
            ):  # what it says beyond that is not read
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UnreachableError(f"{type(error).__name__}") from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise UnreachableError(f"It answered {status}.")

    def _address(self, url: str) -> str:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise UnreachableError("Its name cannot be resolved.") from error
        if host not in self._private_hosts and not all(is_public(address) for address in found):
            raise UnreachableError("It is not a public address; SAKUGA_WEBHOOK_HOSTS may allow it.")
        return found[0]


@contextmanager
def _cut_off_after(seconds: float) -> Iterator[Callable[[str, Mapping[str, object]], None]]:
    """Shut down the connection of a request that takes longer than so; yields what is to watch the request.

    Shut down, and not closed: that wakes whoever reads from it. By a descriptor of our own, which stays that
    connection's whatever the reader does, and while TLS is put over it.
    """
    lines: list[socket.socket] = []

    def watch(happened: str, about: Mapping[str, object]) -> None:
        if happened == "connection.connect_tcp.complete":
            stream = cast("httpcore.NetworkStream", about["return_value"])
            lines.append(cast("socket.socket", stream.get_extra_info("socket")).dup())

    def cut() -> None:
        for line in lines:
            with suppress(OSError):  # the other side was quicker
                line.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        timer.join()
        for line in lines:
            line.close()


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
        raise InvalidValueError("webhook must be an address like https://example.com/hook, without a password.")
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
