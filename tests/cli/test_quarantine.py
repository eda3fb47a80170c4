"""The quarantine commands for operators."""

from io import BytesIO
from pathlib import Path

import pytest

from cli.running import Running
from shared.conversion import Options
from shared.jobs.record import Job, Lane, State
from shared.photos.formats import Format
from shared.services import Services
from shared.usecases.submit import Order, submit
from tests.cli.test_cli import sakuga
from tests.conftest import expire_lease, photo_bytes


@pytest.fixture
def poison(services: Services, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("SAKUGA_REDIS_URL", services.settings.redis_url)
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(services.settings.data_dir))
    job = submit(services, BytesIO(photo_bytes()), Order("hinata-light", Options(64, Format.JPEG)))
    for _ in range(4):
        services.attempts.claim(job.id)
        expire_lease(services, job)
    services.redis.delete(Lane.INTERACTIVE)
    return job


def test_it_is_listed_with_what_an_operator_needs(poison: Job) -> None:
    shown = sakuga("quarantine", "list")
    assert shown.exit_code == 0
    assert poison.id in shown.stdout
    assert "3 attempts" in shown.stdout
    assert poison.photo_key in shown.stdout
    assert "1 photo in quarantine" in shown.stdout


def test_it_is_retried(services: Services, poison: Job) -> None:
    assert sakuga("quarantine", "retry", poison.id).exit_code == 0
    assert services.jobs.get(poison.id).state is State.QUEUED
    assert services.redis.llen(Lane.INTERACTIVE) == 1
    assert "0 photos" in sakuga("quarantine", "list").stdout


def test_it_is_dropped(services: Services, poison: Job) -> None:
    assert sakuga("quarantine", "drop", poison.id).exit_code == 0
    assert services.jobs.find(poison.id) is None
    assert services.store.head(poison.photo_key) is None


def test_an_id_that_is_not_in_it_is_reported_and_nothing_happens(services: Services, poison: Job) -> None:
    done = sakuga("quarantine", "drop", poison.id, "other")
    assert done.exit_code == 1
    assert "Not in quarantine: other" in done.stderr
    assert services.jobs.find(poison.id) is not None


def test_a_service_that_is_not_running_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(tmp_path))
    for left_behind in (False, True):
        if left_behind:  # left behind by one that was killed
            (tmp_path / "lock").write_text(
                Running(redis_url=f"redis+socket://{tmp_path / 'gone.sock'}").model_dump_json()
            )
        done = sakuga("quarantine", "list")
        assert done.exit_code == 1
        assert "Sakuga is not running" in done.stderr
