"""`sakuga keys`: who may call a service, and with which keys.

Services read the file again when it changes, so nothing needs a restart. It is written beside itself and moved into its
place, so that nobody ever reads half of it.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from cli.words import counted
from shared.callers.api_keys import ApiKey, Caller, KeyFile, Scope, new_key, read_keys, sentences
from shared.errors import InvalidValueError
from shared.files import write_atomically
from shared.settings import Settings

NAME = "keys.toml"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The permissions and limits of a new caller."""

    scopes: tuple[Scope, ...]
    requests_per_minute: int | None = None
    megapixels_per_day: float | None = None


def file_of(settings: Settings) -> Path:
    """Return the key file: the one that the service uses, or would use."""
    return settings.api_keys or settings.data_dir / NAME


def create_caller(file: Path, name: str, allowance: Allowance, *, expires_in: timedelta | None) -> tuple[str, ApiKey]:
    """Add a caller with a first key, which is returned and kept nowhere.

    Raises:
        InvalidValueError: there is one of that name, or there can be none.
    """
    now = _now()
    with _changing(file) as callers:
        if name in callers:
            raise InvalidValueError(f"Caller {name} already exists; use `sakuga keys rotate {name}` for a new key.")
        key, kept = new_key(now, now + expires_in if expires_in else None)
        callers[name] = _new_caller(name, allowance, kept)
    return key, kept


def _new_caller(name: str, allowance: Allowance, key: ApiKey) -> Caller:
    try:
        return Caller(
            name=name,
            id=secrets.token_hex(16),
            scopes=allowance.scopes,
            requests_per_minute=allowance.requests_per_minute,
            megapixels_per_day=allowance.megapixels_per_day,
            keys=(key,),
        )
    except ValidationError as error:
        raise InvalidValueError(f"Invalid caller: {sentences(error)}.") from error


def rotate_key(file: Path, name: str, *, old_expire_in: timedelta, expires_in: timedelta | None) -> tuple[str, ApiKey]:
    """Give a caller a new key; those it has go on for a while, and what has expired is dropped.

    Raises:
        InvalidValueError: there is no such caller.
    """
    now = _now()
    with _changing(file) as callers:
        caller = _require(callers, name)
        key, kept = new_key(now, now + expires_in if expires_in else None)
        old = [_ending(one, now + old_expire_in) for one in caller.keys if one.is_valid(now)]
        callers[name] = caller.model_copy(update={"keys": (*old, kept)})
    return key, kept


def revoke_keys(file: Path, name: str, fingerprint: str | None) -> int:
    """Let the keys of a caller open nothing from now on, or only the one whose fingerprint begins so; returns how many.

    The caller stays, so that its jobs are still there with its next key.

    Raises:
        InvalidValueError: there is no such caller, or not exactly one such key.
    """
    with _changing(file) as callers:
        caller = _require(callers, name)
        revoked = [key for key in caller.keys if key.sha256.startswith((fingerprint or "").lower())]
        if fingerprint is not None and len(revoked) != 1:
            raise InvalidValueError(
                f"{len(revoked)} keys of {name} match fingerprint {fingerprint!r}; see `sakuga keys list`."
            )
        callers[name] = caller.model_copy(update={"keys": tuple(key for key in caller.keys if key not in revoked)})
    return len(revoked)


def describe(caller: Caller) -> Iterator[str]:
    """A caller in a line, and each of its keys in another."""
    limits = [
        f"{caller.requests_per_minute} requests a minute" if caller.requests_per_minute else "",
        f"{caller.megapixels_per_day:g} megapixels a day" if caller.megapixels_per_day else "",
    ]
    keys = counted(len(caller.keys), "key", "keys")
    yield ", ".join(part for part in (f"may {' and '.join(caller.scopes) or 'do nothing'}", *limits, keys) if part)
    for key in caller.keys:
        yield f"    {key.fingerprint}  created {key.created_at:%Y-%m-%d %H:%M}, {_end(key)}"


def _end(key: ApiKey) -> str:
    if key.expires_at is None:
        return "does not expire"
    return f"{'expires' if key.is_valid(_now()) else 'expired'} {key.expires_at:%Y-%m-%d %H:%M} UTC"


def _ending(key: ApiKey, at: datetime) -> ApiKey:
    return key.model_copy(update={"expires_at": min(key.expires_at or at, at)})


def _require(callers: dict[str, Caller], name: str) -> Caller:
    if name not in callers:
        raise InvalidValueError(f"Unknown caller {name}; known: {', '.join(callers) or 'none'}.")
    return callers[name]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _changing(file: Path) -> Iterator[dict[str, Caller]]:
    """The callers by name, to be changed; one who changes them at a time."""
    file = file.resolve()  # of a link, what it leads to is replaced
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file.parent):
        known = read_keys(file) if file.exists() else KeyFile()
        callers = {caller.name: caller for caller in known.callers}
        yield callers
        successor = KeyFile(callers=tuple(callers.values())).model_dump(exclude_none=True, mode="python")
        write_atomically(file, tomli_w.dumps(successor).encode(), mode=0o600, keep_owner=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
