"""`sakuga quarantine`: photos whose conversion was tried too often, for the operator to judge.

Such a photo may be what kills workers: it is not converted again, and is kept until an operator has inspected it.
"""

from datetime import UTC, datetime

from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape

from cli.running import running
from cli.words import counted
from shared.errors import InvalidValueError, UnavailableError
from shared.jobs.record import Job
from shared.services import Services, connect
from shared.settings import Settings
from shared.usecases.jobs import erase
from shared.usecases.jobs import retry as retry_job


def open_services(settings: Settings) -> Services:
    """The services of what runs here, or of what SAKUGA_REDIS_URL names.

    Raises:
        UnavailableError: nothing runs.
    """
    where = f"with the data folder {settings.data_dir}"
    nothing = UnavailableError(f"Sakuga is not running {where}; start it, or set SAKUGA_DATA_DIR or SAKUGA_REDIS_URL.")
    is_named = "redis_url" in settings.model_fields_set
    here = running(settings.data_dir)
    url = settings.redis_url if is_named else here and here.redis_url
    if not url:
        raise nothing
    services = connect(settings.model_copy(update={"redis_url": url}))
    try:
        services.redis.ping()
    except RedisError as error:  # it is starting, or stopping
        if not is_named:
            raise nothing from error
        raise UnavailableError(f"The queue at SAKUGA_REDIS_URL is not responding: {error}.") from error
    return services


def show(services: Services, console: Console) -> None:
    """List what is in quarantine, the oldest first, and where the photos are."""
    jobs = services.quarantine.jobs()
    for job in jobs:
        seen = datetime.fromtimestamp(job.finished_at or job.created_at, UTC)
        kept = datetime.fromtimestamp(job.expires_at, UTC)
        size = f"{job.photo.width}x{job.photo.height}, {job.photo.bytes} bytes"
        attempts = counted(job.attempts, "attempt", "attempts")
        console.print(f"[bold]{job.id}[/]  {seen:%Y-%m-%d %H:%M} UTC, {attempts}, {job.style}")
        console.print(f"    {escape(job.name or 'photo')}: {size}, stored as {job.photo_key}")
        console.print(f"    {escape(job.error.detail if job.error else '')}")
        console.print(f"    kept until {kept:%Y-%m-%d %H:%M} UTC, then deleted")
    console.print(
        f"{counted(len(jobs), 'photo', 'photos')} in quarantine in {escape(services.settings.effective_store_url)}"
    )


def retry(services: Services, ids: tuple[str, ...], console: Console) -> None:
    """Retry these photos, with their attempts reset.

    Raises:
        InvalidValueError: one of them is not in quarantine; then none is tried.
    """
    for job in _chosen(services, ids):
        retry_job(services, job.id)
        console.print(f"{job.id} requeued.")


def drop(services: Services, ids: tuple[str, ...], console: Console) -> None:
    """Erase these photos with their jobs.

    Raises:
        InvalidValueError: one of them is not in quarantine; then none is erased.
    """
    for job in _chosen(services, ids):
        erase(services, job.id)
        console.print(f"{job.id} deleted.")


def _chosen(services: Services, ids: tuple[str, ...]) -> list[Job]:
    jobs = {job.id: job for job in services.quarantine.jobs()}
    if unknown := [job_id for job_id in ids if job_id not in jobs]:
        which = f"Not in quarantine: {', '.join(unknown)}; nothing was changed."
        raise InvalidValueError(f"{which} See `sakuga quarantine list`.")
    return [jobs[job_id] for job_id in ids]
