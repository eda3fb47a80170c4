"""The task: the outcome of a job when its conversion succeeds, fails, or is interrupted."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from PIL import Image, ImageFile

from shared.conversion import MIN_PIXELS, Options
from shared.drawing import Engine, ProgressCallback, Tensor
from shared.errors import DamagedPhotoError, SakugaError, UnavailableError, UnknownStyleError
from shared.jobs.attempts import MAX_PAUSE_S, OUTAGE_RETRY_S, Attempts
from shared.jobs.record import Job, ResultInfo, State
from shared.photos.formats import MAX_SIDE_MAX, Format, Limits
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import PACE
from shared.scheduling.estimates import MIN_MS
from shared.services import Services
from shared.storage import references
from shared.storage.disk import DiskStore
from shared.styles import imported_weights, write_manifest
from shared.usecases.jobs import erase
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from tests.conftest import STYLES, ToyEngine, as_subclass, expire_lease, photo_bytes
from worker import tasks


def submit(services: Services, data: bytes, picture_format: Format = Format.PNG) -> Job:
    return submit_photo(services, BytesIO(data), Order("hinata-light", Options(512, picture_format)))


def toy(_: str) -> Engine:
    return ToyEngine()


def engine_that(does: Callable[[Tensor], Tensor]) -> Callable[[str], Engine]:
    class Altered(ToyEngine):
        def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
            return does(photo)

    return lambda _: Altered()


def failing_with(error: BaseException) -> Callable[[str], Engine]:
    def fail(_: Tensor) -> Tensor:
        raise error

    return engine_that(fail)


def test_a_job_that_a_newer_release_has_recorded_is_left_to_it(services: Services) -> None:
    job = submit(services, photo_bytes())

    def overtake(photo: Tensor) -> Tensor:
        newer = ("version", str(RECORD_VERSION + 1), "stage", '"dreaming"')
        services.redis.hset(f"sakuga:job:{job.id}", items=list(newer))
        return photo

    overtake(np.zeros(1, np.float32))
    assert tasks.convert(job.id, services, toy) == tasks.NEWER_PAUSE_S
    services.redis.hset(f"sakuga:job:{job.id}", items=["version", str(RECORD_VERSION), "stage", "null"])
    assert tasks.convert(job.id, services, engine_that(overtake)) == tasks.NEWER_PAUSE_S
    assert services.redis.hget(f"sakuga:job:{job.id}", "state") == '"running"'


def test_a_photo_becomes_a_picture_in_the_store(services: Services) -> None:
    job = submit(services, photo_bytes((64, 48)))
    assert tasks.convert(job.id, services, toy) is None
    done = services.jobs.get(job.id)
    assert done.state is State.SUCCEEDED
    assert done.result is not None
    assert (done.result.width, done.result.height) == (64, 48)
    assert done.timings is not None
    assert {"queued_s", "decode_s", "generate_s", "encode_s"} <= set(done.timings)
    with services.store.open(job.result_key) as file, Image.open(file) as picture:
        photo = Image.open(BytesIO(photo_bytes((64, 48)))).getpixel((10, 10))
        assert isinstance(photo, tuple)
        assert picture.getpixel((10, 10)) == tuple(255 - value for value in photo)


def test_the_pace_of_a_tiny_picture_is_measured_by_what_it_was_admitted_as(services: Services) -> None:
    job = submit(services, photo_bytes((32, 24)))
    tasks.convert(job.id, services, toy)
    timings = services.jobs.get(job.id).timings
    assert timings is not None
    took_ms = 1000 * timings["generate_s"]
    pace = float(services.redis.hget(PACE, "hinata-light") or 0)
    assert pace == pytest.approx(max(took_ms / (MIN_PIXELS / 1e6), MIN_MS), abs=0.1)


def test_a_photo_that_cannot_be_decoded_fails_with_the_reason(services: Services) -> None:
    data = bytearray(photo_bytes((200, 200)))
    data[60:-60] = bytes(len(data) - 120)  # a sound header and end, nonsense between
    job = submit(services, bytes(data))
    assert tasks.convert(job.id, services, toy) is None
    failed = services.jobs.get(job.id)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error.code == DamagedPhotoError.code


def test_the_same_photo_is_computed_once(services: Services) -> None:
    first, second = (submit(services, photo_bytes()) for _ in range(2))
    tasks.convert(first.id, services, toy)
    tasks.convert(second.id, services, failing_with(AssertionError("computed twice")))
    done = services.jobs.get(second.id)
    assert done.state is State.SUCCEEDED
    assert done.result == services.jobs.get(first.id).result


def test_every_size_from_the_photos_own_is_computed_once(services: Services) -> None:
    small, own, original = (
        submit_photo(services, BytesIO(photo_bytes((64, 48))), Order("hinata-light", Options(side, Format.PNG)))
        for side in (63, 64, MAX_SIDE_MAX)
    )
    tasks.convert(own.id, services, toy)
    tasks.convert(original.id, services, failing_with(AssertionError("computed twice")))
    assert services.jobs.get(original.id).result == services.jobs.get(own.id).result
    assert services.jobs.get(original.id).max_side == MAX_SIDE_MAX
    assert small.result_key != own.result_key == original.result_key


def test_a_picture_is_kept_under_the_weights_that_drew_it(services: Services) -> None:
    """Those of the style may be replaced while the photo waits."""
    folder = imported_weights(services.settings.data_dir)
    folder.mkdir(parents=True)
    style = STYLES["hinata-light"].model_copy(update={"name": "mine"})

    def submit_mine() -> Job:
        return submit_photo(services, BytesIO(photo_bytes()), Order("mine", Options(512, Format.PNG)))

    write_manifest(folder, [style])
    before = submit_mine()
    write_manifest(folder, [style.model_copy(update={"sha256": "0" * 64})])
    tasks.convert(before.id, services, toy)
    after = submit_mine()
    tasks.convert(after.id, services, failing_with(AssertionError("computed twice")))
    done = [services.jobs.get(job.id) for job in (before, after)]
    assert [job.state for job in done] == [State.SUCCEEDED] * 2
    assert done[0].result_key == done[1].result_key == after.result_key != before.result_key
    assert services.store.head(before.result_key) is None


def test_a_photo_that_waited_shares_the_picture_that_new_weights_drew_meanwhile(services: Services) -> None:
    folder = imported_weights(services.settings.data_dir)
    folder.mkdir(parents=True)
    versions = [STYLES["hinata-light"].model_copy(update={"name": "mine", "sha256": digit * 64}) for digit in "01"]
    jobs = []
    for version in versions:
        write_manifest(folder, [version])
        jobs.append(submit_photo(services, BytesIO(photo_bytes()), Order("mine", Options(512, Format.PNG))))
    tasks.convert(jobs[1].id, services, toy)
    tasks.convert(jobs[0].id, services, failing_with(AssertionError("computed twice")))
    assert services.jobs.get(jobs[0].id).result == services.jobs.get(jobs[1].id).result


def test_an_engine_that_is_made_while_its_style_is_replaced_is_asked_for_again(services: Services) -> None:
    folder = imported_weights(services.settings.data_dir)
    folder.mkdir(parents=True)
    versions = [STYLES["hinata-light"].model_copy(update={"name": "mine", "sha256": digit * 64}) for digit in "01"]
    write_manifest(folder, versions[:1])
    job = submit_photo(services, BytesIO(photo_bytes()), Order("mine", Options(512, Format.PNG)))
    asked: list[str] = []

    def replaced(name: str) -> Engine:
        asked.append(name)
        write_manifest(folder, versions[1:])
        return ToyEngine()

    tasks.convert(job.id, services, replaced)
    assert len(asked) > 1
    assert services.jobs.get(job.id).result_key != job.result_key


def test_a_missing_shared_picture_is_made_again(services: Services) -> None:
    first = submit(services, photo_bytes())
    tasks.convert(first.id, services, toy)
    erase(services, first.id)
    second = submit(services, photo_bytes())
    tasks.convert(second.id, services, toy)
    assert services.jobs.get(second.id).state is State.SUCCEEDED
    assert services.store.head(second.result_key) is not None


def test_another_format_or_size_is_another_picture(services: Services) -> None:
    png, jpeg = submit(services, photo_bytes(), Format.PNG), submit(services, photo_bytes(), Format.JPEG)
    assert png.result_key != jpeg.result_key
    for job in (png, jpeg):
        tasks.convert(job.id, services, toy)
        with services.store.open(job.result_key) as file, Image.open(file) as picture:
            assert picture.format == job.format.value.upper()


def test_a_job_canceled_while_it_runs_stops_and_leaves_no_picture(services: Services) -> None:
    job = submit(services, photo_bytes())

    def cancel_meanwhile(photo: Tensor) -> Tensor:
        services.jobs.cancel(job.id)
        return photo

    tasks.convert(job.id, services, engine_that(cancel_meanwhile))
    assert services.jobs.get(job.id).state is State.CANCELED
    assert services.store.head(job.result_key) is None


def test_a_job_canceled_and_retried_while_it_runs_is_drawn(services: Services) -> None:
    job = submit(services, photo_bytes())

    class LateRetry(Attempts):
        def stop(self, job: Job) -> bool:
            services.jobs.retry(job.id)
            return super().stop(job)

    def cancel_meanwhile(photo: Tensor) -> Tensor:
        services.jobs.cancel(job.id)
        return photo

    late = replace(services, attempts=as_subclass(services.attempts, LateRetry))
    assert tasks.convert(job.id, late, engine_that(cancel_meanwhile)) == 0, "its message is to be sent again"
    assert services.jobs.get(job.id).state is State.QUEUED
    tasks.convert(job.id, services, toy)
    assert services.jobs.get(job.id).state is State.SUCCEEDED


def test_a_job_erased_while_it_runs_leaves_nothing(services: Services) -> None:
    job = submit(services, photo_bytes())

    def erase_meanwhile(photo: Tensor) -> Tensor:
        erase(services, job.id)
        return photo

    tasks.convert(job.id, services, engine_that(erase_meanwhile))
    assert services.store.head(job.result_key) is None
    assert services.store.head(job.photo_key) is None
    assert services.redis.keys("sakuga:job:*") == []
    assert services.redis.keys("sakuga:referrers:*") == []


def test_an_overtaken_attempt_leaves_the_picture_of_the_other(services: Services) -> None:
    job = submit(services, photo_bytes())

    def run_again_meanwhile(photo: Tensor) -> Tensor:
        expire_lease(services, job)
        tasks.convert(job.id, services, toy)
        return photo

    tasks.convert(job.id, services, engine_that(run_again_meanwhile))
    done = services.jobs.get(job.id)
    assert (done.state, done.attempts) == (State.SUCCEEDED, 2)
    assert services.store.head(job.result_key) is not None


def test_an_attempt_overtaken_while_it_commits_leaves_the_picture_of_the_other(services: Services) -> None:
    job = submit(services, photo_bytes())

    class Slow(Attempts):
        def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
            services.redis.delete(f"sakuga:lock:{job.result_key}")  # as if its time limit had passed
            expire_lease(services, job)
            tasks.convert(job.id, services, toy)
            return super().succeed(job, result, timings=timings, notes=notes)

    tasks.convert(job.id, replace(services, attempts=as_subclass(services.attempts, Slow)), toy)
    done = services.jobs.get(job.id)
    assert (done.state, done.attempts) == (State.SUCCEEDED, 2)
    assert services.store.head(job.result_key) is not None


def test_the_record_describes_the_picture_of_the_first_of_two_attempts(services: Services) -> None:
    job = submit(services, photo_bytes())

    def be_overtaken(photo: Tensor) -> Tensor:
        expire_lease(services, job)
        tasks.convert(job.id, services, toy)
        return 1 - photo

    tasks.convert(job.id, services, engine_that(be_overtaken))
    done = services.jobs.get(job.id)
    assert done.result is not None
    with services.store.open(job.result_key) as picture:
        assert hashlib.sha256(picture.read()).hexdigest() == done.result.sha256


def test_a_commit_whose_confirmation_is_lost_counts_and_keeps_its_picture(services: Services) -> None:
    job = submit(services, photo_bytes())

    class Deaf(Attempts):
        def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
            super().succeed(job, result, timings=timings, notes=notes)
            return super().succeed(job, result, timings=timings, notes=notes)  # as redis-py does on a lost answer

    tasks.convert(job.id, replace(services, attempts=as_subclass(services.attempts, Deaf)), toy)
    assert services.jobs.get(job.id).state is State.SUCCEEDED
    assert services.store.head(job.result_key) is not None


def test_a_timeout_right_after_the_commit_keeps_the_picture(services: Services) -> None:
    job = submit(services, photo_bytes())

    class Late(Attempts):
        def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
            super().succeed(job, result, timings=timings, notes=notes)
            raise SoftTimeLimitExceeded

    tasks.convert(job.id, replace(services, attempts=as_subclass(services.attempts, Late)), toy)
    assert services.jobs.get(job.id).state is State.SUCCEEDED
    assert services.store.head(job.result_key) is not None


def test_a_lock_left_by_a_process_that_was_killed_is_waited_out(services: Services) -> None:
    assert references.WAIT_S > references.LOCK_S
    job = submit(services, photo_bytes())
    services.redis.set(f"sakuga:lock:{job.result_key}", "of the dead", px=1000)
    tasks.convert(job.id, services, toy)
    done = services.jobs.get(job.id)
    assert (done.state, done.attempts) == (State.SUCCEEDED, 1)


def test_a_timeout_fails_with_advice(services: Services) -> None:
    job = submit(services, photo_bytes())
    tasks.convert(job.id, services, failing_with(SoftTimeLimitExceeded()))
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == "timed_out"
    assert "max_side" in failed.error.detail


def test_an_unexpected_error_fails_the_job_without_leaking_secrets(services: Services) -> None:
    job = submit(services, photo_bytes())
    tasks.convert(job.id, services, failing_with(RuntimeError("/secret/path")))
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == SakugaError.code
    assert "secret" not in failed.error.detail


class Down(DiskStore):
    def open(self, key: str) -> BinaryIO:  # noqa: ARG002
        raise UnavailableError("The store does not answer.")


def test_a_store_outage_is_waited_out_and_costs_no_attempt(services: Services) -> None:
    down = replace(services, store=Down(services.settings.data_dir))
    job = submit(services, photo_bytes())
    pauses = [tasks.convert(job.id, down, toy) for _ in range(5)]
    assert all(pauses)
    assert tasks.convert(job.id, services, toy) is None
    assert services.jobs.get(job.id).state is State.SUCCEEDED


def test_a_lasting_store_outage_fails_the_job_with_that_reason(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    down = replace(services, store=Down(services.settings.data_dir))
    job = submit(services, photo_bytes())
    pauses = []
    while services.jobs.get(job.id).state is State.QUEUED:
        pauses.append(tasks.convert(job.id, down, toy) or 0)
        advance_clock(pauses[-1])
    assert pauses[:3] == [pytest.approx(2, abs=0.5), pytest.approx(2, abs=0.5), pytest.approx(4, abs=1)]
    assert max(pauses) == MAX_PAUSE_S
    assert OUTAGE_RETRY_S < sum(pauses) < OUTAGE_RETRY_S + 60
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == UnavailableError.code


def without_it(_: str) -> ToyEngine:
    raise UnknownStyleError("style must be one of: other.")


def test_a_worker_without_the_style_gives_the_job_back_and_costs_no_attempt(services: Services) -> None:
    job = submit(services, photo_bytes())
    pauses = [tasks.convert(job.id, services, without_it) for _ in range(5)]
    assert all(pauses)
    assert services.jobs.get(job.id).state is State.QUEUED
    assert tasks.convert(job.id, services, toy) is None
    assert services.jobs.get(job.id).state is State.SUCCEEDED


def test_a_style_that_no_worker_has_for_long_fails_the_job_with_that_reason(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    job = submit(services, photo_bytes())
    pauses = []
    while services.jobs.get(job.id).state is State.QUEUED:
        pauses.append(tasks.convert(job.id, services, without_it) or 0)
        advance_clock(pauses[-1])
    assert OUTAGE_RETRY_S < sum(pauses) < OUTAGE_RETRY_S + 60
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == "unknown_style"


def test_a_missing_photo_is_a_clear_failure(services: Services) -> None:
    job = submit(services, photo_bytes())
    services.store.delete(job.photo_key)
    tasks.convert(job.id, services, toy)
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == "missing_object"


def test_a_photo_that_takes_more_memory_than_its_size_allows_is_refused(services: Services) -> None:
    small = replace(services, limits=Limits(max_bytes=32 << 20, max_megapixels=0.01))
    job = submit(small, photo_bytes((64, 48)))

    def blow_up(*_: object) -> None:
        bytearray(2 * small.limits.decoding_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", blow_up)
        tasks.convert(job.id, small, toy)
    failed = services.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == "photo_too_large"
    bytearray(2 * small.limits.decoding_bytes)  # the limit is lifted again


@pytest.mark.parametrize("frames", [1, 3])
def test_an_animation_is_noted(services: Services, frames: int) -> None:
    images = [Image.new("RGB", (32, 32), (80 * number, 10, 10)) for number in range(frames)]
    buffer = BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:])
    job = submit(services, buffer.getvalue())
    tasks.convert(job.id, services, toy)
    assert bool(services.jobs.get(job.id).notes) is (frames > 1)
