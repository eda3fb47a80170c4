"""The attempts of workers at a job. Each is counted, and only the newest may commit a result."""

import secrets
from collections.abc import Callable
from contextlib import suppress

import structlog

from shared.conversion import Stage
from shared.errors import AttemptsExhaustedError, CanceledError, NewerRecordError, SakugaError, UnknownJobError
from shared.jobs.record import Job, ResultInfo, State, as_ended, error_info
from shared.jobs.store import Jobs

OUTAGE_RETRY_S = 900  # the retry window while a dependency, such as the store, is down
MIN_PAUSE_S, MAX_PAUSE_S = 2.0, 30.0  # between its attempts

log = structlog.get_logger()


class Attempts:
    """The attempts at all jobs."""

    def __init__(
        self, jobs: Jobs, *, is_leased: Callable[[str], bool], max_attempts: int, quarantine_ttl_s: float
    ) -> None:
        """Allow `max_attempts` attempts per job; its photo is then kept in quarantine for `quarantine_ttl_s`.

        `is_leased` returns whether a live worker is working on a job.
        """
        self._jobs = jobs
        self._is_leased = is_leased
        self._max_attempts = max_attempts
        self._quarantine_ttl_s = quarantine_ttl_s

    def claim(self, job_id: str, worker: str = "") -> Job | None:
        """Begin an attempt by `worker`.

        Returns None if there is nothing (more) to do: the job has finished, was erased, or has had too many attempts.

        Attempts are counted here and not by the queue, so they count whatever died: a child, a node, Redis. A running
        attempt is superseded only once its lease has expired: a duplicate message starts nothing twice.
        """
        claim = f"{worker} {secrets.token_hex(8)}"

        def begin(job: Job) -> Job:
            if job.ended or job.claim == claim:  # ours already, where the answer to our write was lost
                return job
            if job.state is State.RUNNING and self._is_leased(job_id):
                return job
            if job.cancel_requested:
                return as_ended(job, State.CANCELED, self._jobs.now())
            if self._is_exhausted(job):
                return self._as_exhausted(job)
            return job.model_copy(
                update={
                    "state": State.RUNNING,
                    "claim": claim,
                    "attempts": job.attempts + 1,
                    "started_at": self._jobs.now(),
                    "progress": 0.0,
                    "stage": None,
                }
            )

        try:
            job = self._jobs.change(job_id, begin)
        except UnknownJobError:
            self._jobs.clear(job_id)
            return None
        if job.state is State.RUNNING and job.claim == claim:
            return job
        if job.is_quarantined:
            log.warning("job quarantined after too many attempts", job_id=job_id, attempts=job.attempts)
        return None

    def advance(self, job: Job, stage: Stage, progress: float) -> None:
        """Publish the progress (0..1) of this attempt.

        Raises:
            CanceledError: the job was canceled, or the attempt has been superseded.
        """

        def move(current: Job) -> Job:
            _require_current(current, job)
            return current.model_copy(update={"stage": stage, "progress": progress})

        if self._jobs.change(job.id, move).cancel_requested:
            raise CanceledError("The job was canceled.")

    def set_result_key(self, job: Job, key: str) -> Job:
        """Change where the result of this attempt belongs, and return the job.

        Raises:
            CanceledError: the attempt has been superseded.
        """

        def move(current: Job) -> Job:
            _require_current(current, job)
            return current.model_copy(update={"result_key": key})

        return self._jobs.change(job.id, move)

    def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
        """Commit the result of this attempt, unless a later one has superseded it.

        Raises:
            CanceledError: the attempt has been superseded.
        """

        def finish(current: Job) -> Job:
            if _has_committed(current, job):
                return current  # the answer to our write was lost, not the write
            _require_current(current, job)
            queued = {"queued_s": round((job.started_at or job.created_at) - job.created_at, 4)}
            made = {"result": result, "timings": queued | timings, "notes": notes, "progress": 1.0}
            return as_ended(current, State.SUCCEEDED, self._jobs.now(), **made)

        return self._jobs.change(job.id, finish)

    def has_committed(self, job: Job) -> bool:
        """Return whether this very attempt has committed its result, or may have."""
        try:
            return _has_committed(self._jobs.get(job.id), job)
        except UnknownJobError:
            return False
        except NewerRecordError:
            return True

    def fail(self, job_id: str, error: SakugaError, *, attempt: int | None = None, running_for_s: float = 0) -> None:
        """End a running job with an error.

        Does nothing if the job is at another attempt than `attempt`, or has run for less than `running_for_s`.
        """

        def finish(current: Job) -> Job:
            if current.state is not State.RUNNING or attempt not in {None, current.attempts}:
                return current
            now = self._jobs.now()
            if now - (current.started_at or 0) < running_for_s:
                return current
            return as_ended(current, State.FAILED, now, error=error_info(error))

        self._jobs.change(job_id, finish)

    def stop(self, job: Job) -> bool:
        """End a canceled attempt; return whether its job was retried meanwhile, and has been requeued."""

        def finish(current: Job) -> Job:
            if not _is_current(current, job):
                return current
            if current.cancel_requested:
                return as_ended(current, State.CANCELED, self._jobs.now())
            uncounted = {"uncounted_attempts": current.uncounted_attempts + 1}
            return self._jobs.waiting(current).model_copy(update=uncounted)

        after = self._jobs.change(job.id, finish)
        return after.state is State.QUEUED and after.attempts == job.attempts

    def requeue(self, job: Job, *, outage: bool = False) -> float | None:
        """Requeue this attempt's job; return the delay in seconds, or None if there is to be no further attempt.

        In an `outage` of a dependency, such as the store, the attempt does not count: the job waits as long again as
        the outage has lasted, for `OUTAGE_RETRY_S` in all.
        """
        now = self._jobs.now()
        outage_s = job.outage_s + now - (job.started_at or now) if outage else 0.0
        pause_s = min(MAX_PAUSE_S, max(MIN_PAUSE_S, outage_s))

        def wait(current: Job) -> Job:
            is_exhausted = current.outage_s > OUTAGE_RETRY_S if outage else self._is_exhausted(current)
            if not _is_current(current, job) or is_exhausted:
                return current
            waiting = self._jobs.waiting(current)
            if not outage:
                return waiting
            return waiting.model_copy(
                update={"uncounted_attempts": current.uncounted_attempts + 1, "outage_s": outage_s + pause_s}
            )

        return pause_s if self._jobs.change(job.id, wait).state is State.QUEUED else None

    def release(self, job_id: str, worker: str, *, counts: bool) -> None:
        """Requeue a job whose attempt by `worker` has ended; an attempt by any other worker is left alone.

        The attempt `counts` unless it ended for another reason than the photo.
        """

        def wait(current: Job) -> Job:
            is_theirs = current.state is State.RUNNING and current.claim and current.claim.startswith(f"{worker} ")
            if not is_theirs:
                return current
            return self._jobs.waiting(current).model_copy(
                update={"uncounted_attempts": current.uncounted_attempts + (not counts)}
            )

        with suppress(UnknownJobError):
            self._jobs.change(job_id, wait)

    def _as_exhausted(self, job: Job) -> Job:
        tries = job.attempts - job.uncounted_attempts
        often = "once" if tries == 1 else f"{tries} times"
        error = error_info(AttemptsExhaustedError(f"It was tried {often} and never finished."))
        now = self._jobs.now()
        expires_at = max(job.expires_at, now + self._quarantine_ttl_s)
        return as_ended(job, State.FAILED, now, error=error, expires_at=expires_at)

    def _is_exhausted(self, job: Job) -> bool:
        return job.attempts - job.uncounted_attempts >= self._max_attempts


def _has_committed(current: Job, attempt: Job) -> bool:
    return current.state is State.SUCCEEDED and current.attempts == attempt.attempts


def _is_current(current: Job, claimed: Job) -> bool:
    return current.state is State.RUNNING and current.attempts == claimed.attempts


def _require_current(current: Job, claimed: Job) -> None:
    if not _is_current(current, claimed):
        raise CanceledError("Another attempt has taken over.")
