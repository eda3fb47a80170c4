"""Atomic file writes."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path

import pytest

from cli import pictures
from shared.files import file_sha256, stream_sha256, sync_folder, write_aside, write_atomically


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_permissions_come_from_the_umask_or_the_caller(tmp_path: Path) -> None:
    with umask(0o027):
        write_atomically(tmp_path / "shared", b"x")
        write_atomically(tmp_path / "secret", b"x", mode=0o600)
    assert (mode_of(tmp_path / "shared"), mode_of(tmp_path / "secret")) == (0o640, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_root_replaces_can_stay_its_owners(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 1234, 1235)
    write_atomically(tmp_path / "file", b"x", keep_owner=True)
    assert ((tmp_path / "file").stat().st_uid, (tmp_path / "file").stat().st_gid) == (1234, 1235)


def test_a_failed_write_changes_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"x")

    class Broken(BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        write_aside(tmp_path, Broken(), mode=0o600)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_the_data_is_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut may leave an empty file, or the old one although the call had returned."""
    file, done, sync = tmp_path / "file", [], os.fsync
    file.write_bytes(b"old")

    def noted(descriptor: int) -> None:
        done.append((Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path, file.read_bytes()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(file, b"new")
    assert done == [(False, b"old"), (True, b"new")]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_failed_folder_sync_is_an_error_unless_the_file_system_cannot_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, is_told: bool
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no") if is_told else nullcontext():
        sync_folder(tmp_path)


def test_concurrent_writers_of_one_file_do_not_interfere(tmp_path: Path) -> None:
    class Interrupted(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            write_atomically(tmp_path / "file", b"another's")
            return super().read(size)

    ours = write_aside(tmp_path, Interrupted(b"ours"), mode=0o600)
    assert (ours.read_bytes(), (tmp_path / "file").read_bytes()) == (b"ours", b"another's")


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    picture = tmp_path / ("x" * 251 + ".png")
    pictures.write(picture, b"picture")
    assert picture.read_bytes() == b"picture"


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "file") == stream_sha256(BytesIO(b"abc")) == of_abc
