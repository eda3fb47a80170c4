"""Whether the store answers, asked of it seldom: anybody may ask, and each look costs a call to it.

Imported by `web.app` and `web.service`.
"""

import threading
import time
from typing import TYPE_CHECKING, Final

from shared.errors import SakugaError

if TYPE_CHECKING:
    from shared.store import Store

REMEMBERED_S: Final = 2


class StoreCheck:
    """Looks at the store at most every `REMEMBERED_S` seconds, one thread at a time; all others hear what was seen."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._looking = threading.Lock()
        self._seen: bool | None = None
        self._again_at = 0.0

    def answers(self) -> bool:
        """Whether the store answered when last looked at; only who comes before the first look waits for it."""
        if self._looking.acquire(blocking=self._seen is None):
            try:
                self._look_if_due()
            finally:
                self._looking.release()
        return bool(self._seen)

    def _look_if_due(self) -> None:
        if time.monotonic() < self._again_at:
            return
        try:
            self._store.check()
            self._seen = True
        except SakugaError:
            self._seen = False
        self._again_at = time.monotonic() + REMEMBERED_S
