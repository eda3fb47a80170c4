"""Callers, their API keys and their permissions, from the file that `SAKUGA_API_KEYS` names.

A caller has an id that never changes: jobs, albums, photos and pictures belong to it, whichever key was used. Only the
SHA-256 of a key is stored; a key has 256 random bits, so the digest reveals nothing. The file may change while the
service runs.
"""

import hashlib
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import SettingsError
from shared.hosts import is_loopback
from shared.live_files import LiveFiles
from shared.settings import Settings

PREFIX: Final = "sakuga_"  # lets secret scanners find a key that was published by mistake
PUBLIC_ID: Final = "public"
_KEY: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


class Scope(StrEnum):
    """The permissions of a caller."""

    SUBMIT = "submit"  # make, change and erase jobs and albums of its own
    READ = "read"  # look at them, and fetch pictures
    OPERATE = "operate"  # look at the whole service: metrics, how busy it is


class ApiKey(BaseModel):
    """One key of a caller, known by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None

    @property
    def fingerprint(self) -> str:
        """A short prefix of the digest that tells keys apart."""
        return self.sha256[:12]

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


class Caller(BaseModel):
    """A client of the service, with its permissions and limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]  # in one line
    id: Annotated[str, Field(pattern=rf"^([0-9a-f]{{32}}|{PUBLIC_ID})$")]
    scopes: tuple[Scope, ...]
    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    megapixels_per_day: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    keys: tuple[ApiKey, ...] = ()


PUBLIC: Final = Caller(name="anyone", id=PUBLIC_ID, scopes=tuple(Scope))
"""The only caller of a service without keys."""


class KeyFile(BaseModel):
    """All callers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    callers: tuple[Caller, ...] = ()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        digests = [key.sha256 for caller in self.callers for key in caller.keys]
        for what, values in (
            ("name", [caller.name for caller in self.callers]),
            ("id", [caller.id for caller in self.callers]),
            ("key", digests),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two callers have the same {what}")
        return self


@dataclass(frozen=True, slots=True)
class _Index:
    """The content of the file, indexed for look-ups."""

    by_digest: Mapping[str, tuple[Caller, ApiKey]]
    by_id: Mapping[str, Caller]


class ApiKeys:
    """The current content of the file; without a file all clients are the same public caller."""

    def __init__(self, file: Path | None) -> None:
        """Read `file` on first use, and again whenever it has changed."""
        self.are_required = file is not None  # whether a caller needs a key
        self._index = LiveFiles(
            [file] if file else [],
            lambda: _index(read_keys(file).callers if file else ()),
            invalid="cannot use the key file; keeping the last valid version",
        )

    def require(self) -> None:
        """Read the file now.

        Raises:
            SettingsError: it cannot be used.
        """
        self._index.current()

    def find(self, key: str) -> tuple[Caller, str] | None:
        """Return a key's caller and digest; None if the key is unknown, revoked or expired."""
        digest = digest_of(key)
        caller = self.find_digest(digest)
        return None if caller is None else (caller, digest)

    def find_digest(self, digest: str) -> Caller | None:
        """Return the caller whose key has this digest.

        An ordinary look-up: its timing can reveal only a digest, from which no key can be derived.
        """
        caller, key = self._index.current().by_digest.get(digest, (None, None))
        return caller if key and key.is_valid(datetime.now(UTC)) else None

    def caller(self, caller_id: str) -> Caller | None:
        """Return the caller with this id, if the file has one."""
        return self._index.current().by_id.get(caller_id)


def new_key(now: datetime, expires_at: datetime | None = None) -> tuple[str, ApiKey]:
    """Create a key; return the secret, which is shown only once, and the record to store."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, ApiKey(sha256=digest_of(key), created_at=now, expires_at=expires_at)


def digest_of(key: str) -> str:
    """Return the digest of a key, which is stored in place of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def looks_like_a_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def read_keys(file: Path) -> KeyFile:
    """Read all callers.

    Raises:
        SettingsError: the file is not there, or not as it should be.
    """
    try:
        return KeyFile.model_validate(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError as error:
        raise SettingsError(f"The key file {file} does not exist; create it with `sakuga keys create NAME`.") from error
    except OSError as error:
        raise SettingsError(f"The key file {file} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise SettingsError(f"The key file {file} is invalid: {sentences(error)}.") from error
    except ValueError as error:  # no TOML, or no text
        raise SettingsError(f"The key file {file} is not valid TOML: {error}.") from error


def require_guarded(settings: Settings) -> None:
    """Refuse to start a service that is open to other machines by accident.

    Raises:
        SettingsError: the key file cannot be used; or there is none, the web server can be reached from other machines,
            and open access is not explicitly allowed.
    """
    ApiKeys(settings.api_keys).require()
    if settings.api_keys or settings.allow_anyone or is_loopback(settings.reached_at):
        return
    where = "SAKUGA_PUBLISHED_AT" if settings.published_at else "SAKUGA_HOST"
    raise SettingsError(
        f"With {where}={settings.reached_at}, anyone could convert photos and see everyone else's. Create API keys "
        "(`sakuga keys create NAME`) and set SAKUGA_API_KEYS to their file, or allow open access with "
        "SAKUGA_ALLOW_ANYONE=true."
    )


def _index(callers: Iterable[Caller]) -> _Index:
    by_id = {caller.id: caller for caller in callers}
    by_digest = {key.sha256: (caller, key) for caller in by_id.values() for key in caller.keys}
    return _Index(by_digest, by_id)


def sentences(error: ValidationError) -> str:
    """Describe what is wrong, and where."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}".removeprefix(": ")
        for item in error.errors(include_input=False)
    )
