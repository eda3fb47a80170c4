"""The jobs API: one photo in, one picture out."""

from collections.abc import Callable
from io import BytesIO
from math import ceil
from typing import BinaryIO, cast

from flask import Blueprint, Response, redirect, request, send_file, url_for
from werkzeug.datastructures import FileStorage

from shared.callers.api_keys import Scope
from shared.conversion import Options
from shared.errors import (
    BadRequestError,
    ExpiredError,
    InvalidValueError,
    NoResultError,
    NotAPhotoError,
    NotReadyError,
)
from shared.jobs.record import ENDED, Job, ResultInfo, State
from shared.photos.formats import Format
from shared.usecases.jobs import erase
from shared.usecases.submit import Order, submit
from web.access import require_scope
from web.context import services
from web.events import stream
from web.held_requests import acquire_slot, last_event_id, stream_response
from web.openapi import Access, Takes, operation
from web.preferences import MAX_WAIT_S, preferred_picture, preferred_wait_s
from web.resources import caller_id, own_job, spooled_body
from web.schemas import JobBody, JobLinks, JobOptions, JobPage, PageOptions, ResultOptions, answer

NO_WORKERS_RETRY_S = 15  # without workers there is no estimate; this is the time of a restart

blueprint = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")

_ONE_CALL = (
    "With `Accept: image/*`, the answer is the picture itself if it is ready within 30 seconds, or within the time of "
    "`Prefer`. Otherwise it is the job, with status 202, as for all other clients: check the status or the "
    "`Content-Type` before you use what you have saved. A failed conversion gets the same error as its `result`. "
    "Without `format`, `Accept` chooses the format, too (`image/png`). Clients that like JSON as much (`*/*`) get the "
    "job."
)
WAIT_HEADER = {"Prefer": f"`wait=20` waits up to 20 seconds for the job to finish; the maximum is {MAX_WAIT_S}"}
IDEMPOTENCY_HEADER = {
    "Idempotency-Key": "Any string of up to 255 characters; the same key and photo return the same job"
}


@blueprint.post("")
@operation(
    "Convert a photo",
    description=_ONE_CALL,
    options=JobOptions,
    takes=Takes.PHOTO,
    answers={202: JobBody, 200: (JobBody, "image/*")},
    problems=(400, 406, 409, 410, 413, 415, 422, 503),
    headers=WAIT_HEADER | IDEMPOTENCY_HEADER,
    sends={202: ("Location", "Retry-After"), 200: ("Location",)},
    access=Access.SUBMIT,
)
def create_job(options: JobOptions) -> Response:
    picture = _preferred_picture(options)
    with uploaded_photo() as photo:
        job = submit(services(), photo, _order(options, picture or options.format))
    asked_s = preferred_wait_s()
    job, has_waited = wait(job, MAX_WAIT_S if picture and asked_s is None else asked_s or 0)
    if picture and job.ended:
        response = _picture_response(job)
        response.headers["Content-Location"] = job_links(job.id).result
    else:
        response = _job_response(job, 200 if job.ended and has_waited else 202)
    response.headers["Location"] = job_links(job.id).self
    response.vary.add("Accept")
    return with_applied_wait(response, asked_s if has_waited else None)


@blueprint.get("")
@operation(
    "List your jobs, newest first", options=PageOptions, answers={200: JobPage}, problems=(422,), access=Access.READ
)
def list_jobs(options: PageOptions) -> Response:
    page = services().jobs.page(caller_id(), cursor=options.cursor, count=options.limit)
    body = JobPage(jobs=[job_body(job) for job in page.jobs], next_cursor=page.next_cursor)
    return answer(body)


@blueprint.get("/<job_id>")
@operation(
    "Get a job",
    answers={200: JobBody, 304: None},
    problems=(404, 412),
    headers=WAIT_HEADER,
    access=Access.READ,
)
def get_job(job_id: str) -> Response:
    return polled(own_job(job_id), job_body)


@blueprint.get("/<job_id>/result")
@operation(
    "Download the picture",
    options=ResultOptions,
    answers={200: ("image/*", "application/zip"), 206: "image/*", 303: None, 304: None},
    problems=(404, 409, 410, 412, 416, 422),
    access=Access.READ,
)
def get_result(job_id: str, options: ResultOptions) -> Response:
    job = own_job(job_id)
    result, disposition = require_result(job), _disposition(job, download=options.download)
    if url := services().store.url(job.result_key, disposition=disposition, content_type=result.content_type):
        return cast("Response", redirect(url, 303))
    return _picture_response(job, download=options.download)


@blueprint.get("/<job_id>/events")
@operation(
    "Stream a job's events",
    answers={200: "text/event-stream", 204: None},
    problems=(400, 404, 503),
    headers={"Last-Event-ID": "Resume after this event"},
    access=Access.READ,
)
def listen(job_id: str) -> Response:
    job = own_job(job_id)
    after = last_event_id()
    if after and job.ended and after == services().events.last(job_id):
        return Response(status=204)  # tells an EventSource not to reconnect
    return stream_response(
        lambda slot: stream(
            services().jobs,
            services().events,
            slot,
            job_id,
            after=after,
            render=lambda now: job_body(now).model_dump_json(),
        ),
        "text/event-stream",
    )


@blueprint.post("/<job_id>/cancel")
@operation("Cancel a job", answers={200: JobBody}, problems=(404,), access=Access.SUBMIT)
def cancel_job(job_id: str) -> Response:
    return _job_response(services().jobs.cancel(own_job(job_id).id), 200)


@blueprint.delete("/<job_id>")
@operation("Delete a job with its photo and picture", answers={204: None}, problems=(404,), access=Access.SUBMIT)
def delete_job(job_id: str) -> Response:
    erase(services(), own_job(job_id).id)
    return Response(status=204)


def _preferred_picture(options: JobOptions) -> Format | None:
    """Return the format of the picture if the client prefers that to its job; it must then be allowed to read it."""
    is_chosen = "format" in options.model_fields_set
    picture = preferred_picture([options.format] if is_chosen else list(Format))
    if picture:
        require_scope(Scope.READ)
    return picture


def _order(options: JobOptions, picture_format: Format) -> Order:
    return Order(
        style=options.style or services().default_style,
        options=Options(options.max_side, picture_format, options.faces),
        caller=caller_id(),
        idempotency_key=idempotency_key(),
    )


def idempotency_key() -> str | None:
    """Return the Idempotency-Key of this request, if it has one."""
    key = request.headers.get("Idempotency-Key", "").strip().strip('"')
    if len(key) > 255:  # noqa: PLR2004  the documented limit
        raise InvalidValueError("Idempotency-Key may be at most 255 characters long.")
    return key or None


def uploaded_photo() -> BinaryIO:
    """Return the photo of this request: the multipart field `photo` or the body itself."""
    if request.mimetype == "multipart/form-data":
        return _only_photo(request.files.getlist("photo"))
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return spooled_body(services().settings.max_upload_bytes)
    raise NotAPhotoError("Send multipart/form-data with a `photo` field, or the image itself with its image/* type.")


def _only_photo(uploads: list[FileStorage]) -> BinaryIO:
    if len(uploads) > 1:
        raise BadRequestError("Send one photo per job.")
    if not uploads:
        hint = " It was sent as text; with curl, use -F photo=@cat.jpg." if "photo" in request.form else ""
        raise BadRequestError(f"Send the photo as a file in the multipart field `photo`.{hint}")
    return cast("BinaryIO", uploads[0].stream)


def wait(job: Job, seconds: int) -> tuple[Job, bool]:
    """Wait for the end of a job; return whether there was something to wait for, and a free slot."""
    slot = acquire_slot() if seconds else None
    if slot is None:
        return job, False
    try:
        return services().events.wait_for_end(job.id, seconds, keep_waiting=slot.is_wanted), True
    finally:
        slot.release()


def polled(job: Job, body: Callable[[Job], JobBody]) -> Response:
    """Answer with the body of a job, after the wait that the client asks for, and without it if nothing has changed."""
    asked_s = preferred_wait_s()
    job, has_waited = wait(job, asked_s or 0)
    response = with_applied_wait(job_answer(body(job), 200), asked_s if has_waited else None)
    response.add_etag(weak=True)
    response.headers["Cache-Control"] = "no-cache"
    return cast("Response", response.make_conditional(request))


def with_applied_wait(response: Response, wait_s: int | None) -> Response:
    """Tell the client for how long it has waited at most, if it has."""
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    return response


def _picture_response(job: Job, *, download: bool = False) -> Response:
    """Answer with the picture itself; raises what `_require_result` does, or that it is gone."""
    result = require_result(job)
    with services().store.open(job.result_key) as file:
        data = BytesIO(file.read())
    response = send_file(data, result.content_type, etag=result.sha256, conditional=True, max_age=0)
    response.headers["Content-Disposition"] = _disposition(job, download=download)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _disposition(job: Job, *, download: bool) -> str:
    kind = "attachment" if download else "inline"
    return f'{kind}; filename="sakuga-{job.id[:8]}.{job.extension}"'


def require_result(job: Job) -> ResultInfo:
    """Return the result of a job.

    Raises:
        SakugaError: why there is none.
    """
    if job.result:
        return job.result
    match job.state:
        case State.EXPIRED:
            raise ExpiredError("The picture has expired; convert the photo again.")
        case State.FAILED:
            raise NoResultError(f"The conversion failed: {job.error.detail if job.error else ''}")
        case State.CANCELED:
            raise NoResultError("The job was canceled.")
        case _:
            retry_after_s = _retry_after_s(services().estimates.estimate(job).eta_s)
            raise NotReadyError("The photo is still being converted.", retry_after_s=retry_after_s)


def _job_response(job: Job, status: int) -> Response:
    return job_answer(job_body(job), status)


def job_answer(body: JobBody, status: int) -> Response:
    """Answer with a job, and when to ask again if it goes on."""
    response = answer(body, status)
    if body.state not in ENDED:
        response.headers["Retry-After"] = str(_retry_after_s(body.eta_s))
    return response


def job_body(job: Job) -> JobBody:
    """Return a job as its owner sees it."""
    return JobBody.of(job, services().estimates.estimate(job), job_links(job.id))


def _retry_after_s(eta_s: float | None) -> int:
    return max(1, ceil(eta_s)) if eta_s is not None else NO_WORKERS_RETRY_S


def job_links(job_id: str) -> JobLinks:
    """Return the links of a job."""
    return JobLinks(
        self=url_for("jobs.get_job", job_id=job_id),
        result=url_for("jobs.get_result", job_id=job_id),
        events=url_for("jobs.listen", job_id=job_id),
        cancel=url_for("jobs.cancel_job", job_id=job_id),
    )
