"""Routes about the service itself: styles, limits, statistics, health, metrics and the API document."""

from typing import cast

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request, send_file, url_for
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis.exceptions import RedisError

from shared.errors import UnknownPreviewError, public_errors
from shared.jobs.record import Lane
from shared.photos.formats import MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, MIN_SIDE, Format
from shared.styles import Style
from web.access import require_caller
from web.context import services as _services
from web.languages import LANGUAGES, language_of, reference_words_of, tell_language
from web.openapi import Access, operation
from web.readiness import check_of
from web.schemas import answer
from web.system_schemas import LaneBody, LimitsBody, Range, ReadyBody, StatsBody, StyleBody, StyleList

blueprint = Blueprint("service", __name__)  # also the tag of these operations in the API document


@blueprint.get("/api/v1/styles")
@operation("List styles", answers={200: StyleList})
def list_styles() -> Response:
    services = _services()
    pace = services.estimates.pace()
    styles = [_style_body(style, pace.get(style.name)) for style in services.styles.values()]
    return answer(StyleList(styles=styles, default=services.default_style))


@blueprint.get("/api/v1/styles/<name>/preview")
@operation("Download a style's preview picture", answers={200: "image/*"}, problems=(404,))
def get_preview(name: str) -> Response:
    styles = _services().styles
    preview = styles[name].preview_path if name in styles else None
    if preview is None:
        raise UnknownPreviewError("This style has no preview.")
    return send_file(preview, conditional=True, max_age=3600)


@blueprint.get("/api/v1/limits")
@operation("Get the service's limits", answers={200: LimitsBody})
def get_limits() -> Response:
    settings, caller = _services().settings, require_caller()
    return answer(
        LimitsBody(
            max_upload_bytes=settings.max_upload_bytes,
            max_megapixels=settings.max_megapixels,
            max_side=Range(min=MAX_SIDE_MIN, max=MAX_SIDE_MAX, default=MAX_SIDE_DEFAULT),
            min_photo_side=MIN_SIDE,
            formats=list(Format),
            max_album_photos=settings.max_album_photos,
            max_album_upload_bytes=settings.max_album_upload_bytes,
            max_queued_megapixels=settings.max_queued_megapixels,
            job_time_limit_s=settings.job_time_limit_s,
            ttl_s=settings.ttl_s,
            requests_per_minute=caller.requests_per_minute or settings.requests_per_minute,
            megapixels_per_day=caller.megapixels_per_day,
            megapixels_left=_services().quotas.left(caller.id),
        )
    )


@blueprint.get("/api/v1/stats")
@operation("Get queue and worker statistics", answers={200: StatsBody}, access=Access.OPERATE)
def get_stats() -> Response:
    waiting = {lane: _services().lanes.stats(lane) for lane in Lane}
    pace, processes = _services().estimates.pace(), _services().workers.count()
    one = pace.get(_services().default_style)
    return answer(
        StatsBody(
            lanes={lane: LaneBody(jobs=stats.jobs, megapixels=stats.megapixels) for lane, stats in waiting.items()},
            worker_processes=processes,
            megapixels_per_s=pace,
            rate_megapixels_per_s=None if one is None else round(one * processes, 4),
            eta_error=_services().estimates.eta_error(),
        )
    )


@blueprint.get("/livez")
@operation("Liveness check", answers={200: "text/plain"}, access=Access.ANYBODY)
def livez() -> Response:
    return Response("ok\n", content_type="text/plain")


@blueprint.get("/readyz")
@operation("Readiness check", answers={200: ReadyBody, 503: ReadyBody}, access=Access.ANYBODY)
def readyz() -> Response:
    redis, workers = _workers()
    store = check_of("store").answers()
    body = ReadyBody(ready=redis and store and workers > 0, redis=redis, store=store, workers=workers)
    return answer(body, 200 if body.ready else 503)


@blueprint.get("/metrics")
@operation("Prometheus metrics", answers={200: "text/plain"}, access=Access.OPERATE)
def metrics() -> Response:
    registry = cast("CollectorRegistry", current_app.extensions["sakuga-metrics"])
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    return jsonify(current_app.extensions["sakuga-openapi"]())


@blueprint.get("/docs")
def docs() -> Response:
    language = language_of(request)
    page = render_template(
        "docs.html",
        lang=language,
        languages=LANGUAGES,
        _=reference_words_of(language),
        spec=current_app.extensions["sakuga-openapi"](),
        base_url=request.host_url,
        errors=public_errors(),
    )
    return tell_language(make_response(page), language, request)


def _style_body(style: Style, megapixels_per_s: float | None) -> StyleBody:
    preview = url_for("service.get_preview", name=style.name) if style.preview else None
    known = style.model_dump(include=set(StyleBody.model_fields) - {"preview"})
    cost = style.size.gmac_per_megapixel
    return StyleBody(**known, gmac_per_megapixel=cost, megapixels_per_s=megapixels_per_s, preview=preview)


def _workers() -> tuple[bool, int]:
    if not (check_of("queue").answers() and check_of("writes").answers()):
        return False, 0
    try:
        return True, _services().workers.count()
    except RedisError:
        return False, 0
