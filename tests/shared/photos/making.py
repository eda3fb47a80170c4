"""Files that no encoder at hand writes: TIFFs of any layout, raw files, damaged chunks."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ImageCms

from shared.photos.decoding import Photo, decode
from tests.shared.test_pipeline import LIMITS, quadrants, saved

Values = Sequence[int] | bytes
LEVELS = np.asarray(quadrants())  # (48, 64, 3)
GREY_LEVELS = np.asarray(quadrants().convert("L"))
_KINDS = {"u": 1, "i": 2, "f": 3}  # of SampleFormat


def decoded(photo: bytes, max_side: int = 512) -> Photo:
    return decode(BytesIO(photo), LIMITS, max_side=max_side)


def tiff(
    levels: npt.NDArray[np.generic],
    photometric: int,
    *,
    order: str = "<",
    is_planar: bool = False,
    is_packed: bool = False,
    tags: Mapping[int, Values] | None = None,
    pages: int = 1,
) -> bytes:
    """A TIFF (6.0) of levels (H, W) or (H, W, C), in one strip, or one for each channel."""
    channels = levels.shape[2] if levels.ndim == 3 else 1
    planes = [levels[..., channel] for channel in range(channels)] if is_planar and channels > 1 else [levels]
    strips = [np.asarray(plane, f"{order}{plane.dtype.str[1:]}").tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if is_packed else strips
    places = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    extra = channels - {2: 3, 5: 4, 8: 3}.get(photometric, 1)
    about: dict[int, Values] = {
        256: [levels.shape[1]], 257: [levels.shape[0]], 258: [8 * levels.itemsize] * channels,
        259: [8 if is_packed else 1], 262: [photometric], 273: places, 277: [channels], 278: [levels.shape[0]],
        279: [len(strip) for strip in strips],
        284: [2 if is_planar else 1], 339: [_KINDS[levels.dtype.kind]] * channels,
    }  # fmt: skip
    about |= {338: [2] * extra} if extra else {}
    return tiff_of(b"".join(strips), about | dict(tags or {}), order=order, pages=pages)


def tiff_of(data: bytes, tags: Mapping[int, Values], *, order: str = "<", pages: int = 1) -> bytes:
    """A TIFF with these tags, as numbers of 32 bits or as bytes, and data from its eighth byte on."""
    start = 8 + len(data)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", start) + data + directories(tags, start, order=order, pages=pages)


def directories(tags: Mapping[int, Values], start: int, *, order: str = "<", pages: int = 1) -> bytes:
    """One directory for each page, all the same, at `start` of a file."""
    entries, behind = b"", b""
    length = 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        kind, field = (
            (7, bytes(values)) if isinstance(values, bytes) else (4, struct.pack(f"{order}{len(values)}I", *values))
        )
        place = start + pages * length + len(behind)
        behind += field if len(field) > 4 else b""
        inside = struct.pack(order + "I", place) if len(field) > 4 else field.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + inside
    following = [start + length * (page + 1) for page in range(pages - 1)] + [0]
    tables = (struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", place) for place in following)
    return b"".join(tables) + behind


def raw(*behind: bytes, orientation: int = 1) -> bytes:
    """A DNG (1.4) whose first page is a stamp of 32x24 pixels, with the levels of a sensor below it."""
    stamp = bytes(32 * 24 * 3)
    sensor = directories(
        {254: [0], 256: [640], 257: [480], 258: [16], 259: [1], 262: [32803], 273: [8], 277: [1], 279: [len(stamp)]},
        8 + len(stamp),
    )
    tags: dict[int, Values] = {
        254: [1], 256: [32], 257: [24], 258: [8, 8, 8], 259: [1], 262: [2], 273: [8], 274: [orientation], 277: [3],
        278: [24], 279: [len(stamp)], 330: [8 + len(stamp)], 50706: b"\1\4\0\0",
    }  # fmt: skip
    return tiff_of(stamp + sensor, tags) + b"".join(behind)


def preview(width: int = 640, height: int = 480) -> bytes:
    return saved(quadrants((width, height)), "JPEG", quality=95, subsampling=0)


def with_property(photo: bytes, content: bytes) -> bytes:
    """An AVIF of one image, as Pillow writes it, with another property (a box), the last, of that image."""
    grown = bytearray(photo)
    more = len(content) + 1
    places = {name: photo.index(name) for name in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma", b"mdat")}
    for name, by in ((b"meta", more), (b"iprp", more), (b"ipco", len(content)), (b"ipma", 1)):
        _add(grown, places[name] - 4, by)
    _add(grown, photo.index(struct.pack(">I", places[b"mdat"] + 4), places[b"iloc"]), more)
    count, end = places[b"ipma"] + 14, places[b"mdat"] - 4
    grown[count] += 1
    grown[end:end] = bytes([0x80 | grown[count]])
    grown[places[b"ipma"] - 4 : places[b"ipma"] - 4] = content
    return bytes(grown)


def _add(data: bytearray, place: int, number: int) -> None:
    struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + number)


def swapped_profile() -> bytes:
    """A profile of a space whose red is the blue of sRGB, and the other way round."""
    found = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = found.index(b"rXYZ", 128), found.index(b"bXYZ", 128)
    found[red : red + 4], found[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(found)
