"""The page: one template, rendered with what the service offers, and another for signing in."""

from importlib.metadata import version
from pathlib import Path
from typing import cast

from flask import Blueprint, Response, current_app, g, make_response, redirect, render_template, request, url_for

from shared.conversion import Faces
from shared.photos.formats import MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, Format
from shared.styles import Style, Styles
from web import context
from web.access import known_caller
from web.languages import LANGUAGES, description_in, language_of, tell_language, time_in_words, words_of
from web.sessions import COOKIE as SESSION_COOKIE
from web.sessions import SESSION_S, begin_session, end_session

blueprint = Blueprint("page", __name__)


def _one_of_each_look(styles: Styles, default: str) -> list[Style]:
    """Return one size of each style: the default one, or else the fastest."""
    by_preference = sorted(styles.values(), key=lambda one: (one.name != default, one.size.gmac_per_megapixel))
    chosen: dict[str, Style] = {}
    for style in by_preference:
        chosen.setdefault(style.look, style)
    return [style for style in styles.values() if chosen[style.look] is style]


@blueprint.get("/")
def index() -> Response:
    language = language_of(request)
    response = make_response(_page(language) if known_caller() else _sign_in_page(language))
    return tell_language(response, language, request)


@blueprint.post("/")
def sign_in() -> Response:
    """Begin a session with a key, and redirect back; browsers keep the fragment of the address."""
    services = context.services()
    found = services.api_keys.find(request.form.get("key", "").strip()) if services.api_keys.are_required else None
    response = _back(is_refused=services.api_keys.are_required and found is None)
    if found:
        response.set_cookie(
            SESSION_COOKIE,
            begin_session(services.redis, services.clock, found[1]),
            max_age=SESSION_S,
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
    return response


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End the session, and make the browser delete what it has stored of its jobs and albums."""
    if session := request.cookies.get(SESSION_COOKIE):
        end_session(context.services().redis, session)
    response = _back()
    response.delete_cookie(SESSION_COOKIE)
    response.headers["Clear-Site-Data"] = '"storage"'
    return response


def _back(*, is_refused: bool = False) -> Response:
    address = url_for("page.index", refused="key" if is_refused else None, lang=request.args.get("lang"))
    return cast("Response", redirect(address, 303))


def _sign_in_page(language: str) -> str:
    is_signed_out = SESSION_COOKIE in request.cookies and not g.is_queue_away  # otherwise that is unknown
    return render_template(
        "sign-in.html",
        lang=language,
        languages=LANGUAGES,
        _=words_of(language),
        is_refused="refused" in request.args or is_signed_out,
        may_be_signed_in=request.headers.get("Sec-Fetch-Site") == "cross-site" and "again" not in request.args,
        version=version("sakuga"),
    )


def _example(style: Style) -> str | None:
    """Return the address of the example photo in this style; there is none of an imported one."""
    file = f"example-{style.look}.webp"
    folder = Path(current_app.static_folder or "")
    return url_for("static", filename=file) if (folder / file).is_file() else None


def _page(language: str) -> str:
    services = context.services()
    styles = [
        {
            "name": style.name,
            "title": style.title,
            "description": description_in(language, style.description),
            "example": _example(style),
            "size": style.size.value,
            "licence": style.licence,
            "preview": url_for("service.get_preview", name=style.name) if style.preview else None,
        }
        for style in _one_of_each_look(services.styles, services.default_style)
    ]
    return render_template(
        "index.html",
        lang=language,
        languages=LANGUAGES,
        _=words_of(language),
        styles=styles,
        default_style=services.default_style,
        formats=[format_.value for format_ in Format],
        format_default=Format.JPEG.value,
        faces=[faces.value for faces in Faces],
        faces_default=Faces.AUTO.value,
        max_side_default=MAX_SIDE_DEFAULT,
        max_side_min=MAX_SIDE_MIN,
        max_side_max=MAX_SIDE_MAX,
        max_upload_bytes=services.settings.max_upload_bytes,
        max_album_upload_bytes=services.settings.max_album_upload_bytes,
        max_megapixels=services.settings.max_megapixels,
        is_signed_in=services.api_keys.are_required,
        kept_for=time_in_words(services.settings.ttl_s, language),
        version=version("sakuga"),
    )
