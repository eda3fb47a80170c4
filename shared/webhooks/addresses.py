"""Checking the addresses of webhooks: none may be one that only this machine or its network can reach.

A name is resolved here, all its addresses must be public, and the connection is made to the resolved address: a name
that resolves differently a moment later (DNS rebinding) changes nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import httpx

from shared.errors import InvalidValueError, SakugaError

_UNICAST: Final = ipaddress.ip_network("2000::/3")  # all that IANA gives to networks; the rest translates or is local
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocols and, at one provider, credentials
            "192.88.99.0/24",  # 6to4 relays
            "168.63.129.16/32",  # a provider's agent, on all of its machines
            "2001::/32",  # tunnels to IPv4, private addresses too: Teredo
            "2002::/16",  # and 6to4
            "3fff::/20",  # documentation
        ),
    )
)
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"({_LABEL}\.)*{_LABEL}\.?")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")  # a last label that makes a name an IPv4 address (WHATWG URL)
_MAX_NAME: Final = 254  # characters, with a dot at the end


class DeliveryError(SakugaError):
    """A message could not be delivered."""


def require_allowed(url: str, private_hosts: Collection[str]) -> None:
    """Check a URL as far as possible without resolving it; the names in `private_hosts` may be private.

    Raises:
        InvalidValueError: it is not a valid URL, or plainly a private address.
    """
    host = _host_of(url)
    if _is_private(host) and host not in private_hosts:
        raise InvalidValueError(
            "webhook must be a public address; the operator can allow a host on the service's own network with "
            "SAKUGA_WEBHOOK_HOSTS."
        )


def resolve(url: str, private_hosts: Collection[str]) -> str:
    """Return the IP address to connect to; all of the name's must be public, unless it is one of `private_hosts`.

    Raises:
        DeliveryError: the name has no address, or one that is not public.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise DeliveryError("The host name cannot be resolved.") from error
    if host not in private_hosts and not all(is_public(address) for address in found):
        raise DeliveryError("The address is not public; SAKUGA_WEBHOOK_HOSTS can allow it.")
    return found[0]


def _is_private(host: str) -> bool:
    """Return whether a host is plainly private; names are resolved and checked when they are called."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address_in(name)
    return address is not None and not is_public(address)


def _address_in(name: str) -> str | None:
    """Return the IP address that a host is, in any notation that a resolver takes, such as 127.1."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(name))
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(name))
    return None


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        usable = parts.scheme in {"http", "https"} and _is_host(host) and not (parts.username or parts.password)
        usable = usable and parts.port != 0 and bool(httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise InvalidValueError("webhook must be a URL like https://example.com/hook, without a password.")
    return host


def _is_host(host: str) -> bool:
    """Return whether a host is an IP address or a name; one that ends in a number is an address or nothing."""
    name = host.rstrip(".")
    if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _address_in(name) is not None
    return len(host) <= _MAX_NAME and _HOST_NAME.fullmatch(host) is not None


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and not a tunnel to where only this machine can reach."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.version == 6 and found not in _UNICAST:  # noqa: PLR2004
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC)
