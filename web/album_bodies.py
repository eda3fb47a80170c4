"""The bodies of albums and their photos in the albums API."""

from flask import url_for

from shared.albums.record import Album, Entry
from shared.jobs.record import State, error_info
from shared.usecases.archive_uploads import Skipped
from shared.usecases.uploads import UploadResult
from web.album_schemas import (
    AcceptedPhoto,
    AlbumBody,
    AlbumLinks,
    AlbumPhoto,
    Counts,
    RejectedPhoto,
    SkippedFile,
    UploadBody,
)
from web.context import services
from web.jobs import job_body, job_links
from web.schemas import rounded, utc


def album_body(album: Album) -> AlbumBody:
    """Return the body of an album, with its counts at this moment."""
    counts = services().albums.counts(album.id)
    unfinished, all_photos = counts[State.QUEUED] + counts[State.RUNNING], sum(counts.values())
    return AlbumBody(
        **album.model_dump(include={"id", "name", "style", "max_side", "format", "faces", "keep_photos"}),
        counts=Counts(**{state.value: number for state, number in counts.items()}),
        progress=round(1 - unfinished / all_photos, 4) if all_photos else 0.0,
        eta_s=rounded(services().estimates.album_eta_s(album.caller, album.id)) if unfinished else None,
        pending=services().walks.pending(album.caller, album.id),
        created_at=utc(album.created_at),
        expires_at=utc(album.expires_at),
        links=album_links(album),
    )


def album_links(album: Album) -> AlbumLinks:
    """Return the paths of an album's resources."""

    def link(view: str) -> str:
        return url_for(f"albums.{view}", album_id=album.id)

    return AlbumLinks(
        self=link("get_album"),
        photos=link("list_photos"),
        events=link("listen_to_album"),
        archive=link("get_archive"),
        check=link("check_album"),
        retry=link("retry_album"),
        redraw=link("redraw_album"),
        cancel=link("cancel_album"),
    )


def photo_body(entry: Entry) -> AlbumPhoto:
    """Return the body of a photo of an album."""
    item, job = entry.item, entry.job
    gone = State.FAILED if item.error else State.EXPIRED
    return AlbumPhoto(
        name=item.name,
        sha256=item.sha256,
        state=job.state if job else gone,
        job=job_body(job) if job else None,
        error=item.error or (job.error if job else None),
    )


def accepted(taken: UploadResult) -> AcceptedPhoto:
    """Return the body of a photo with a job; raise the error if it has none."""
    job = taken.require_job()
    return AcceptedPhoto(name=taken.name, job=job.id, links=job_links(job.id))


def note(outcome: UploadResult | Skipped, body: UploadBody) -> None:
    """Add one file of an upload to what is answered."""
    if isinstance(outcome, Skipped):
        body.skipped.append(SkippedFile(name=outcome.name, code=outcome.code, detail=outcome.detail))
    elif outcome.error:
        error = error_info(outcome.error)
        body.rejected.append(RejectedPhoto(name=outcome.name, error=error, retry_after_s=outcome.error.retry_after_s))
    else:
        body.accepted.append(accepted(outcome))
