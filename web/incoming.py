"""What every view needs of the request: the services, the caller, the body. Imported by the blueprints."""

from os import SEEK_END
from typing import BinaryIO, cast

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import BadRequestError
from shared.images import too_many_bytes
from shared.services import Services
from shared.spool import spooled

CALLER = "public"


def services() -> Services:
    """Everything this process works with."""
    return cast("Services", current_app.extensions["sakuga"])


def spooled_body(limit: int) -> BinaryIO:
    """The body of this request, which the caller closes.

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
