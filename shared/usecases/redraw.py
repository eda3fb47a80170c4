"""Drawing an album in another style: a new album of the same photos, which are not sent again."""

from collections.abc import Iterator
from typing import Final

from shared.albums.record import Album, Entry, Item
from shared.albums.walks import Action, Walk
from shared.conversion import Options
from shared.errors import UnknownAlbumError
from shared.jobs.record import ErrorInfo, State, error_info
from shared.services import Services
from shared.storage.base import MissingObjectError
from shared.styles import Style
from shared.usecases.albums import start_album
from shared.usecases.uploads import is_final, replace_photo

AT_ONCE: Final = 10  # photos, between which a cancel takes effect


def redraw_album(services: Services, source: Album, style: Style, options: Options) -> Album:
    """Begin an album of the photos of another one, which a worker node adds soon.

    Raises:
        MissingObjectError: `source` does not keep its photos.
        QueueFullError: Redis is nearly full.
    """
    if not source.keep_photos:
        raise MissingObjectError("This album did not keep its photos; only one created with `keep_photos` does.")
    album = start_album(services, source.caller, source.name, style, options, keep_photos=True, source=source.id)
    services.walks.put(Walk(album.caller, album.id, Action.REDRAW))
    return album


def redraw_pages(services: Services, album_id: str) -> Iterator[None]:
    """Add the photos of its source to an album, some at a time; those that it has already are left alone.

    Raises:
        SakugaError: a photo cannot be added now; a retry may succeed.
    """
    try:
        album = services.albums.get(album_id)
        source = album.source or ""
        names = services.albums.names(source)
        for place in range(0, len(names), AT_ONCE):
            some = names[place : place + AT_ONCE]
            known = {entry.item.name for entry in services.albums.get_many(album.id, some)}
            for entry in services.albums.get_many(source, some):
                if entry.item.name not in known:
                    _redraw(services, album, entry)
            yield
    except UnknownAlbumError:
        return  # it was deleted meanwhile


def _redraw(services: Services, album: Album, entry: Entry) -> None:
    """Add one photo; one that was refused, or is gone, is refused here too."""
    item = entry.item
    if error := item.error or _missing(services, album, entry):
        services.albums.put(album, Item(item.name, sha256=item.sha256, error=error), None)


def _missing(services: Services, album: Album, entry: Entry) -> ErrorInfo | None:
    """Add a photo that was accepted before; return what to say if it is not there any more."""
    if entry.job is None or entry.job.state is State.EXPIRED:
        return error_info(MissingObjectError("The photo has expired; please send it again."))
    try:
        with services.store.open(entry.job.photo_key) as photo:
            refusal = replace_photo(services, album, entry.item.name, photo).error
    except MissingObjectError as error:
        return error_info(error)
    if refusal and not is_final(refusal):
        raise refusal
    return None
