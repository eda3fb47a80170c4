"""The page: one template, rendered with what the service offers."""

from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, current_app, make_response, render_template, request, url_for

from shared.images import Format
from shared.settings import MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN
from shared.styles import Style, Styles
from web.languages import COOKIE, LANGUAGES, language_of, words_of

if TYPE_CHECKING:
    from shared.services import Services

YEAR_S = 365 * 24 * 3600

blueprint = Blueprint("page", __name__)


def _one_of_each_look(styles: Styles, default: str) -> list[Style]:
    """Of the sizes of a style the default one, or else the quickest."""
    by_preference = sorted(styles.values(), key=lambda one: (one.name != default, one.size.gmac_per_megapixel))
    chosen: dict[str, Style] = {}
    for style in by_preference:
        chosen.setdefault(style.look, style)
    return [style for style in styles.values() if chosen[style.look] is style]


@blueprint.get("/")
def index() -> Response:
    language = language_of(request)
    response = make_response(_page(language))
    response.headers["Content-Language"] = language
    response.vary.update(("Accept-Language", "Cookie"))
    if request.args.get("lang") == language:
        response.set_cookie(COOKIE, language, max_age=YEAR_S, httponly=True, samesite="Lax")
    return response


def _page(language: str) -> str:
    services = cast("Services", current_app.extensions["sakuga"])
    styles = [
        {
            "name": style.name,
            "title": style.title,
            "description": style.description,
            "size": style.size.value,
            "licence": style.licence,
            "preview": url_for("service.get_preview", name=style.name) if style.preview else None,
        }
        for style in _one_of_each_look(services.styles, services.settings.style)
    ]
    return render_template(
        "index.html",
        lang=language,
        languages=LANGUAGES,
        _=words_of(language),
        styles=styles,
        default_style=services.settings.style,
        formats=[format_.value for format_ in Format],
        format_default=Format.JPEG.value,
        max_side_default=MAX_SIDE_DEFAULT,
        max_side_min=MAX_SIDE_MIN,
        max_side_max=MAX_SIDE_MAX,
        max_upload_bytes=services.settings.max_upload_bytes,
        max_album_upload_bytes=services.settings.max_album_upload_bytes,
        max_megapixels=services.settings.max_megapixels,
        version=version("sakuga"),
    )
