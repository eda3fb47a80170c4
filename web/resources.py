"""The resources of a request: the caller's own jobs and albums, and the body."""

from os import SEEK_END
from typing import BinaryIO

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from shared.albums.record import NO_SUCH_ALBUM, Album
from shared.errors import BadRequestError, UnknownAlbumError, UnknownJobError
from shared.jobs.record import NO_SUCH_JOB, Job, is_id
from shared.photos.formats import too_many_bytes
from shared.photos.spool import spooled
from web.access import require_caller
from web.context import services


def caller_id() -> str:
    """Return the id under which the caller's jobs and albums are kept."""
    return require_caller().id


def own_job(job_id: str) -> Job:
    """Return a job of the caller's own; another caller's is as unknown as one that never existed.

    Raises:
        UnknownJobError: there is no such job.
    """
    job = services().jobs.get(job_id) if is_id(job_id) else None
    if job is None or job.caller != caller_id():
        raise UnknownJobError(NO_SUCH_JOB)
    return job


def own_album(album_id: str) -> Album:
    """Return an album of the caller's own, likewise.

    Raises:
        UnknownAlbumError: there is no such album.
    """
    album = services().albums.get(album_id) if is_id(album_id) else None
    if album is None or album.caller != caller_id():
        raise UnknownAlbumError(NO_SUCH_ALBUM)
    return album


def spooled_body(limit: int) -> BinaryIO:
    """Return the body of this request, which the caller closes.

    Raises:
        PhotoTooLargeError: it has more than `limit` bytes.
        BadRequestError: it is empty.
    """
    try:
        spool = spooled(request.stream, limit)
    except RequestEntityTooLarge as error:
        raise too_many_bytes(limit) from error
    if not spool.seek(0, SEEK_END):
        spool.close()
        raise BadRequestError("The body is empty; send the image as the body.")
    spool.seek(0)
    return spool
