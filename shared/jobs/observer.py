"""What else changes with a job: whoever keeps something beside its record observes every change to it.

The store of jobs calls its observers inside the transaction that writes the record, so that what they keep is never
behind. It knows none of them; `shared.services` puts them together.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from shared.jobs.record import Job, State

if TYPE_CHECKING:
    from redis.client import Pipeline


@dataclass(frozen=True, slots=True)
class Change:
    """A job before and after; None before it is made, and after it is erased."""

    before: Job | None
    after: Job | None

    @property
    def job(self) -> Job:
        """The job as it is now, or was when it was erased."""
        return self.after or cast("Job", self.before)

    @property
    def begins(self) -> bool:
        """Whether the job is new, or begins anew after its end."""
        return self.after is not None and not self.after.ended and (self.before is None or self.before.ended)

    @property
    def ends(self) -> bool:
        """Whether the job comes to its end, or is erased before that."""
        return self.before is not None and not self.before.ended and (self.after is None or self.after.ended)

    @property
    def moves(self) -> bool:
        """Whether the job is in another state than before."""
        return self.before is None or self.after is None or self.before.state is not self.after.state

    def enters(self, state: State) -> bool:
        """Whether the job comes into a state."""
        return self.moves and self.after is not None and self.after.state is state

    def leaves(self, state: State) -> bool:
        """Whether the job goes out of a state."""
        return self.moves and self.before is not None and self.before.state is state


class Observer:
    """Keeps something beside the records of jobs; what it is not interested in, it leaves as it is here."""

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """A record is written, or deleted: queue what changes with it."""

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        """A job's record is gone, or cannot be read: queue what removes the job from all that is still to be done."""
