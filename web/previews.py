"""The previews API: one photo in, one small picture of it for each style out, in one job."""

from io import BytesIO
from zipfile import ZipFile

from flask import Blueprint, Response, send_file, url_for

from shared.conversion import PREVIEW_SIDE, Options, preview_name
from shared.errors import UnknownJobError, UnknownPreviewError
from shared.jobs.record import NO_SUCH_JOB, Job
from shared.photos.formats import Format
from shared.usecases.submit import Order, submit
from web.context import services
from web.jobs import (
    IDEMPOTENCY_HEADER,
    WAIT_HEADER,
    idempotency_key,
    job_answer,
    job_body,
    polled,
    require_result,
    uploaded_photo,
    wait,
    with_applied_wait,
)
from web.openapi import Access, Takes, operation
from web.preferences import preferred_wait_s
from web.resources import caller_id, own_job
from web.schemas import PreviewBody, PreviewsBody, PreviewsOptions

blueprint = Blueprint("previews", __name__, url_prefix="/api/v1/previews")

_ALL_STYLES = (
    "Draws the photo small in several styles, to choose from; together they take about as long as one picture. This is "
    "a job like any other: it counts towards quotas, expires, and can be followed, canceled and deleted under "
    "`/api/v1/jobs`. Its result is a ZIP archive of the previews."
)


@blueprint.post("")
@operation(
    "Preview a photo in all styles",
    description=_ALL_STYLES,
    options=PreviewsOptions,
    takes=Takes.PHOTO,
    answers={202: PreviewsBody, 200: PreviewsBody},
    problems=(400, 413, 415, 422, 503),
    headers=WAIT_HEADER | IDEMPOTENCY_HEADER,
    sends={202: ("Location", "Retry-After"), 200: ("Location",)},
    access=Access.SUBMIT,
)
def create_previews(options: PreviewsOptions) -> Response:
    with uploaded_photo() as photo:
        job = submit(services(), photo, _order(options))
    asked_s = preferred_wait_s()
    job, has_waited = wait(job, asked_s or 0)
    body = _body(job)
    response = job_answer(body, 200 if job.ended and has_waited else 202)
    response.headers["Location"] = body.links.self
    return with_applied_wait(response, asked_s if has_waited else None)


@blueprint.get("/<job_id>")
@operation(
    "Get a photo's previews",
    answers={200: PreviewsBody, 304: None},
    problems=(404, 412),
    headers=WAIT_HEADER,
    access=Access.READ,
)
def get_previews(job_id: str) -> Response:
    return polled(_own_previews(job_id), _body)


@blueprint.get("/<job_id>/<style>")
@operation(
    "Download a preview",
    answers={200: "image/*", 206: "image/*", 304: None},
    problems=(404, 409, 410, 412, 416),
    access=Access.READ,
)
def get_preview_picture(job_id: str, style: str) -> Response:
    job = _own_previews(job_id)
    result = require_result(job)
    if style not in job.styles:
        raise UnknownPreviewError(f"There are previews in {', '.join(job.styles)}.")
    with services().store.open(job.result_key) as file, ZipFile(BytesIO(file.read())) as archive:
        picture = BytesIO(archive.read(preview_name(style)))
    etag = f"{result.sha256}-{style}"
    response = send_file(picture, job.format.content_type, etag=etag, conditional=True, max_age=0)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _order(options: PreviewsOptions) -> Order:
    names = [name.strip() for name in (options.styles or "").split(",") if name.strip()]
    styles = services().styles.to_preview(names)
    return Order(
        style=styles[0],
        styles=styles,
        options=Options(PREVIEW_SIDE, Format.JPEG),
        caller=caller_id(),
        idempotency_key=idempotency_key(),
    )


def _own_previews(job_id: str) -> Job:
    """Return a job of the caller's own that draws previews.

    Raises:
        UnknownJobError: there is no such job.
    """
    job = own_job(job_id)
    if not job.styles:
        raise UnknownJobError(NO_SUCH_JOB)
    return job


def _body(job: Job) -> PreviewsBody:
    body = job_body(job)
    links = body.links.model_copy(update={"self": url_for("previews.get_previews", job_id=job.id)})
    drawn = job.styles if job.result else ()
    previews = [
        PreviewBody(style=style, url=url_for("previews.get_preview_picture", job_id=job.id, style=style))
        for style in drawn
    ]
    return PreviewsBody.showing(body.model_copy(update={"links": links}), previews)
