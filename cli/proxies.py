"""The proxies of the environment, as Python and curl read them; this machine itself is never asked through one.

httpx would ask a proxy for loopback, and fails where `NO_PROXY` has IPv6 addresses in brackets or IPv6 networks.
"""

from contextlib import suppress
from ipaddress import ip_address, ip_network
from threading import Lock
from urllib.request import getproxies, proxy_bypass

import httpx

from shared.errors import InvalidValueError
from shared.hosts import is_loopback


def proxy_for(url: httpx.URL) -> str | None:
    """Return the URL of the proxy through which `url` is reached; None for a direct connection."""
    proxies = getproxies()
    if is_loopback(url.host) or proxy_bypass(url.host) or _is_in_network(url.host, proxies.get("no", "")):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    if proxy and "://" not in proxy:
        return f"http://{proxy}"
    return proxy.replace("socks://", "socks5://", 1) or None  # GNOME's spelling


def _is_in_network(host: str, no_proxy: str) -> bool:
    """Return whether `host` is an address that `no_proxy` names, alone or as part of a network."""
    for name in no_proxy.split(","):
        with suppress(ValueError):  # one of them is a name
            if ip_address(host) in ip_network(name.strip().strip("[]"), strict=False):
                return True
    return False


class ProxiedTransport(httpx.BaseTransport):
    """Connects directly or through a proxy, as the environment has it for the host."""

    def __init__(self) -> None:
        self._transports: dict[str | None, httpx.HTTPTransport] = {}
        self._lock = Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            InvalidValueError: the proxy is none that can be used.
        """
        return self._transport(proxy_for(request.url)).handle_request(request)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _transport(self, proxy: str | None) -> httpx.HTTPTransport:
        with self._lock:
            if proxy not in self._transports:
                self._transports[proxy] = _open(proxy)
            return self._transports[proxy]


def _open(proxy: str | None) -> httpx.HTTPTransport:
    try:
        return httpx.HTTPTransport(proxy=proxy)
    except (ValueError, httpx.InvalidURL) as error:
        raise InvalidValueError(
            "The proxy in the environment (http_proxy, https_proxy or all_proxy) is not a valid http://, https:// or "
            "socks5:// address; correct it, or add the server to no_proxy."
        ) from error
