"""The totals of a lane are those of its unfinished jobs."""

from shared.errors import DamagedPhotoError
from shared.jobs.record import Lane
from shared.services import Services
from shared.usecases.jobs import erase
from tests.submitting import RESULT, claimed, submit


def test_the_totals_are_zero_after_every_kind_of_end(services: Services) -> None:
    succeeded, failed, canceled, erased = (claimed(services, seed) for seed in range(4))
    waiting_canceled, waiting_erased = submit(services, 4), submit(services, 5)
    services.attempts.succeed(succeeded, RESULT, timings={"decode_s": 0.5}, notes=())
    services.attempts.fail(failed.id, DamagedPhotoError("broken"))
    services.jobs.cancel(canceled.id)
    services.attempts.stop(canceled)
    erase(services, erased.id)
    services.jobs.cancel(waiting_canceled.id)
    erase(services, waiting_erased.id)
    totals = services.redis.hgetall("sakuga:lane:interactive:totals")
    assert totals["submitted_ms"] == totals["finished_ms"]
    assert totals["pixels"] == "0"
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0
    assert services.totals.read()["seconds_decode"] == 0.5
