"""Where photos and pictures are kept: a folder, or a bucket of any S3 server. One contract, one test suite for both.

Keys are relative paths of letters, digits, `-`, `_`, `.` and `/`. Imported by everyone.
"""

import errno
import fcntl
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import SakugaError, SettingsError, UnavailableError
from shared.files import sync_folder, write_aside

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from shared.settings import Settings

URL_TTL_S = 300
# So long an S3 server may say nothing in one call, and so often it is asked: a call ends well within the lock of
# `shared.holdings`, for a delete that went on after it could take what the next holder has just put.
CONNECT_S, READ_S, TRIES = 3, 20, 2
PROBE_BYTES = 4096  # written to see whether there is room
ABANDONED_S = 3600  # a file that has not become whole by then has lost its writer
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # FAT, network file systems, FUSE
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


class MissingObjectError(SakugaError):
    """There is nothing under this key (any more)."""

    code = "missing_object"
    title = "The photo is no longer stored"
    status = 410


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store knows of an object without reading it."""

    bytes: int


class Store(Protocol):
    """What a backend must do. Every method raises UnavailableError when the backend does not answer."""

    @property
    def public_origin(self) -> str | None:
        """Scheme and host of what `url` gives; None where it gives nothing."""
        ...

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        """Write an object as one step: a reader sees the old one or the new one, never a part."""
        ...

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """Write an object unless there is one, as one step; returns whether it was written.

        A backend that cannot do that in one step looks first. Two who write under the same key may then both think that
        theirs stands, so callers hold a lock on it; a reader still never sees a part.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises MissingObjectError."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or None when there is none."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def url(self, key: str, *, disposition: str, content_type: str) -> str | None:
        """A URL that anyone may read the object from for five minutes, or None where the web must serve it."""
        ...

    def check(self) -> None:
        """Raise UnavailableError unless the backend can take objects; a missing folder or bucket is made."""
        ...

    def sweep(self) -> None:
        """Remove what writers that died left behind."""
        ...


def open_store(settings: "Settings") -> Store:
    """Open the store that `SAKUGA_STORE_URL` names: `file:/some/folder` or `s3://bucket/prefix`."""
    url = settings.effective_store_url
    if url.startswith("file:"):
        return DiskStore(Path(url.removeprefix("file:").removeprefix("//")))
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError("SAKUGA_STORE_URL: an s3 store needs a bucket: s3://bucket/prefix")
    return S3Store(parts.netloc, parts.path.strip("/"), public_url=settings.store_public_url or None)


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

    def sweep(self) -> None:
        with _translated_os_errors():
            left = {file: file.stat().st_mtime for file in self._aside.glob("*")}
            if left:
                began = self._now() - ABANDONED_S
                for file in [file for file, written in left.items() if written < began]:
                    file.unlink(missing_ok=True)

    def _now(self) -> float:
        """What time it is by the clock that dates the files, which is right for them where our own is wrong."""
        with tempfile.TemporaryFile(dir=self._aside) as file:
            return os.fstat(file.fileno()).st_mtime

    def _path(self, key: str) -> Path:
        return self._root / _checked(key)

    @property
    def _aside(self) -> Path:
        """Where files are until they are whole: one folder, so that what is left there is found; no key begins so."""
        return self._root / ".part"

    def _write_aside(self, data: bytes | BinaryIO) -> Path:
        self._aside.mkdir(parents=True, exist_ok=True)
        return write_aside(self._aside, _stream(data), mode=0o600)


def _linked(aside: Path, path: Path) -> bool:
    """Give a file that is whole its place unless that is taken; returns whether it was free."""
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
    """The same where there are no links: one after the other on this machine, others' writers by the caller's lock."""
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


class S3Store:
    """Objects in one bucket, under a prefix. Credentials and endpoint are boto3's own variables."""

    def __init__(self, bucket: str, prefix: str, *, public_url: str | None = None) -> None:
        """Sign the URLs handed out for `public_url` where clients reach the server under another name than we do."""
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _s3_client(None)
        self._signer = _s3_client(public_url) if public_url else self._client
        self.public_origin = _origin(self._signer.meta.endpoint_url)

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        with _translated_s3_errors():
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=_rewound(data), ContentType=content_type
            )

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, ContentType=content_type, IfNoneMatch="*"
            )
        except ClientError as error:
            if _s3_status(error) == HTTPStatus.PRECONDITION_FAILED:
                return False
            if _s3_status(error) == HTTPStatus.NOT_IMPLEMENTED:  # an older server, which knows no conditions
                return self._put_unless_there(key, data, content_type=content_type)
            raise _unavailable() from error
        except BotoCoreError as error:
            raise _unavailable() from error
        return True

    def _put_unless_there(self, key: str, data: bytes, *, content_type: str) -> bool:
        if self.head(key):
            return False
        self.put(key, data, content_type=content_type)
        return True

    def open(self, key: str) -> BinaryIO:
        with _translated_s3_errors():
            return io.BytesIO(self._client.get_object(Bucket=self._bucket, Key=self._key(key))["Body"].read())

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with _translated_s3_errors():
                return ObjectInfo(self._client.head_object(Bucket=self._bucket, Key=self._key(key))["ContentLength"])
        except MissingObjectError:
            return None

    def delete(self, key: str) -> None:
        with _translated_s3_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def url(self, key: str, *, disposition: str, content_type: str) -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": self._key(key),
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
        }
        return self._signer.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_TTL_S)

    def check(self) -> None:
        try:
            with _translated_s3_errors():
                self._client.head_bucket(Bucket=self._bucket)
        except MissingObjectError:  # an answer to HEAD has no body, so it carries no code of its own
            with _translated_s3_errors():
                self._client.create_bucket(Bucket=self._bucket)

    def sweep(self) -> None:
        """Nothing to do: an object that was not written whole does not exist."""

    def _key(self, key: str) -> str:
        return self._prefix + _checked(key)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a store key: {key!r}")
    return key


def _stream(data: bytes | BinaryIO) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else _rewound_file(data)


def _rewound(data: bytes | BinaryIO) -> bytes | BinaryIO:
    return data if isinstance(data, bytes) else _rewound_file(data)


def _rewound_file(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _s3_client(endpoint: str | None) -> "S3Client":
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},  # the first included, as not in `max_attempts`
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)


def _unavailable() -> UnavailableError:
    return UnavailableError("The store is not responding; please try again.", retry_after_s=5)


@contextmanager
def _translated_os_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingObjectError("It has expired or been deleted.") from error
    except OSError as error:
        raise _unavailable() from error


@contextmanager
def _translated_s3_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _s3_status(error) == HTTPStatus.NOT_FOUND and error.response["Error"].get("Code") != "NoSuchBucket":
            raise MissingObjectError("It has expired or been deleted.") from error
        raise _unavailable() from error
    except BotoCoreError as error:
        raise _unavailable() from error


def _s3_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
