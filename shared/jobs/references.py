"""The stored objects that a job still needs: its photo until it has a picture, or longer if it is to be kept."""

from typing import TYPE_CHECKING

from shared.jobs.observer import Change, Observer
from shared.storage.references import expire_at, expire_now

if TYPE_CHECKING:
    from redis.client import Pipeline


class JobReferences(Observer):
    """Releases the objects that a job no longer needs."""

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Release the photo of a job that has its picture, and everything of an erased job."""
        if change.after is None:
            expire_now(pipe, *change.job.references)
        elif change.ends and change.after.result and not change.after.keep_photo:
            expire_now(pipe, change.after.photo_reference)
        elif change.ends and change.after.is_quarantined:
            expire_at(pipe, change.after.photo_reference, change.after.expires_at)
