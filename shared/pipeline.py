"""From the bytes of a photo to the bytes of a picture: decode, preprocess, generate, postprocess, encode.

Weights may draw at one size alone: the photo is then shrunk to that in preprocessing, and a close-up further, so that
faces are of a size that they draw well; the drawing is brought to the size that was asked for in postprocessing. So a
style looks the same at every size, and costs nearly the same. Small faces may be drawn apart, from the photo.

Pure: no files, no queue, no ML runtime; the engine is handed in.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from time import perf_counter
from typing import BinaryIO

import numpy as np
from PIL import Image

from shared.conversion import PREVIEW_SIDE, PREVIEWS_DRAWN_AT, PROGRESS_AT, Faces, Options, Stage, preview_name
from shared.drawing import DrawnAt, Draws, Engine, ProgressCallback, Tensor, ignore_progress, no_faces
from shared.enlarge import enlarge
from shared.photos.arrays import on_white, resized, size_of
from shared.photos.decoding import Photo, Rgb, decode
from shared.photos.encoding import PIXEL_BYTES, archive, encode
from shared.photos.formats import Format, Header, Limits
from shared.photos.sizes import drawn_side, drawn_size, fit
from shared.small_faces import PHOTO_SCALE, Face, Part, Sides, lack_pixels, parts, put_back

SMALLEST_SIDE = 32  # what every generator can take, in pixels


Checkpoint = Callable[[Stage, float], None]
"""Called as each stage begins and often within it, with the progress from 0 to 1; raises to stop."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The result: its bytes, size in pixels, what to tell the user, and seconds per stage."""

    data: bytes
    width: int
    height: int
    notes: tuple[str, ...]
    timings: dict[str, float]


@dataclass(slots=True)
class _Clock:
    checkpoint: Checkpoint
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        self.checkpoint(stage, PROGRESS_AT[stage])
        started = perf_counter()
        yield
        self.timings[f"{stage}_s"] = round(perf_counter() - started, 4)

    def report(self, stage: Stage) -> ProgressCallback:
        """Return what tells the share of a stage that is done, and may raise to stop."""
        begin = PROGRESS_AT[stage]
        end = min((progress for progress in PROGRESS_AT.values() if progress > begin), default=1.0)
        return lambda share: self.checkpoint(stage, round(begin + share * (end - begin), 3))


def convert(
    photo: bytes | BinaryIO,
    options: Options,
    engine: Engine,
    limits: Limits,
    *,
    checkpoint: Checkpoint = lambda _stage, _progress: None,
    decoding: Callable[[Header], AbstractContextManager[None]] = lambda _header: nullcontext(),
) -> Picture:
    """Convert one photo; `checkpoint` is called before every stage and within long ones, and may raise to stop.

    The photo is decoded within `decoding` of its header, which may limit what that takes.

    Raises:
        SakugaError: when the photo is too large, damaged, or no photo at all.
    """
    file = BytesIO(photo) if isinstance(photo, bytes) else photo
    clock = _Clock(checkpoint)
    with clock.stage(Stage.DECODE):
        within, tick = _with_room(engine, options, decoding), partial(clock.report(Stage.DECODE), 0)
        at = partial(decode, file, limits, max_side=options.max_side, within=within, checkpoint=tick)
        decoded, near, faces = _decoded(at, engine, options.faces)
    with clock.stage(Stage.PREPROCESS):
        size = fit(decoded.size, options.max_side) if engine.drawn_at else size_of(decoded.rgb)
        whole = to_draw(near, _drawing(engine, options.faces), decoded.size)
        prepared = _prepared(decoded.rgb, whole, size, faces)
    with clock.stage(Stage.GENERATE):
        drawings = _generated(prepared, engine, clock.report(Stage.GENERATE))
    with clock.stage(Stage.POSTPROCESS):
        picture = _assembled(prepared, drawings, clock.report(Stage.POSTPROCESS))
        alpha = None if decoded.alpha is None else resized(decoded.alpha, size)
        notes = _all_notes(decoded, options)
    del decoded, near, whole, prepared, drawings  # encoding takes as much memory again
    with clock.stage(Stage.ENCODE):
        data = encode(picture, alpha, options.format, partial(clock.report(Stage.ENCODE), 0))
    height, width = picture.shape[:2]
    return Picture(data, width, height, notes, clock.timings)


def preview(
    photo: bytes | BinaryIO,
    styles: Sequence[str],
    engine_of: Callable[[str], Engine],
    limits: Limits,
    *,
    checkpoint: Checkpoint = lambda _stage, _progress: None,
    decoding: Callable[[Header], AbstractContextManager[None]] = lambda _header: nullcontext(),
) -> Picture:
    """Draw one photo small in several styles; the result is a ZIP archive of a JPEG for each, of the size it tells.

    The photo is decoded once. Each engine is asked for when it is to draw: the one before may then rest.

    Raises:
        SakugaError: as `convert`, and what `engine_of` raises.
    """
    file = BytesIO(photo) if isinstance(photo, bytes) else photo
    clock = _Clock(checkpoint)
    with clock.stage(Stage.DECODE):
        decoded = decode(file, limits, max_side=PREVIEW_SIDE, drawn_at=PREVIEWS_DRAWN_AT, within=decoding)
    pictures: dict[str, Rgb] = {}
    with clock.stage(Stage.GENERATE):
        for done, style in enumerate(styles):
            clock.report(Stage.GENERATE)(done / len(styles))
            pictures[preview_name(style)] = draw_preview(decoded, engine_of(style))
    with clock.stage(Stage.ENCODE):
        data = archive({name: encode(picture, None, Format.JPEG) for name, picture in pictures.items()})
    return Picture(data, *fit(decoded.size, PREVIEW_SIDE), decoded.notes, clock.timings)


def draw_preview(photo: Photo, engine: Engine) -> Rgb:
    """Draw a photo small that was decoded for `PREVIEWS_DRAWN_AT`; the longest side is at most `PREVIEW_SIDE`."""
    whole = on_white(photo).rgb
    faces = engine.face_heights(whole) if engine.drawn_at else ()
    prepared, box = preprocess(resized(whole, drawn_size(photo.size, PREVIEWS_DRAWN_AT, faces)), engine)
    drawing = postprocess(engine.generate(prepared, ignore_progress), box)
    return resized(drawing, fit(photo.size, PREVIEW_SIDE), Image.Resampling.HAMMING)


def _with_room(
    engine: Engine, options: Options, decoding: Callable[[Header], AbstractContextManager[None]]
) -> Callable[[Header], AbstractContextManager[None]]:
    """Refuse what there can never be memory for as soon as the size of the photo is known, before it is decoded."""

    def within(header: Header) -> AbstractContextManager[None]:
        engine.require_room(fit((header.width, header.height), options.max_side), PIXEL_BYTES[options.format])
        return decoding(header)

    return within


def _decoded(at: Callable[..., Photo], engine: Engine, faces: Faces) -> tuple[Photo, Rgb, Collection[Face]]:
    """Decode a photo, lay it on white, and find its faces; where there are small ones, decode it larger for them.

    Returns it also as it is drawn and looked at.
    """
    photo = on_white(at(drawn_at=engine.drawn_at))
    near = _near(photo.rgb, photo.size, engine)
    found = _faces_in(near, engine, faces)
    decoded_side = max(size_of(photo.rgb))
    if engine.drawn_at and lack_pixels(found, decoded_side, drawn_side(photo.size, engine.drawn_at)):
        larger = PHOTO_SCALE * engine.drawn_at
        if decoded_side < min(max(photo.size), drawn_side(photo.size, larger)):
            photo = on_white(at(drawn_at=larger))
            near = photo.rgb
    return photo, near, found


def _near(photo: Rgb, own_size: tuple[int, int], engine: Engine) -> Rgb:
    """A photo no larger than drawing and finding faces takes: for a larger picture neither costs more, or differs."""
    if engine.drawn_at is None:
        return photo
    return resized(photo, fit(size_of(photo), drawn_side(own_size, PHOTO_SCALE * engine.drawn_at)))


def _faces_in(photo: Rgb, engine: Engine, faces: Faces) -> Collection[Face]:
    return engine.find_faces(photo) if engine.find_faces and engine.drawn_at and faces is Faces.AUTO else ()


def _drawing(engine: Engine, faces: Faces) -> Draws:
    return engine if faces is Faces.AUTO else DrawnAt(engine.drawn_at, no_faces)


def draw(photo: Rgb, engine: Engine, faces: Faces = Faces.AUTO) -> Rgb:
    """Draw a photo that is decoded already, at its own size, as `convert` does."""
    size = size_of(photo)
    near = _near(photo, size, engine)
    whole = to_draw(near, _drawing(engine, faces), size)
    prepared = _prepared(photo, whole, size, _faces_in(near, engine, faces))
    return _assembled(prepared, _generated(prepared, engine, ignore_progress), ignore_progress)


def to_draw(photo: Rgb, draws: Draws, size: tuple[int, int] | None = None) -> Rgb:
    """Bring a photo to the size at which it is drawn; `size` (w, h) is the photo's before it was decoded smaller."""
    if draws.drawn_at is None:
        return photo
    return resized(photo, drawn_size(size or size_of(photo), draws.drawn_at, draws.face_heights(photo)))


def preprocess(rgb: Rgb, engine: Engine) -> tuple[Tensor, tuple[slice, slice]]:
    """Scale to -1..1 (x / 127.5 - 1) and pad by reflection to what the engine takes; the slices crop it back."""
    height, width = rgb.shape[:2]
    top, bottom = _padding(height, engine)
    left, right = _padding(width, engine)
    padded = np.pad(rgb, ((top, bottom), (left, right), (0, 0)), mode="reflect")
    tensor = np.empty((1, 3, *padded.shape[:2]), np.float32)
    np.divide(padded.transpose(2, 0, 1), np.float32(127.5), out=tensor[0])
    np.subtract(tensor, np.float32(1), out=tensor)
    return tensor, (slice(top, top + height), slice(left, left + width))


def postprocess(generated: Tensor, box: tuple[slice, slice]) -> Rgb:
    """Crop the padding away and bring -1..1 back to 0..255, clipped and rounded."""
    levels = generated[0][:, *box] + np.float32(1)
    np.multiply(levels, np.float32(127.5), out=levels)
    np.clip(levels, 0, 255, out=levels)
    np.rint(levels, out=levels)
    picture = np.empty((*levels.shape[1:], 3), np.uint8)
    for channel in range(3):  # one by one: what is slow is to write bytes across each other
        picture[..., channel] = levels[channel]
    return picture


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A photo, the `size` of its picture, and all that is drawn for it, as large as it is drawn: the whole, and faces.

    `around_faces` are the parts with faces, whether drawn apart or not.
    """

    photo: Rgb
    size: tuple[int, int]
    whole: Rgb
    faces: tuple[tuple[Part, Rgb], ...] = ()
    around_faces: tuple[Part, ...] = ()


def _prepared(photo: Rgb, whole: Rgb, size: tuple[int, int], faces: Collection[Face]) -> _Prepared:
    around_faces = parts(faces, size, Sides(max(size_of(photo)), max(size_of(whole)), max(size)))
    apart = tuple((part, part.seen_in(photo, size, part.drawn_size)) for part in around_faces if part.drawn_size)
    return _Prepared(photo, size, whole, apart, tuple(around_faces))


def _generated(prepared: _Prepared, engine: Engine, report: ProgressCallback) -> list[Rgb]:
    """Draw the whole and each face; `report` is called with the share of all pixels that are drawn."""
    photos = [prepared.whole, *(photo for _, photo in prepared.faces)]
    pixels, done, drawings = sum(photo.size for photo in photos), 0, []
    for photo in photos:
        tensor, box = preprocess(photo, engine)
        generated = engine.generate(tensor, _part_of(report, done / pixels, photo.size / pixels))
        drawings.append(postprocess(generated, box))
        done += photo.size
    return drawings


def _part_of(report: ProgressCallback, before: float, part: float) -> ProgressCallback:
    return lambda share: report(before + share * part)


def _assembled(prepared: _Prepared, drawings: Sequence[Rgb], report: ProgressCallback) -> Rgb:
    """Put the picture together from the drawings of the whole and of the faces."""
    photo, size = prepared.photo, prepared.size
    picture = _brought_to(size, drawings[0], prepared.whole, photo, report)
    if not prepared.faces:
        return picture
    finishing = _part_of(report, 1, 0)
    faces = (
        (part, _brought_to(part.size, drawing, drawn, part.seen_in(photo, size, part.size), finishing))
        for (part, drawn), drawing in zip(prepared.faces, drawings[1:], strict=True)
    )
    return put_back(picture, faces, prepared.around_faces)


def _brought_to(size: tuple[int, int], drawing: Rgb, base: Rgb, photo: Rgb, report: ProgressCallback) -> Rgb:
    """The drawing of `base` at the size of the picture, (width, height), which `photo` has if it is the larger one."""
    if max(size) <= max(size_of(drawing)):
        return resized(drawing, size, Image.Resampling.HAMMING)  # no rings beside lines
    return enlarge(drawing, base, resized(photo, size), report)


def _padding(length: int, engine: Engine) -> tuple[int, int]:
    wanted = max(length + 2 * engine.margin, SMALLEST_SIDE)
    total = -(-wanted // engine.multiple) * engine.multiple - length
    before = engine.margin
    return before, total - before


def _all_notes(photo: Photo, options: Options) -> tuple[str, ...]:
    if photo.alpha is not None and not options.format.keeps_alpha:
        return (*photo.notes, "JPEG has no transparency; it was filled with white. Choose png or webp to keep it.")
    return photo.notes
