"""Submitting a photo."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from redis.exceptions import RedisError

from shared.callers.api_keys import PUBLIC_ID
from shared.conversion import (
    FINISHING_MS,
    PREVIEWS_DRAWN_AT,
    Options,
    cost_pixels,
    decoding_ms,
    drawn_pixels,
    previews_key,
    result_key,
    working_pixels,
)
from shared.errors import SakugaError
from shared.files import stream_sha256
from shared.jobs.record import Job, Lane, PhotoInfo, new_id
from shared.jobs.store import Idempotency
from shared.photos.formats import Header
from shared.photos.inspection import inspect
from shared.services import Services
from shared.styles import Style
from shared.usecases.dispatch import dispatch


@dataclass(frozen=True, slots=True)
class Order:
    """A caller's order for a photo."""

    style: str
    options: Options
    caller: str = PUBLIC_ID
    lane: Lane = Lane.INTERACTIVE
    idempotency_key: str | None = None
    album: str | None = None
    name: str | None = None
    job_id: str | None = None
    sha256: str | None = None  # of the photo, where that is known already
    keep_photo: bool = False
    styles: tuple[str, ...] = ()  # for previews instead of a picture; `style` is the first


def submit(services: Services, photo: BinaryIO, order: Order) -> Job:
    """Accept a photo: inspect it, store it, write its record, queue it.

    Returns the job that an earlier request with the same idempotency key created, if there is one.

    Raises:
        SakugaError: why it is rejected; nothing of it is left behind.
    """
    styles = [services.styles[name] for name in order.styles or (order.style,)]
    header = inspect(photo, services.limits)
    photo.seek(0)
    sha256 = order.sha256 or stream_sha256(photo)
    idempotency = _idempotency(order, styles, sha256)
    if idempotency and (earlier := services.jobs.find_by_idempotency_key(order.caller, idempotency)):
        return earlier
    pixels = cost_pixels(header, order.options.max_side, pictures=len(styles))
    info = PhotoInfo(width=header.width, height=header.height, bytes=photo.seek(0, 2), sha256=sha256)
    job_id = order.job_id or new_id()
    with services.quotas.reserve(order.caller, pixels, job_id) as reservation:
        services.admission.admit(order.lane, pixels, caller=order.caller, album=order.album)
        job = _new_job(services, order, styles, header, job_id=job_id, photo=info, pixels=pixels)
        with services.references.acquire(job.photo_reference, until=job.expires_at):
            services.store.put(job.photo_key, photo, content_type="application/octet-stream")
        reservation.committed = True
        created = _create(services, job, idempotency)
        if created.id != job.id:
            reservation.refund()  # another request with the same idempotency key was first, and was charged
    return created


def _new_job(
    services: Services, order: Order, styles: list[Style], header: Header, *, job_id: str, photo: PhotoInfo, pixels: int
) -> Job:
    now = services.clock.now()
    work_ms = _work_ms(services, order, styles, header)
    job = Job(
        id=job_id,
        caller=order.caller,
        style=styles[0].name,
        styles=tuple(style.name for style in styles) if order.styles else (),
        max_side=order.options.max_side,
        format=order.options.format,
        faces=order.options.faces,
        lane=order.lane,
        album=order.album,
        name=order.name,
        created_at=now,
        expires_at=now + services.settings.ttl_s,
        photo=photo,
        photo_key=f"{order.caller}/photos/{photo.sha256}",
        keep_photo=order.keep_photo,
        result_key=_result_key(order, styles, photo),
        pixels=pixels,
        work_ms=work_ms,
        ticket_ms=services.lanes.ticket(order.lane, work_ms),
    )
    return job.model_copy(update={"initial_eta_s": services.estimates.estimate(job).eta_s})


def _work_ms(services: Services, order: Order, styles: list[Style], header: Header) -> int:
    size, side = (header.width, header.height), order.options.max_side
    drawn = drawn_pixels(size, side, PREVIEWS_DRAWN_AT if order.styles else styles[0].drawn_at)
    finished = 0 if order.styles else working_pixels(size, side)
    finishing_ms = round(finished / 1e6 * FINISHING_MS)
    return services.estimates.estimate_ms(styles, drawn / 1e6) + decoding_ms(header) + finishing_ms


def _result_key(order: Order, styles: list[Style], photo: PhotoInfo) -> str:
    if order.styles:
        return previews_key(order.caller, photo.sha256, [style.digest for style in styles])
    options = order.options.within((photo.width, photo.height))
    return result_key(order.caller, photo.sha256, styles[0].digest, options)


def _create(services: Services, job: Job, idempotency: Idempotency | None) -> Job:
    """Write the record of a job whose photo is stored, and queue it."""
    try:
        made = services.jobs.create(job, idempotency)
    except SakugaError:
        services.references.release(job.photo_reference)
        raise  # after any other error the record may be there: without one the photo's reference expires
    if made.id != job.id:
        services.references.release(job.photo_reference)
        return made
    with suppress(RedisError):  # housekeeping dispatches again soon
        dispatch(services, [job.lane])
    return job


def _idempotency(order: Order, styles: list[Style], photo_sha256: str) -> Idempotency | None:
    if order.idempotency_key is None:
        return None
    names = [style.name for style in styles]
    kind = ["previews"] if order.styles else []
    parts = (photo_sha256, *names, *order.options.values, *kind)
    return Idempotency(order.idempotency_key, hashlib.sha256("\n".join(parts).encode()).hexdigest())
