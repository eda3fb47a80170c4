"""Host names and addresses: which of them are this machine, and how they are written."""

import socket
from ipaddress import IPv6Address, ip_address

from shared.errors import SettingsError


def is_loopback(host: str) -> bool:
    """Return whether a name or an address, without brackets, only ever means this machine itself."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def bind_address(host: str) -> str:
    """Return the IP address to listen on for a name or an address; IPv4, where a name has both.

    Raises:
        SettingsError: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"SAKUGA_HOST: {host!r} is not an address, nor a name that can be resolved.") from error
    return min((family != socket.AF_INET, str(address[0])) for family, *_, address in found)[1]


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has taken a port, which is free again when the socket is closed.

    Raises:
        SettingsError: the name cannot be resolved.
        OSError: the port is taken, or the address is not one of this machine.
    """
    address = bind_address(host)
    probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
    except BaseException:
        probe.close()
        raise
    return probe


def local_url(host: str, port: int) -> str:
    """Return the URL under which this machine reaches a server that listens on `host`."""
    if host == "0.0.0.0":  # noqa: S104  compared, not bound
        host = "127.0.0.1"
    return f"http://{in_url('::1' if host == '::' else host)}:{port}"


def in_url(host: str) -> str:
    """Write a host as URLs do: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
