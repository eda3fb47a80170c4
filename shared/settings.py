"""The settings, read from the environment once, all problems reported together."""

import difflib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.client import CLIENT_KEY, CLIENT_SERVER
from shared.engines import EngineName
from shared.errors import SettingsError
from shared.hosts import is_loopback, local_url
from shared.validation import allowed

PREFIX = "SAKUGA_"
WEB_THREADS = 64
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def default_data_dir() -> Path:
    """The XDG data folder of this user."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "sakuga"


def default_cache_dir(known: Mapping[str, object]) -> Path:
    """The XDG cache folder of this user; for one without a home, as in a container, it is in the data folder."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "sakuga"
    try:
        return Path.home() / ".cache" / "sakuga"
    except RuntimeError:
        return Path(str(known.get("data_dir", "."))) / "cache"


def _known_engine(name: str) -> str:
    if name not in {"auto", *EngineName}:
        raise ValueError(f"must be one of auto, {', '.join(EngineName)}")
    return name


def _without_brackets(host: str) -> str:
    """Take an IPv6 address as URLs write it, too."""
    return host.removeprefix("[").removesuffix("]")


Host = Annotated[str, AfterValidator(_without_brackets)]


class Settings(BaseSettings):
    """One frozen object. Every field is the environment variable `SAKUGA_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    data_dir: Path = Field(default_factory=default_data_dir)
    cache_dir: Path = Field(default_factory=default_cache_dir)
    redis_url: str = "redis://127.0.0.1:6379/0"
    store_url: str = ""
    store_public_url: str = ""
    trusted_hosts: str = ""
    webhook_hosts: str = ""
    api_keys: Path | None = None
    published_at: Host = ""
    allow_anyone: bool = False
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    style: str = "hinata-light"
    engine: Annotated[Literal["auto"] | EngineName, BeforeValidator(_known_engine)] = "auto"
    processes: Annotated[int, Field(ge=1, le=256)] | None = None
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    max_upload_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 32 << 20
    max_megapixels: Annotated[float, Field(gt=0, le=170)] = 64
    max_album_photos: Annotated[int, Field(ge=1, le=100_000)] = 5000
    max_album_upload_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 4 << 30
    max_queued_megapixels: Annotated[float, Field(gt=0)] = 1000
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    job_time_limit_s: Annotated[int, Field(ge=1, le=3600)] = 120
    visibility_timeout_s: Annotated[int, Field(ge=3, le=3600)] = 30
    ttl_s: Annotated[int, Field(ge=1)] = 24 * 3600
    quarantine_ttl_s: Annotated[int, Field(ge=1)] = 7 * 24 * 3600
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def hard_time_limit_s(self) -> int:
        """The seconds after which a child that did not stop at `job_time_limit_s` is killed."""
        return self.job_time_limit_s + max(1, self.job_time_limit_s // 4)

    @property
    def host_names(self) -> list[str] | None:
        """The names by which the web server may be called; None for any.

        Reached on loopback alone, as a container's may be that listens on all addresses, it hears what it is called
        itself and what its operator names, and not a web page that has a name of its own pointed at it.
        """
        named = self.trusted_hosts.lower().replace(",", " ").split()
        if "*" in named or (not named and not is_loopback(self.reached_at) and self.api_keys):
            return None  # a page that is not ours has no key
        public = urlsplit(self.store_public_url).hostname  # clients fetch pictures there, so they come from there, too
        return [*LOOPBACK, socket.gethostname().lower(), *([public] if public else []), *named]

    @property
    def takes_local_names(self) -> bool:
        """True if it may be called by any name that nobody can register: it is open to a network, without keys."""
        return not self.trusted_hosts and not is_loopback(self.reached_at)

    @property
    def reached_at(self) -> str:
        """The address that decides who reaches the web server: where it is published, or else where it listens."""
        return (self.published_at or self.host).strip("[]")

    @property
    def local_url(self) -> str:
        """The URL under which this machine reaches the web server."""
        return local_url(self.host, self.port)

    @property
    def effective_store_url(self) -> str:
        return self.store_url or f"file:{self.data_dir / 'store'}"

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.redis_url.startswith(("redis://", "rediss://", "redis+socket://")):
            raise ValueError("redis_url must be redis://host:port/0, rediss://… or redis+socket:///path/of/a.sock")
        if not re.match(r"file:.|s3://[^/]", self.effective_store_url):
            raise ValueError("store_url must be file:/some/folder or s3://bucket/prefix")
        return self

    def __repr__(self) -> str:
        """Show every value, passwords in URLs masked."""
        return f"Settings({', '.join(f'{name}={_masked(value)!r}' for name, value in self)})"

    __str__ = __repr__


def _masked(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        if parts.password:
            return value.replace(f":{parts.password}@", ":***@")
    return value


def _unknown_names() -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    problems = []
    ours = known | {CLIENT_KEY, CLIENT_SERVER}
    for name in sorted({name for name in os.environ if name.startswith(PREFIX)} - ours):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        problems.append(f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else ""))
    return problems


def load_settings(**overrides: object) -> Settings:
    """Read the environment. `overrides` win over it.

    Raises:
        SettingsError: naming every variable that is unknown or out of range, and what is allowed.
    """
    problems = _unknown_names()
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = [item for item in error.errors() if item["type"] != "default_factory_not_called"]  # a consequence
        problems += [_sentence(item) for item in wrong]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _sentence(problem: Mapping[str, Any]) -> str:
    location = problem["loc"]
    name = PREFIX + str(location[0]).upper() if location else "SAKUGA settings"
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {said if problem['type'] == 'value_error' else f'must be {allowed(problem)}'}"
