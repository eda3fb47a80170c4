"""The albums API: many photos, one resource."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request
from werkzeug.datastructures import FileStorage

from shared.albums.record import Album
from shared.albums.walks import Action
from shared.conversion import Options
from shared.errors import BadRequestError, SakugaError
from shared.usecases import albums, redraw
from shared.usecases.archive_uploads import ArchiveUpload, Skipped
from shared.usecases.uploads import Numbering, UploadResult, add_photo, replace_photo
from shared.usecases.walks import walk_album
from web.album_bodies import accepted, album_body, album_links, note, photo_body
from web.album_schemas import (
    AcceptedPhoto,
    AlbumBody,
    AlbumName,
    AlbumOptions,
    AlbumPhotoPage,
    CheckOptions,
    MissingBody,
    NewAlbumBody,
    PhotoPageOptions,
    RedrawOptions,
    UploadBody,
)
from web.archive import archive_of
from web.context import services
from web.events import album_stream
from web.held_requests import last_event_id, stream_response
from web.openapi import Access, Takes, operation
from web.resources import caller_id, own_album, spooled_body
from web.schemas import answer

if TYPE_CHECKING:
    from web.rates import Rates

FORM_PARTS = 500  # files of one request; archives hold more
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

_REDRAW = (
    "Creates another album of the same photos, which are not uploaded again. This takes an album that was created with "
    "`keep_photos`, until its photos expire. They are added within seconds; until then, `pending` has `redraw`."
)

blueprint = Blueprint("albums", __name__, url_prefix="/api/v1/albums")


@blueprint.post("")
@operation(
    "Create an album",
    options=AlbumOptions,
    takes=Takes.JSON,
    answers={201: NewAlbumBody},
    problems=(400, 422),
    sends={201: ("Location",)},
    access=Access.SUBMIT,
)
def create_album(options: AlbumOptions) -> Response:
    style = services().styles[options.style or services().default_style]
    rates: Rates = current_app.extensions["sakuga-rates"]
    rates.count_album()
    album = albums.start_album(
        services(),
        caller_id(),
        options.name,
        style,
        Options(options.max_side, options.format, options.faces),
        webhook=options.webhook,
        keep_photos=options.keep_photos,
    )
    return _created(album)


@blueprint.post("/<album_id>/redraw")
@operation(
    "Draw an album in another style",
    description=_REDRAW,
    options=RedrawOptions,
    takes=Takes.JSON,
    answers={201: NewAlbumBody},
    problems=(400, 404, 410, 422, 503),
    sends={201: ("Location",)},
    access=Access.SUBMIT,
)
def redraw_album(album_id: str, options: RedrawOptions) -> Response:
    source, style = own_album(album_id), services().styles[options.style]
    drawing = Options(
        options.max_side or source.max_side, options.format or source.format, options.faces or source.faces
    )
    rates: Rates = current_app.extensions["sakuga-rates"]
    rates.count_album()
    return _created(redraw.redraw_album(services(), source, style, drawing))


@blueprint.get("/<album_id>")
@operation("Get an album", answers={200: AlbumBody}, problems=(404,), access=Access.READ)
def get_album(album_id: str) -> Response:
    return answer(album_body(own_album(album_id)))


@blueprint.patch("/<album_id>")
@operation(
    "Rename an album",
    options=AlbumName,
    takes=Takes.JSON,
    answers={200: AlbumBody},
    problems=(400, 404, 422),
    access=Access.SUBMIT,
)
def rename_album(album_id: str, options: AlbumName) -> Response:
    return answer(album_body(services().albums.rename(own_album(album_id), options.name)))


@blueprint.post("/<album_id>/check")
@operation(
    "Check which photos are missing",
    options=CheckOptions,
    takes=Takes.JSON,
    answers={200: MissingBody},
    problems=(400, 404, 422),
    access=Access.SUBMIT,
)
def check_album(album_id: str, options: CheckOptions) -> Response:
    album = own_album(album_id)
    digests = list(dict.fromkeys(options.sha256))
    return answer(MissingBody(missing=services().albums.missing(album.id, digests)))


@blueprint.put("/<album_id>/photos/<path:name>")
@operation(
    "Add a photo by name",
    takes=Takes.IMAGE,
    answers={202: AcceptedPhoto},
    problems=(400, 404, 413, 415, 422, 503),
    access=Access.SUBMIT,
)
def put_photo(album_id: str, name: str) -> Response:
    album = own_album(album_id)
    with spooled_body(services().settings.max_upload_bytes) as photo:
        taken = replace_photo(services(), album, name, photo)
    return answer(accepted(taken), 202)


@blueprint.post("/<album_id>/photos")
@operation(
    "Add several photos, or ZIP archives of them",
    takes=Takes.PHOTOS,
    answers={202: UploadBody},
    problems=(400, 404, 413, 503),
    access=Access.SUBMIT,
)
def add_photos(album_id: str) -> Response:
    album = own_album(album_id)
    request.max_content_length = services().settings.max_album_upload_bytes
    request.max_form_parts = FORM_PARTS
    uploads = request.files.getlist("photos")
    if not uploads:
        raise BadRequestError("Send photos or ZIP archives as files in the multipart field `photos`.")
    numbering = Numbering()
    archives = ArchiveUpload(services(), album, numbering)
    body = UploadBody(accepted=[], rejected=[], skipped=[])
    for upload in uploads:
        for outcome in _taken(album, upload, numbering, archives):
            note(outcome, body)
    return answer(body, 202)


@blueprint.get("/<album_id>/photos")
@operation(
    "List an album's photos",
    options=PhotoPageOptions,
    answers={200: AlbumPhotoPage},
    problems=(404, 422),
    access=Access.READ,
)
def list_photos(album_id: str, options: PhotoPageOptions) -> Response:
    album = own_album(album_id)
    page = services().albums.page(album.id, cursor=options.cursor, count=options.limit)
    return answer(AlbumPhotoPage(photos=[photo_body(entry) for entry in page.entries], next_cursor=page.next_cursor))


@blueprint.get("/<album_id>/events")
@operation(
    "Stream an album's events",
    answers={200: "text/event-stream", 204: None},
    problems=(400, 404, 503),
    headers={"Last-Event-ID": "Resume after this event"},
    access=Access.READ,
)
def listen_to_album(album_id: str) -> Response:
    album = own_album(album_id)
    after = last_event_id()
    if after and after == services().albums.last_event(album.id) and _has_ended(album):
        return Response(status=204)  # tells an EventSource not to reconnect
    return stream_response(
        lambda slot: album_stream(
            services().albums,
            slot,
            album.id,
            after=after,
            has_ended=lambda: _has_ended(album),
            render=lambda: album_body(services().albums.get(album.id)).model_dump_json(),
            render_photo=lambda entry: photo_body(entry).model_dump_json(),
        ),
        "text/event-stream",
    )


@blueprint.get("/<album_id>/archive")
@operation(
    "Download all pictures as a ZIP archive", answers={200: "application/zip"}, problems=(404, 503), access=Access.READ
)
def get_archive(album_id: str) -> Response:
    """Stream the pictures that are done, then the others as they finish, and finally the reasons of failures."""
    album = own_album(album_id)
    response = stream_response(lambda slot: archive_of(services(), slot, album), "application/zip")
    response.headers["Content-Disposition"] = _disposition(album)
    return response


@blueprint.post("/<album_id>/retry")
@operation(
    "Retry an album's failed photos",
    answers={200: AlbumBody, 202: AlbumBody},
    problems=(404, 503),
    access=Access.SUBMIT,
)
def retry_album(album_id: str) -> Response:
    return _walked(own_album(album_id), Action.RETRY)


@blueprint.post("/<album_id>/cancel")
@operation("Cancel an album", answers={200: AlbumBody, 202: AlbumBody}, problems=(404,), access=Access.SUBMIT)
def cancel_album(album_id: str) -> Response:
    return _walked(own_album(album_id), Action.CANCEL)


@blueprint.delete("/<album_id>")
@operation(
    "Delete an album with its photos and pictures",
    answers={204: None, 202: AlbumBody},
    problems=(404,),
    access=Access.SUBMIT,
)
def delete_album(album_id: str) -> Response:
    album = own_album(album_id)
    return Response(status=204) if walk_album(services(), album, Action.ERASE) else answer(album_body(album), 202)


def _created(album: Album) -> Response:
    response = answer(NewAlbumBody(**dict(album_body(album)), webhook_secret=album.secret), 201)
    response.headers["Location"] = album_links(album).self
    return response


def _walked(album: Album, action: Action) -> Response:
    """Answer with the album; 202 while a worker is still to do it, as `pending` says."""
    is_done = walk_album(services(), album, action)
    return answer(album_body(album), 200 if is_done else 202)


def _taken(
    album: Album, upload: FileStorage, numbering: Numbering, archives: ArchiveUpload
) -> Iterator[UploadResult | Skipped]:
    """Add one file of a form, a photo or an archive of photos."""
    file, name = cast("BinaryIO", upload.stream), upload.filename or "photo"
    try:
        if _is_archive(file):
            yield from archives.add(file)
        else:
            yield add_photo(services(), album, name, file, numbering)
    except SakugaError as error:
        yield UploadResult(name, error=error)


def _has_ended(album: Album) -> bool:
    """Return whether nothing of the album changes any more by itself."""
    return services().albums.has_ended(album.id) and not services().walks.pending(album.caller, album.id)


def _is_archive(file: BinaryIO) -> bool:
    magic = file.read(4)
    file.seek(0)
    return magic in ZIP_MAGIC


def _disposition(album: Album) -> str:
    """Save it under the album's name: for old clients in plain letters, for all others (RFC 6266) as it is."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", album.name or "").strip("-") or f"sakuga-{album.id[:8]}"
    full = re.sub(r'[\x00-\x1f\x7f/\\<>:"|?*]+', "-", album.name or "").strip(" .-") or plain
    return f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(full)}.zip"
