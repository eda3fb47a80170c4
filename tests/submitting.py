"""Photos submitted and claimed without a web server, and ways to let time pass for them."""

from io import BytesIO

from shared.conversion import Options
from shared.jobs.record import Job, Lane, ResultInfo
from shared.photos.formats import Format
from shared.redis_keys import EXPIRY, LEASES, REFERENCES, lane_sent
from shared.services import Services
from shared.usecases.dispatch import AHEAD_PER_PROCESS
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from tests.conftest import photo_bytes

RESULT = ResultInfo(width=64, height=48, bytes=3, sha256="0" * 64, content_type="image/jpeg")


def order(idempotency_key: str | None = None, max_side: int = 512) -> Order:
    return Order("hinata-light", Options(max_side, Format.JPEG), idempotency_key=idempotency_key)


def submit(services: Services, seed: int = 0, key: str | None = None, max_side: int = 512) -> Job:
    return submit_photo(services, BytesIO(photo_bytes(seed=seed)), order(key, max_side))


def claimed(services: Services, seed: int = 0) -> Job:
    job = services.attempts.claim(submit(services, seed).id)
    assert job is not None
    return job


def make_overdue(services: Services) -> None:
    """Let everything with an expiry be past it."""
    for key in (EXPIRY, REFERENCES, LEASES, lane_sent(Lane.INTERACTIVE)):
        for entry in services.redis.zrange(key, 0, -1):
            services.redis.zadd(key, {str(entry): 1})


def have_processes_for(services: Services, jobs: int) -> None:
    """Have as many processes as let so many single photos be sent at once."""
    for number in range(int(jobs / AHEAD_PER_PROCESS[Lane.INTERACTIVE])):
        services.workers.heartbeat(f"host/{number}")
