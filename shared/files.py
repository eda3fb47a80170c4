"""Files that are written as one step: readers and power cuts leave the old one or the new one, never a part.

And what tells files apart: their content, or when and where it was written.
"""

import errno
import hashlib
import io
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_NO_SYNC: Final = {errno.EINVAL, errno.ENOTSUP}  # of folders: FUSE, some network file systems


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666, keep_owner: bool = False) -> None:
    """Create or replace a file in one step; when this returns, it is on disk.

    The umask is taken off `mode`. With `keep_owner` a file that root replaces stays its owner's.

    Raises:
        OSError: it cannot be written, and nothing has changed; or only the folder could not be synced.
    """
    aside = write_aside(path.parent, io.BytesIO(data), mode=mode)
    try:
        if keep_owner and path.exists():
            _copy_owner(path, aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def signature(file: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when the file is written or replaced; None if it does not exist."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return stream_sha256(file)


def stream_sha256(file: BinaryIO) -> str:
    """Return the SHA-256, in hex, of the bytes of an open file, which is at its beginning."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a BinaryIO without readinto


def write_aside(folder: Path, data: BinaryIO, *, mode: int) -> Path:
    """Write a file under a name of its own, to be renamed; what cannot be written whole is not left behind."""
    path = folder / f".{secrets.token_hex(8)}.new"  # short: the final name may be as long as names can be
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
            file.flush()
            os.fsync(descriptor)  # before it is renamed, else its name may survive a power cut without its bytes
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _copy_owner(path: Path, successor: Path) -> None:
    owner = path.stat()
    with suppress(PermissionError):  # we are not root
        os.chown(successor, owner.st_uid, owner.st_gid)
