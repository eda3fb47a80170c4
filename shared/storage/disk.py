"""Objects as files under one folder."""

import errno
import fcntl
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from shared.files import sync_folder, write_aside
from shared.storage.base import PAGE, MissingObjectError, ObjectInfo, checked, rewound, unavailable

PROBE_BYTES = 4096  # written to see whether there is room
ABANDONED_S = 3600  # the writer of a file that is still partial by then has died
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # FAT, network file systems, FUSE


class DiskStore:
    """Objects as files under one folder."""

    public_origin = None

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made when the first object is written."""
        self._root = root

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:  # noqa: ARG002  a file has no type
        path = self._path(key)
        with _translated_os_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_aside(data).replace(path)
            sync_folder(path.parent)

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:  # noqa: ARG002
        path = self._path(key)
        with _translated_os_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._write_aside(data)
            try:
                is_new = _linked(aside, path)
            finally:
                aside.unlink(missing_ok=True)
            sync_folder(path.parent)
        return is_new

    def open(self, key: str) -> BinaryIO:
        with _translated_os_errors():
            return self._path(key).open("rb")

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with _translated_os_errors():
                return ObjectInfo(self._path(key).stat().st_size)
        except MissingObjectError:
            return None

    def delete(self, key: str) -> None:
        with _translated_os_errors():
            self._path(key).unlink(missing_ok=True)

    def url(self, key: str, *, disposition: str, content_type: str) -> str | None:  # noqa: ARG002
        return None

    def check(self) -> None:
        with _translated_os_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root) as file:
                file.write(bytes(PROBE_BYTES))  # a full disk still makes empty files
                file.flush()
                os.fsync(file.fileno())  # network file systems say only now that there is no room

    def keys(self, *, older_than_s: float) -> Iterator[list[str]]:
        with _translated_os_errors():
            if not self._root.is_dir():
                return
            self._aside.mkdir(parents=True, exist_ok=True)
            written_by = self._now() - older_than_s
        files = (file for folder in self._root.iterdir() if folder != self._aside for file in folder.rglob("*"))
        while page := list(islice(files, PAGE)):
            yield [str(file.relative_to(self._root)) for file in page if _is_file_of(file, written_by)]

    def sweep(self) -> None:
        with _translated_os_errors():
            left = {file: file.stat().st_mtime for file in self._aside.glob("*")}
            if left:
                began = self._now() - ABANDONED_S
                for file in [file for file, written in left.items() if written < began]:
                    file.unlink(missing_ok=True)

    def _now(self) -> float:
        """Return the time of the clock that dates the files, which may differ from our own."""
        with tempfile.TemporaryFile(dir=self._aside) as file:
            return os.fstat(file.fileno()).st_mtime

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    @property
    def _aside(self) -> Path:
        """The folder of partial files: a single one, so that leftovers are found; no key begins like it."""
        return self._root / ".part"

    def _write_aside(self, data: bytes | BinaryIO) -> Path:
        self._aside.mkdir(parents=True, exist_ok=True)
        return write_aside(self._aside, _stream(data), mode=0o600)


def _is_file_of(path: Path, written_by: float) -> bool:
    """Return whether this is a file that was written by a time, and that still exists."""
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_mtime < written_by


def _linked(aside: Path, path: Path) -> bool:
    """Link a complete file to its final path unless that exists; return whether it did not."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _moved(aside, path)
    return True


def _moved(aside: Path, path: Path) -> bool:
    """Do the same without links: a lock serialises writers on this machine, the caller's lock those on others."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks, either
            fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return False
        aside.replace(path)
    finally:
        os.close(folder)
    return True


def _stream(data: bytes | BinaryIO) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else rewound(data)


@contextmanager
def _translated_os_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingObjectError("It has expired or been deleted.") from error
    except OSError as error:
        raise unavailable() from error
