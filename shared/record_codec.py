"""Records as Redis keeps them: a hash of JSON by the name of each field, and the version of what wrote it."""

import json
from typing import Any

from pydantic import BaseModel

from shared.errors import NewerRecordError

# Of the records of jobs and albums: it rises when an older release could misread what is written from then on. It need
# not for a new field with a default; the fields that `shared.scheduling.reconciliation` reads never change meaning.
RECORD_VERSION = 1
NEWER = "This was written by a newer release; please try again."
_VERSION = {"version": RECORD_VERSION}


def record_fields(record: BaseModel) -> dict[Any, Any]:  # what redis-py takes for a mapping of strings
    """Return a record as a Redis hash: the JSON of each field, and the version."""
    return {
        name: json.dumps(value) for name, value in (record.model_dump(mode="json", by_alias=True) | _VERSION).items()
    }


def record_values(fields: dict[str, str]) -> dict[str, Any]:
    """Parse a hash that `record_fields` made; the values are still to be validated.

    Raises:
        NewerRecordError: a newer release wrote it.
        ValueError: it is damaged.
    """
    if int(fields.get("version", RECORD_VERSION)) > RECORD_VERSION:  # at first none was written
        raise NewerRecordError(NEWER, retry_after_s=5)
    return {name: json.loads(value) for name, value in fields.items()}
