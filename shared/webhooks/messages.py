"""The messages of webhooks, after Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Message:
    """A message; its `id` stays the same over all attempts, so that the receiver can recognise duplicates."""

    id: str
    url: str
    secret: str
    body: str
    caller: str
    tries: int = 0  # that failed

    @property
    def host(self) -> str:
        """The receiver, whatever the port."""
        return host_of(self.url)


def host_of(url: str) -> str:
    """Return the receiver that a URL names, whatever the port."""
    return urlsplit(url).hostname or ""


def new_secret() -> str:
    """Create a secret of 256 bits, in the format of Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def event(kind: str, data: dict[str, object]) -> str:
    """Return the body of a message, in the format of Standard Webhooks."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": now, "data": data}, separators=(",", ":"))


def read_message(message_id: str, record: Mapping[str, str]) -> Message | None:
    """Parse a record that `Webhooks.put` wrote; None if it is gone, or nothing but a trace is left of it."""
    if not {"url", "secret", "body", "tries"} <= record.keys():
        return None
    caller = record.get("caller", "")  # an earlier version kept none
    return Message(message_id, record["url"], record["secret"], record["body"], caller, int(record["tries"]))
