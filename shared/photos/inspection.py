"""Inspecting a photo's header before anything is decoded: its format, its size, whether it is complete.

No codec runs here: a file that crashes one costs the job that decodes it, and not the process that takes everybody's
uploads.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Final

from PIL import Image

from shared.errors import DamagedPhotoError
from shared.photos import bmp, containers, jpeg, jpeg2000, kinds, png, psd, raw
from shared.photos.colour_spaces import ColourSpace
from shared.photos.formats import Header, Limits, too_many_bytes
from shared.photos.frames import Rectangle
from shared.photos.opening import damaged_header, open_image, require_size, stands_sideways
from shared.photos.reading import CODEC_ERRORS, HeaderReader, excerpt, patched

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_LAST_BLOCKS: Final = 4  # of a JPEG; some encoders leave out their last bits


@dataclass(frozen=True, slots=True)
class Examined:
    """The facts about a photo that are known before it is decoded.

    `file` has what its decoder needs. `with_noise` returns the same with other bytes wherever its decoder would read on
    if something were missing: if they make a difference to more than `missing_blocks`, it is. That can be ruled out
    without it where a photo `shows_gaps`, and there are none. `orientation` counts where the photo has none of its own,
    `profile` (ICC) where its decoder does not see it, and `transparent`, a level or a colour, in place of what its
    decoder says. Of the image only `part` is to be seen, before it is turned, and nothing around `frame`; if it
    `is_opaque`, its alpha means something else.
    """

    header: Header
    file: BinaryIO
    with_noise: Callable[[], BinaryIO] | None = None
    shows_gaps: bool = False
    missing_blocks: int = 0
    orientation: int = 1
    part: Rectangle | None = None
    frame: Rectangle | None = None
    space: ColourSpace | None = None
    profile: Callable[[], bytes | None] = lambda: None
    transparent: int | tuple[int, ...] | None = None
    is_opaque: bool = False
    is_animated: bool = False
    notes: tuple[str, ...] = ()


def inspect(file: BinaryIO, limits: Limits) -> Header:
    """Check a photo by its header alone, in constant memory and a bounded number of reads; no codec is run.

    Raises:
        PhotoTooLargeError: too many bytes or megapixels.
        NotAPhotoError: none of the formats we read.
        DamagedPhotoError: one of them, but broken or cut short.
        UnusablePhotoError: narrower or lower than 16 pixels.
    """
    return examine(file, limits).header


def examine(file: BinaryIO, limits: Limits) -> Examined:
    """Return all that a photo's header tells; raises what `inspect` does."""
    size = file.seek(0, io.SEEK_END)
    if size > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)
    reader = HeaderReader(file)
    reader.seek(0)
    head = reader.read(kinds.HEAD_BYTES)
    kinds.require_none_of_them(head)
    if containers.is_known(head[:16]):
        return _measured(reader, limits, size)
    if raw.is_raw(reader):
        return _embedded(HeaderReader(file), limits, size)
    return _opened(file, limits, size)


def cut_short() -> DamagedPhotoError:
    return DamagedPhotoError("The photo is damaged or incomplete.")


def _measured(reader: HeaderReader, limits: Limits, size: int) -> Examined:
    """Check a photo that only a codec could open."""
    try:
        sides = containers.measure(reader, size)
    except EOFError as error:
        raise cut_short() from error
    except CODEC_ERRORS as error:
        raise damaged_header() from error
    require_size(sides.stored, limits)
    require_size(sides.seen, limits)
    if sides.format == "WEBP" and int.from_bytes(reader.read_at(4, 4), "little") + 8 > size:
        raise cut_short()
    image = Image.Image()
    image.info |= {"exif": sides.exif} if sides.exif else {}
    image.info |= {"xmp": sides.xmp} if sides.xmp else {}
    header = _header(sides.format, sides.seen, is_sideways=stands_sideways(image))
    file = patched(reader.file, sides.patches, size) if sides.patches else reader.file
    return Examined(header, file, part=sides.part, frame=sides.frame, space=sides.space, is_animated=sides.is_sequence)


def _embedded(reader: HeaderReader, limits: Limits, size: int) -> Examined:
    """Check the photo that a camera embedded in a raw file."""
    place = raw.preview(reader, size)
    orientation = raw.orientation(reader)
    photo = excerpt(reader.file, [(place, size)])
    opened = _opened(photo, limits, size - place, orientation)
    return replace(
        opened,
        orientation=orientation,
        notes=("This is a raw file; the preview that the camera put in it was converted.",),
    )


def _opened(file: BinaryIO, limits: Limits, size: int, orientation: int = 1) -> Examined:
    """Check a photo that opens without a codec."""
    found, is_whole = _stripped(file, size)
    image = open_image(HeaderReader(found.file), limits)
    require_size(image.size, limits)
    if not is_whole:
        raise cut_short()
    header = _header(image.format or "unknown", image.size, is_sideways=stands_sideways(image, orientation))
    tiles = getattr(image, "tile", [])
    decoder = tiles[0].codec_name if tiles else ""
    return replace(found, header=replace(header, decoder=decoder, passes=found.header.passes))


def _stripped(file: BinaryIO, size: int) -> tuple[Examined, bool]:
    """Leave out what the decoder of a JPEG or PNG does not need; the second tells whether it may be whole.

    Of a JPEG 2000 and a BMP, find the profile; of a Photoshop document, whether alpha means transparency.
    """
    reader, found = HeaderReader(file), Examined(Header(0, 0, ""), file)
    reader.seek(0)
    signature = reader.read(8)
    try:
        if signature.startswith(_JPEG):
            return _stripped_jpeg(found, jpeg.outline(reader, size))
        if signature == _PNG:
            return _stripped_png(found, png.outline(reader, size))
        if signature == jpeg2000.SIGNATURE:
            profile = jpeg2000.profile(reader, size)
            return replace(found, profile=lambda: profile), True
        if signature.startswith(bmp.SIGNATURE):
            return replace(found, profile=partial(bmp.profile, reader)), True
        if signature.startswith(psd.SIGNATURE):
            return replace(found, is_opaque=psd.is_opaque(reader)), True
    except CODEC_ERRORS as error:
        raise damaged_header() from error
    return found, True


def _stripped_jpeg(found: Examined, outline: jpeg.Outline) -> tuple[Examined, bool]:
    end = [] if outline.has_end else [jpeg.END]

    def with_noise() -> BinaryIO:
        if (parts := outline.with_noise(HeaderReader(found.file))) is None:
            raise cut_short()
        return excerpt(found.file, [*parts, *end])

    stripped = replace(
        found,
        header=replace(found.header, passes=outline.scans),
        file=excerpt(found.file, [*outline.parts, *end]),
        with_noise=with_noise if outline.is_checkable else None,
        shows_gaps=outline.shows_gaps and outline.has_end,
        missing_blocks=_LAST_BLOCKS if outline.has_end else 0,
    )
    return stripped, outline.may_be_whole


def _stripped_png(found: Examined, outline: png.Outline) -> tuple[Examined, bool]:
    stripped = replace(
        found,
        file=excerpt(found.file, outline.parts),
        space=outline.colour_space(),
        profile=outline.profile,
        transparent=outline.transparent(),
        is_animated=outline.is_animated,
    )
    return stripped, outline.is_whole


def _header(format_name: str, size: tuple[int, int], *, is_sideways: bool) -> Header:
    width, height = reversed(size) if is_sideways else size
    return Header(width, height, format_name)
