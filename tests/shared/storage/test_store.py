"""One contract, every backend: a folder and a real S3 server."""

import errno
import io
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from botocore.exceptions import ClientError

from shared.errors import UnavailableError
from shared.storage.base import PAGE, MissingObjectError, Store
from shared.storage.disk import DiskStore
from shared.storage.references import LOCK_S
from shared.storage.s3 import CONNECT_S, READ_S, TRIES, S3Store
from tests.conftest import S3_KEYS, free_port, wait_until

KEY = "public/photos/0a1b"
TYPE = "image/png"
BACKOFF_S = 2  # at most, before botocore's second try


@pytest.fixture
def s3_store(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    store = S3Store("sakuga-test", f"run-{time.monotonic_ns()}")
    wait_until(lambda: _takes_objects(store), "the S3 server takes objects", limit_s=60)
    return store


def _takes_objects(store: Store) -> bool:
    try:
        store.check()
        store.put("probe", b"1", content_type=TYPE)
    except UnavailableError:
        return False
    return True


def test_no_proxy_comes_between_the_store_and_this_machine(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.com,[::1]")
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    S3Store("sakuga-test", "direct").check()


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no hard links."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


@pytest.fixture(params=["disk", "disk without links", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk without links":
        request.getfixturevalue("no_links")
    if request.param != "s3":
        return DiskStore(tmp_path / "store")
    found: S3Store = request.getfixturevalue("s3_store")
    return found


def read(store: Store, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


def test_an_object_is_read_back_as_it_was_put(store: Store) -> None:
    store.put(KEY, b"bytes of a photo", content_type=TYPE)
    assert read(store, KEY) == b"bytes of a photo"


def test_a_file_is_put_whole_wherever_it_was_read_to(store: Store) -> None:
    photo = io.BytesIO(bytes(range(256)) * 5000)
    photo.read(1000)
    store.put(KEY, photo, content_type=TYPE)
    assert read(store, KEY) == photo.getvalue()


def test_an_object_can_be_put_again(store: Store) -> None:
    store.put(KEY, b"first", content_type=TYPE)
    store.put(KEY, b"second", content_type=TYPE)
    assert read(store, KEY) == b"second"


def test_of_concurrent_writers_of_a_new_object_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda n: store.put_new("a/b", b"%d" % n, content_type="image/png"), range(8)))
    assert sum(first) == 1
    with store.open("a/b") as file:
        assert file.read() == b"%d" % first.index(True)


def test_a_new_object_leaves_no_temporary_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for key in ("a/b", "a/c"):
        assert DiskStore(tmp_path).put_new(key, b"1", content_type=TYPE)
        assert not DiskStore(tmp_path).put_new(key, b"2", content_type=TYPE)
        assert list((tmp_path / ".part").iterdir()) == []
        request.getfixturevalue("no_links")


def test_a_disk_that_fails_otherwise_is_not_taken_for_one_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    with pytest.raises(UnavailableError):
        DiskStore(tmp_path).put_new(KEY, b"1", content_type=TYPE)


def test_without_conditional_puts_the_server_is_asked_whether_the_object_exists(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_store._client  # noqa: SLF001  an older server, of which there is none here
    put_object = client.put_object

    def refuse_conditions(**given: object) -> object:
        if "IfNoneMatch" in given:
            metadata = {"HTTPStatusCode": 501}
            raise ClientError({"Error": {"Code": "NotImplemented"}, "ResponseMetadata": metadata}, "PutObject")  # type: ignore[typeddict-item]
        return put_object(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "put_object", refuse_conditions)
    assert s3_store.put_new(KEY, b"first", content_type=TYPE)
    assert not s3_store.put_new(KEY, b"second", content_type=TYPE)
    assert read(s3_store, KEY) == b"first"


def test_a_missing_object_is_a_clear_error(store: Store) -> None:
    with pytest.raises(MissingObjectError):
        store.open("public/photos/none")


def test_head_gives_the_size_or_nothing(store: Store) -> None:
    assert store.head(KEY) is None
    store.put(KEY, b"12345", content_type=TYPE)
    found = store.head(KEY)
    assert found is not None
    assert found.bytes == 5


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    store.put(KEY, b"1", content_type=TYPE)
    store.delete(KEY)
    store.delete(KEY)
    assert store.head(KEY) is None


def test_objects_are_listed_by_age(store: Store) -> None:
    keys = {f"public/photos/{number:03}" for number in range(120)}
    for key in keys:
        store.put(key, b"bytes", content_type=TYPE)
    pages = list(store.keys(older_than_s=-3600))
    assert max(map(len, pages)) <= PAGE
    assert keys <= {key for page in pages for key in page} <= keys | {"probe"}
    assert [key for page in store.keys(older_than_s=3600) for key in page] == []


@pytest.mark.parametrize("ahead_s", [-48 * 3600, 0, 48 * 3600])
def test_leftovers_of_a_dead_writer_are_removed_whatever_the_local_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + ahead_s)
    store = DiskStore(tmp_path)
    store.put(KEY, b"whole", content_type=TYPE)
    left, fresh = tmp_path / ".part" / "left", tmp_path / ".part" / "fresh"
    for file in (left, fresh):
        file.write_bytes(b"half a pho")
    os.utime(left, (1, 1))
    store.sweep()
    assert not left.exists()
    assert fresh.exists()
    assert read(store, KEY) == b"whole"


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a/../b", "a//b", "", ".hidden", "a\\b", "a\x00b"])
def test_a_key_that_could_leave_the_store_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a store key"):
        store.put(key, b"1", content_type=TYPE)


def test_a_healthy_store_passes_its_check(store: Store) -> None:
    store.check()


def test_a_reader_never_sees_a_part_of_an_object(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    contents = {bytes([number]) * 300_000 for number in range(4)}
    store.put(KEY, next(iter(contents)), content_type=TYPE)
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(store.put, KEY, data, content_type=TYPE) for data in contents for _ in range(5)]
        seen = {read(store, KEY) for _ in range(50)}
        for write in writes:
            write.result()
    assert seen <= contents


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError("the upload broke")

    with pytest.raises(UnavailableError):
        DiskStore(tmp_path).put(KEY, Broken(b"1"), content_type=TYPE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_fails_the_check(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with pytest.raises(UnavailableError):
        DiskStore(in_the_way).check()


@contextmanager
def no_room() -> Iterator[None]:
    """Files can be created but not written to, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_fails_the_check(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    store.check()
    with no_room(), pytest.raises(UnavailableError):
        store.check()
    store.check()
    assert list((tmp_path / "store").iterdir()) == []


def test_the_disk_store_leaves_serving_to_the_web(tmp_path: Path) -> None:
    assert DiskStore(tmp_path).url(KEY, disposition="inline", content_type=TYPE) is None


def test_a_presigned_url_serves_the_object_under_its_type_and_name(s3_store: S3Store) -> None:
    s3_store.put(KEY, b"picture", content_type="application/octet-stream")
    answer = httpx.get(s3_store.url(KEY, disposition='inline; filename="sakuga.png"', content_type=TYPE))
    assert answer.content == b"picture"
    assert answer.headers["Content-Type"] == TYPE
    assert 'filename="sakuga.png"' in answer.headers["Content-Disposition"]


def test_a_presigned_url_grants_access_to_nothing_else(s3_store: S3Store) -> None:
    s3_store.put(KEY, b"mine", content_type=TYPE)
    s3_store.put("public/photos/other", b"not mine", content_type=TYPE)
    url = s3_store.url(KEY, disposition="inline", content_type=TYPE)
    assert httpx.get(url.replace(KEY, "public/photos/other")).status_code == 403
    assert httpx.get(url.split("?")[0]).status_code == 403


def test_urls_are_signed_for_the_address_clients_use(s3_endpoint: str, s3_store: S3Store) -> None:
    s3_store.put(KEY, b"picture", content_type=TYPE)
    public = s3_endpoint.replace("127.0.0.1", "localhost")
    prefix = s3_store._prefix.rstrip("/")  # noqa: SLF001  the same objects through another address
    url = S3Store("sakuga-test", prefix, public_url=public).url(KEY, disposition="inline", content_type=TYPE)
    assert url.startswith(public)
    assert httpx.get(url).content == b"picture"


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError):
        S3Store("bucket", "").head(KEY)


def test_a_call_to_a_server_that_fails_is_over_before_the_lock_on_its_object(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Failing(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            calls.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for name, value in (S3_KEYS | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UnavailableError):
            S3Store("bucket", "").delete(KEY)
        server.shutdown()
    assert len(calls) == TRIES
    assert TRIES * (CONNECT_S + READ_S) + (TRIES - 1) * BACKOFF_S < LOCK_S
