"""`sakuga up --lan`: let other devices in the local network use Sakuga, with a key that nobody has to type.

The key is in the fragment of a link, which browsers do not send: the page signs in with it and removes it from the
address bar. It belongs to a caller of its own and is kept in the data folder, so the link works after a restart, too.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import psutil
import segno
from rich.console import Console
from rich.text import Text

from cli.keys import Allowance, create_caller, file_of, rotate_key
from shared.callers.api_keys import ApiKeys, Scope, read_keys
from shared.errors import SettingsError
from shared.files import write_atomically
from shared.hosts import bind_address, in_url, is_loopback
from shared.settings import Settings

CALLER: Final = "lan"
KEY_FILE: Final = "lan.key"
ALLOWANCE: Final = Allowance((Scope.SUBMIT, Scope.READ))
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104  keys are required
ELSEWHERE: Final = ("203.0.113.1", 9)  # reserved for documentation
QUIET_ZONE: Final = 4  # modules around a QR code, as its standard demands
BLOCKS: Final = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}  # upper, lower
COLOURS: Final = "#ffffff on #000000"  # of the light modules and the dark ones, whatever those of the terminal are


@dataclass(frozen=True, slots=True)
class Invitation:
    """The host and the key with which other devices use this machine; the key is kept in `key_file`."""

    host: str
    key: str
    key_file: Path

    def address(self, port: int) -> str:
        return f"http://{in_url(self.host)}:{port}"

    def show(self, port: int, console: Console) -> None:
        """Print a link that signs in, and its QR code if there is room; where it could end up in a log, print neither.

        The link comes first: what is printed last is certainly in sight.
        """
        if not console.file.isatty():
            console.print(f"Signing in takes a key; the one for the local network is in {self.key_file}", markup=False)
            return
        link = f"{self.address(port)}/#key={self.key}"
        code = qr_code(link)
        can_show = len(code[0]) <= console.width and not console.options.ascii_only
        scan = "scan this code with a phone in the same network, or " if can_show else ""
        console.print(f"To sign in, {scan}open this link:", style="bold")
        console.print(link, markup=False)
        console.print(f"It lets anyone in who has it; `sakuga keys revoke {CALLER}` makes it invalid.")
        if can_show:
            console.print(Text("\n".join(code), COLOURS))


def invite(settings: Settings) -> tuple[Settings, Invitation]:
    """Return the settings of a service for the local network, and what other devices need to use it.

    The host that is set is kept if others can reach it; otherwise the service listens on all addresses.

    Raises:
        SettingsError: this machine is in no local network, or the key file cannot be used.
        OSError: a key could not be saved.
    """
    listen, host = _hosts(settings.host)
    trusted = f"{settings.trusted_hosts},{host}" if settings.trusted_hosts else ""
    changes = {"host": listen, "api_keys": file_of(settings), "published_at": "", "trusted_hosts": trusted}
    settings = settings.model_copy(update=changes)
    return settings, Invitation(host, _key(settings), settings.data_dir / KEY_FILE)


def qr_code(text: str) -> list[str]:
    """Return the lines of a QR code, two rows of modules in each; light modules are drawn, dark ones left out."""
    dark = [list(map(bool, row)) for row in segno.make_qr(text, error="l").matrix_iter(border=QUIET_ZONE)]
    dark.append([False] * len(dark[0]))  # the number of rows is odd
    return [
        "".join(BLOCKS[not upper, not lower] for upper, lower in zip(*rows, strict=True))
        for rows in zip(dark[::2], dark[1::2], strict=True)
    ]


def lan_address() -> str:
    """Return the address of this machine in its local network; of several, the one that leads out of it.

    Raises:
        SettingsError: it has none.
    """
    found = list(_private_addresses())
    if not found:
        raise SettingsError(
            "This machine has no address in a local network. Connect it to one, or set SAKUGA_HOST to the address "
            "under which others reach it."
        )
    outgoing = _outgoing_address()
    return outgoing if outgoing in found else found[0]


def _hosts(host: str) -> tuple[str, str]:
    """Return the host to listen on, and the one under which other devices find this machine."""
    address = bind_address(host)
    if ip_address(address).is_unspecified:
        return host, lan_address()
    return (ANY_ADDRESS, lan_address()) if is_loopback(address) else (host, host)


def _private_addresses() -> Iterator[str]:
    for name, status in psutil.net_if_stats().items():
        for one in psutil.net_if_addrs().get(name, ()) if status.isup else ():
            is_tunnel = one.ptp is not None  # as that of a VPN
            if one.family == socket.AF_INET and not is_tunnel and _is_local(one.address):
                yield str(one.address)


def _is_local(address: str) -> bool:
    parsed = ip_address(address)
    return parsed.is_private and not (parsed.is_loopback or parsed.is_link_local)


def _outgoing_address() -> str:
    """Return the address from which this machine would reach others; empty if it would not. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(ELSEWHERE)
        return str(probe.getsockname()[0])
    return ""


def _key(settings: Settings) -> str:
    """Return the key that was kept, as long as it is valid; otherwise a new one."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    kept, known = settings.data_dir / KEY_FILE, file_of(settings)
    key = kept.read_text("utf-8", "replace").strip() if kept.exists() else ""
    if not (known.exists() and ApiKeys(known).find(key)):
        key = _new_key(known)
        write_atomically(kept, f"{key}\n".encode(), mode=0o600)
    return key


def _new_key(file: Path) -> str:
    if file.exists() and any(caller.name == CALLER for caller in read_keys(file).callers):
        return rotate_key(file, CALLER, old_expire_in=timedelta(days=1), expires_in=None)[0]
    return create_caller(file, CALLER, ALLOWANCE, expires_in=None)[0]
