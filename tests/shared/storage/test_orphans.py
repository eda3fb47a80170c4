"""Files that nothing refers to any more, because the queue's data was lost."""

import os
from io import BytesIO
from pathlib import Path

import pytest

from shared.conversion import Options
from shared.photos.formats import Format
from shared.services import Services
from shared.storage.disk import DiskStore
from shared.usecases.maintenance import Reconciliation
from shared.usecases.submit import Order, submit
from tests.conftest import photo_bytes


@pytest.fixture
def folder(services: Services) -> Path:
    """The store's folder with two photos, one of which no queue knows, and a file that is not ours."""
    for seed in range(2):
        if seed:
            services.redis.flushall()
        submit(services, BytesIO(photo_bytes(seed=seed)), Order("hinata-light", Options(512, Format.JPEG)))
    folder = services.settings.data_dir / "store"
    (folder / "public" / "photos" / "holiday.jpg").write_bytes(b"mine")
    return folder


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


def reconcile(services: Services) -> None:
    node = Reconciliation(services)
    node.advance()
    while node.is_under_way:
        node.advance()


def test_old_ones_are_deleted_once_a_day(services: Services, folder: Path) -> None:
    before = files(folder)
    reconcile(services)
    assert files(folder) == before, "they are young"
    for file in folder.glob("public/photos/*"):
        os.utime(file, (1, 1))
    services.redis.delete("sakuga:reconciled")
    reconcile(services)
    assert files(folder) == before, "it was done today"
    services.redis.delete("sakuga:reconciled", "sakuga:swept")
    reconcile(services)
    known = {str(key).rsplit("/", 1)[1] for key in services.redis.scan_iter("sakuga:referrers:*")}
    assert files(folder) == {*known, "holiday.jpg"}
    assert len(known) == 1


def test_a_store_without_a_folder_has_none(tmp_path: Path) -> None:
    assert list(DiskStore(tmp_path / "none").keys(older_than_s=0)) == []
