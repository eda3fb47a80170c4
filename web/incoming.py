"""What every view needs of the request: the services, the caller, the body. Imported by the blueprints."""

import tempfile
from typing import BinaryIO, cast

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import BadRequestError
from shared.images import too_many_bytes
from shared.services import Services

CALLER = "public"
SPOOL_BYTES = 1 << 20  # larger bodies go to a temporary file


def services() -> Services:
    """Everything this process works with."""
    return cast("Services", current_app.extensions["sakuga"])


def spooled_body(limit: int) -> BinaryIO:
    """The body of this request, which the caller closes.

    Raises:
        PhotoTooLargeError: it has more than `limit` bytes.
        BadRequestError: it is empty.
    """
    spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
    try:
        _receive(spool, limit)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def _receive(spool: BinaryIO, limit: int) -> None:
    try:
        while block := request.stream.read(1 << 16):
            spool.write(block)
            if spool.tell() > limit:
                raise too_many_bytes(limit)
    except RequestEntityTooLarge as error:
        raise too_many_bytes(limit) from error
    if spool.tell() == 0:
        raise BadRequestError("The body is empty; send the image as the body.")
