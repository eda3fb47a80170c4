"""The observer interface: every module that keeps data beside the records of jobs observes their changes.

The job store calls its observers inside the transaction that writes the record, so that their data is never behind. It
knows none of them; `shared.services` puts them together.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from shared.jobs.record import Job, State

if TYPE_CHECKING:
    from redis.client import Pipeline


@dataclass(frozen=True, slots=True)
class Change:
    """A job before and after a change; None before it is created, and after it is erased."""

    before: Job | None
    after: Job | None

    @property
    def job(self) -> Job:
        """The job as it is now, or as it was when it was erased."""
        return self.after or cast("Job", self.before)

    @property
    def begins(self) -> bool:
        """True if the job is new, or starts over after it had finished."""
        return self.after is not None and not self.after.ended and (self.before is None or self.before.ended)

    @property
    def ends(self) -> bool:
        """True if the job finishes, or is erased unfinished."""
        return self.before is not None and not self.before.ended and (self.after is None or self.after.ended)

    @property
    def moves(self) -> bool:
        """True if the state of the job changes."""
        return self.before is None or self.after is None or self.before.state is not self.after.state

    @property
    def claims(self) -> bool:
        """True if a new attempt begins."""
        if self.after is None or self.after.state is not State.RUNNING:
            return False
        return self.before is None or self.after.claim != self.before.claim

    def enters(self, state: State) -> bool:
        """Return whether the job enters a state."""
        return self.moves and self.after is not None and self.after.state is state

    def leaves(self, state: State) -> bool:
        """Return whether the job leaves a state."""
        return self.moves and self.before is not None and self.before.state is state


class Observer:
    """Base of all observers; what they do not override does nothing."""

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Queue the commands that belong to a record being written or deleted."""

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        """Queue the commands that remove a job whose record is gone or unreadable from all pending work."""
