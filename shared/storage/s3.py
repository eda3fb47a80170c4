"""Objects in a bucket of any S3 server."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.hosts import is_loopback
from shared.storage.base import PAGE, MissingObjectError, ObjectInfo, checked, rewound, unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

URL_TTL_S = 300
# So long an S3 server may say nothing in one call, and so often it is asked: a call ends well within the lock of
# `shared.storage.references`, for a delete that went on after it could take what the next holder has just put.
CONNECT_S, READ_S, TRIES = 3, 20, 2


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
            raise unavailable() from error
        except BotoCoreError as error:
            raise unavailable() from error
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

    def keys(self, *, older_than_s: float) -> Iterator[list[str]]:
        written_by = datetime.now(UTC) - timedelta(seconds=older_than_s)
        listing = self._client.get_paginator("list_objects_v2")
        with _translated_s3_errors():
            for page in listing.paginate(Bucket=self._bucket, Prefix=self._prefix, PaginationConfig={"PageSize": PAGE}):
                found = (one["Key"] for one in page.get("Contents", []) if one["LastModified"] < written_by)
                yield [key.removeprefix(self._prefix) for key in found]

    def sweep(self) -> None:
        """Do nothing: a partially written object does not exist."""

    def _key(self, key: str) -> str:
        return self._prefix + checked(key)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _rewound(data: bytes | BinaryIO) -> bytes | BinaryIO:
    return data if isinstance(data, bytes) else rewound(data)


def _s3_client(endpoint: str | None) -> "S3Client":
    """Return a client that reaches other machines through the proxies of the environment, but not this one."""
    session, config = boto3.session.Session(), _config()
    client = session.client("s3", endpoint_url=endpoint, config=config)
    if not is_loopback(urlsplit(client.meta.endpoint_url).hostname or ""):
        return client
    return session.client("s3", endpoint_url=endpoint, config=config.merge(Config(proxies={})))


def _config() -> Config:
    return Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},  # the first included, as not in `max_attempts`
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@contextmanager
def _translated_s3_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _s3_status(error) == HTTPStatus.NOT_FOUND and error.response["Error"].get("Code") != "NoSuchBucket":
            raise MissingObjectError("It has expired or been deleted.") from error
        raise unavailable() from error
    except BotoCoreError as error:
        raise unavailable() from error


def _s3_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
