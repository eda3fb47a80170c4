"""The name of every key in Redis. Nothing else of Sakuga spells one out.

Beside each name stands what is kept there. Celery's own keys are kombu's: the lists `interactive` and `bulk`, `unacked`
and `unacked_index`, which `shared.scheduling.broker` knows.
"""

from typing import Final

# Jobs
JOB_PREFIX: Final = "sakuga:job:"  # of the records; scripts make the keys of several
EXPIRY: Final = "sakuga:expiry"  # sorted set of all jobs, by when their time to live ends
QUARANTINE: Final = "sakuga:quarantine"  # sorted set of jobs that ran out of attempts, by when they did
TOTALS: Final = "sakuga:totals"  # hash: jobs by final state and seconds by stage, since the beginning

# Lanes, workers and estimates
LEASES: Final = "sakuga:leases"  # sorted set of running jobs, by when their worker last renewed the lease
FLOWS: Final = "sakuga:flows"  # sorted set of parties that have bulk jobs to send, by the work (ms) they were given
# Behind it and a colon, the same of a caller's albums.
FLOW_PREFIX: Final = "sakuga:flow:"  # of the lists of the jobs of each flow
FLOW_PIXELS: Final = "sakuga:flows:pixels"  # hash: what waits of each party
OUTSTANDING: Final = "sakuga:outstanding"  # hash: work (ms) of each party that has not ended
# Behind it and a colon, the same of a caller's albums.
SINGLES: Final = "sakuga:singles"  # the same of callers and their single photos
SINGLE_PREFIX: Final = "sakuga:single:"
SINGLE_PIXELS: Final = "sakuga:singles:pixels"
SINGLES_OUTSTANDING: Final = "sakuga:singles:outstanding"
WORKERS: Final = "sakuga:workers"  # sorted set of warm processes, by their last heartbeat
PACE: Final = "sakuga:pace"  # hash: milliseconds per megapixel of each style
ETA_ERROR: Final = "sakuga:eta_error"  # string: the mean relative error of estimated times
SLOWDOWN: Final = "sakuga:slowdown"  # string: the factor by which jobs take longer than estimated
RECONCILED: Final = "sakuga:reconciled"  # string, there while lists and totals are reconciled, and for a while after
SWEPT: Final = "sakuga:swept"  # string, there for a day after the store was searched for objects nothing refers to
RECOUNT: Final = "sakuga:recount"  # hash: the unfinished jobs counted so far in a reconciliation

# Albums, webhooks, stored objects, requests
ALBUMS_ENDED: Final = "sakuga:albums:ended"  # set of albums in which a photo has finished since the last notification
WALKS: Final = "sakuga:walks"  # sorted set: "caller album action" of walks, by when a node may begin them
WEBHOOKS_DUE: Final = "sakuga:webhooks:due"  # sorted set of undelivered messages, by when they are due
REFERENCES: Final = "sakuga:references"  # sorted set of references, as "referrer key", by when they expire
RESERVATIONS: Final = "sakuga:reservations"  # sorted set: "job pixels quota" of photos being admitted, by their end
RATE_PREFIX: Final = "sakuga:rate"  # of the counts of requests, which the library `limits` keeps


def job_record(job_id: str) -> str:
    """Hash: a job."""
    return f"{JOB_PREFIX}{job_id}"


def job_stream(job_id: str) -> str:
    """Stream: what happened to a job."""
    return f"{JOB_PREFIX}{job_id}:events"


def damaged_record(job_id: str) -> str:
    """Any type: an unreadable job record, set aside for the operator."""
    return f"sakuga:damaged:{job_id}"


def resent(job_id: str) -> str:
    """String: a lost message was resent a short while ago."""
    return f"sakuga:resent:{job_id}"


def caller_jobs(caller: str) -> str:
    """Sorted set: the jobs of a caller that belong to no album, by when they were created."""
    return f"sakuga:jobs:{caller}"


def cached_result(result_key: str) -> str:
    """Hash: the result under a key of the store, and its notes."""
    return f"sakuga:result:{result_key}"


def room(caller: str) -> str:
    """Hash: the bytes of Redis that a caller takes, by the hour (since the epoch) in which it took them."""
    return f"sakuga:room:{caller}"


def idempotency(caller: str, key: str) -> str:
    """Hash: the job that an Idempotency-Key of a caller created, and the fingerprint of that request."""
    return f"sakuga:idempotency:{caller}:{key}"


def lane_sent(lane: str) -> str:
    """Sorted set: the jobs that wait in the queue itself, by when they were sent."""
    return f"sakuga:lane:{lane}:sent"


def lane_totals(lane: str) -> str:
    """Hash: work submitted and finished since the beginning, jobs and pixels that wait."""
    return f"sakuga:lane:{lane}:totals"


def album_record(album_id: str) -> str:
    """Hash: an album."""
    return f"sakuga:album:{album_id}"


def album_items(album_id: str) -> str:
    """Hash: the photos of an album by name."""
    return f"sakuga:album:{album_id}:items"


def album_order(album_id: str) -> str:
    """Sorted set: the names of an album's photos, by when they were added."""
    return f"sakuga:album:{album_id}:order"


def album_counts(album_id: str) -> str:
    """Hash: the number of photos of an album in each state."""
    return f"sakuga:album:{album_id}:counts"


def album_stream(album_id: str) -> str:
    """Stream: what happened to the photos of an album."""
    return f"sakuga:album:{album_id}:events"


def album_turn(album_id: str) -> str:
    """String: which was asked last of all photos of an album, to cancel or to retry them, and an id of that turn."""
    return f"sakuga:album:{album_id}:turn"


def album_name_lock(album_id: str, name: str) -> str:
    """Lock: a photo is being put under this name."""
    return f"sakuga:lock:album:{album_id}:{name}"


def referrers(key: str) -> str:
    """Set: the referrers of an object of the store."""
    return f"sakuga:referrers:{key}"


def object_lock(key: str) -> str:
    """Lock: an object of the store is being written or deleted."""
    return f"sakuga:lock:{key}"


def webhook_message(message_id: str) -> str:
    """Hash: an undelivered message."""
    return f"sakuga:webhook:{message_id}"


def quota(caller_id: str, day: str) -> str:
    """String: pixels that a caller has had admitted on a day."""
    return f"sakuga:quota:{caller_id}:{day}"


def session(digest: str) -> str:
    """String: the key with which a session began; by the session's digest."""
    return f"sakuga:session:{digest}"


def key_sessions(key_digest: str) -> str:
    """Sorted set: the sessions of an API key, by when they began."""
    return f"sakuga:sessions:{key_digest}"
