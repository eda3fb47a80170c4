"""Checking the addresses of webhooks: none may be one that only this machine or its network can reach.

A name is resolved here, all its addresses must be public, and the connection is made to the resolved address: a name
that resolves differently a moment later (DNS rebinding) changes nothing.
"""

import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from shared.errors import InvalidValueError, SakugaError

_TUNNELS: Final = tuple(  # to IPv4, private ones too: NAT64, the local kind of it (RFC 8215), 6to4, mere IPv4
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96"))
)


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
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    for read in (str, lambda text: socket.inet_ntoa(socket.inet_aton(text))):  # the second reads 127.1, too
        with suppress(ValueError, OSError):
            return not is_public(read(host))
    return False


def _host_of(url: str) -> str:
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


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and not a tunnel to where only this machine can reach."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_site_local or any(found in network for network in _TUNNELS):
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast
