"""The archive of an album's pictures, complete or visibly incomplete."""

import json
import sys
import zipfile
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

import pytest
from flask.testing import FlaskClient

import web.archive
from shared.errors import UnavailableError
from shared.services import Services
from shared.settings import Settings
from shared.storage.disk import DiskStore
from tests.albums import put, upload, work
from tests.answers import ALBUMS
from tests.conftest import photo_bytes
from web.app import create_app
from web.archive import BrokenOffError


def test_the_pictures_come_as_one_archive_with_the_reasons_of_what_failed(
    client: FlaskClient, services: Services, album: str
) -> None:
    upload(client, album, ("a.jpg", photo_bytes(seed=1)), ("a.png", photo_bytes(seed=2)), ("no.txt", b"hi"))
    work(services)
    response = client.get(f"{album}/archive")
    assert response.content_type == "application/zip"
    assert 'filename="Summer.zip"' in response.headers["Content-Disposition"]
    with zipfile.ZipFile(BytesIO(response.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.png", "a (2).png", "failures.json"]
        # otherwise readers that start at the front, such as Java's, cannot find the end of an entry
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert json.loads(archive.read("failures.json"))["no.txt"]["code"] == "not_a_photo"


@pytest.mark.parametrize(
    ("name", "plain", "full"),
    [
        ("Summer", "Summer", "Summer"),
        ("春の桜", "sakuga-", "%E6%98%A5%E3%81%AE%E6%A1%9C"),
        ('a/b "c".. ', "a-b-c", "a-b%20-c"),
        ("..", "sakuga-", "sakuga-"),
    ],
)
def test_the_archive_has_the_name_of_the_album(client: FlaskClient, name: str, plain: str, full: str) -> None:
    album = str(client.post(ALBUMS, json={"name": name}).headers["Location"])
    disposition = client.get(f"{album}/archive").headers["Content-Disposition"]
    assert f'filename="{plain}' in disposition
    assert f"filename*=UTF-8''{full}" in disposition


def test_the_archive_of_an_album_erased_meanwhile_is_visibly_incomplete(
    client: FlaskClient, services: Services, album: str
) -> None:
    upload(client, album, *((f"{seed}.png", photo_bytes(seed=seed)) for seed in range(2)))
    work(services, 1)
    chunks = iter(client.get(f"{album}/archive").iter_encoded())
    so_far = next(chunks)
    client.delete(album)
    with pytest.raises(BrokenOffError):
        so_far += b"".join(chunks)
    assert not zipfile.is_zipfile(BytesIO(so_far))


class Hiccuping(DiskStore):
    """A store on disk with brief outages."""

    hiccups = 0

    def open(self, key: str) -> BinaryIO:
        if self.hiccups:
            self.hiccups -= 1
            raise UnavailableError("The store is not responding; please try again.")
        return super().open(key)


class TestArchivesOfAStoreThatDoesNotAnswer:
    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(web.archive, "STORE_PAUSE_S", 0)

    @pytest.fixture
    def store(self, settings: Settings) -> Hiccuping:
        return Hiccuping(settings.data_dir / "store")

    @pytest.fixture
    def services(self, services: Services, store: Hiccuping) -> Services:
        return replace(services, store=store)

    @pytest.fixture
    def album(self, client: FlaskClient, services: Services, album: str) -> str:
        """An album of three pictures."""
        for seed in range(3):
            put(client, album, f"{seed}.png", seed)
        work(services)
        return album

    def test_an_archive_continues_after_a_brief_outage(self, client: FlaskClient, album: str, store: Hiccuping) -> None:
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        so_far = next(chunks)
        store.hiccups = 3
        with zipfile.ZipFile(BytesIO(so_far + b"".join(chunks))) as archive:
            assert archive.namelist() == ["0.png", "1.png", "2.png"]
            assert archive.testzip() is None
        assert store.hiccups == 0

    def test_an_aborted_archive_is_visibly_incomplete(
        self, client: FlaskClient, album: str, store: Hiccuping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(web.archive, "STORE_RETRY_S", 0.1)
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        so_far = next(chunks)
        store.hiccups = sys.maxsize
        with pytest.raises(UnavailableError):
            so_far += b"".join(chunks)
        assert not zipfile.is_zipfile(BytesIO(so_far))

    def test_an_archive_does_not_wait_for_the_store_during_shutdown(
        self, services: Services, album: str, store: Hiccuping
    ) -> None:
        client = create_app(services, is_serving=lambda: store.hiccups > 1).test_client()
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        next(chunks)
        store.hiccups = 5
        with pytest.raises(BrokenOffError):
            b"".join(chunks)
        assert store.hiccups == 1
