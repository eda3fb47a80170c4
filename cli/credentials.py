"""The key that a command shows to a server.

It comes out of the environment or a file and never from the command line, which other users of a machine can read.
"""

import os
from pathlib import Path

from shared.callers.api_keys import looks_like_a_key
from shared.client import CLIENT_KEY
from shared.errors import InvalidValueError


def server_key(file: Path | None) -> str | None:
    """The key in a file, else in the environment; None where there is none.

    Raises:
        InvalidValueError: what is there is no key.
        OSError: the file cannot be read.
    """
    where = str(file) if file else CLIENT_KEY
    key = file.read_text("utf-8", "replace").strip() if file else os.environ.get(CLIENT_KEY, "").strip()
    if not key and not file:
        return None
    if not looks_like_a_key(key):
        raise InvalidValueError(
            f"{where} does not contain an API key; keys look like sakuga_ followed by 43 letters and digits."
        )
    return key
