"""Jobs are sent to the queue a few at a time, and claimed once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

from flask.testing import FlaskClient

from shared.conversion import Options
from shared.jobs.record import Job, Lane, State
from shared.photos.formats import Format
from shared.scheduling.broker import Queue, celery_app
from shared.services import Services
from shared.usecases.dispatch import claim, dispatch
from shared.usecases.recovery import resend_lost
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from tests.albums import put, work
from tests.conftest import photo_bytes
from tests.submitting import submit


def test_the_message_of_a_canceled_job_begins_what_was_retried_and_the_other_does_nothing(services: Services) -> None:
    job = submit(services)
    services.jobs.cancel(job.id)
    services.jobs.retry(job.id)
    assert claim(services, job.id) is not None
    assert claim(services, job.id) is None
    assert services.jobs.get(job.id).state is State.RUNNING
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0


def test_only_a_few_bulk_jobs_are_dispatched_ahead(client: FlaskClient, services: Services, album: str) -> None:
    for seed in range(12):
        put(client, album, f"{seed}.png", seed)
    assert services.redis.llen(Lane.BULK) == 2
    assert services.lanes.stats(Lane.BULK).jobs == 12
    assert resend_lost(services) == 0


def test_concurrent_dispatches_send_no_more_jobs(client: FlaskClient, services: Services, album: str) -> None:
    class Overtaken(Queue):
        def send(self, job_id: str, lane: Lane) -> None:
            dispatch(services)  # as others do before this message is in the queue
            super().send(job_id, lane)

    jobs = [put(client, album, f"{seed}.png", seed)["job"] for seed in range(12)]
    for job_id in jobs[:2]:
        services.jobs.cancel(job_id)
    services.redis.delete("bulk")
    dispatch(replace(services, queue=Overtaken(celery_app(services.settings), services.redis)))
    assert services.redis.llen(Lane.BULK) == 2


def test_concurrent_uploads_send_no_more_jobs(services: Services) -> None:
    def upload_one(seed: int) -> Job:
        order = Order("hinata-light", Options(64, Format.PNG), lane=Lane.BULK)
        return submit_photo(services, BytesIO(photo_bytes(seed=seed)), order)

    with ThreadPoolExecutor(16) as pool:
        assert len({job.id for job in pool.map(upload_one, range(16))}) == 16
    assert services.redis.llen(Lane.BULK) == 2
    assert services.lanes.stats(Lane.BULK).jobs == 16
    assert len(work(services)) == 16


def test_a_damaged_record_holds_up_no_other_job_of_the_lane(
    client: FlaskClient, services: Services, album: str
) -> None:
    jobs = [put(client, album, f"{seed}.png", seed)["job"] for seed in range(6)]
    services.redis.hset(f"sakuga:job:{jobs[3]}", "work_ms", "{")
    services.redis.set(f"sakuga:job:{jobs[4]}", "no hash")
    work(services)
    assert [services.jobs.get(jobs[place]).state for place in (0, 1, 2, 5)] == [State.SUCCEEDED] * 4
