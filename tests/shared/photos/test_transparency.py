"""Transparency that a chunk, or nothing but its place, declares; and photos that only look transparent."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.shared.photos.making import decoded
from tests.shared.test_pipeline import assert_quadrants, png_chunk, quadrants, saved

LEFT, RIGHT = (0x3A, 0x7F, 0x12), (0xC5, 0x20, 0xE4)  # of 8 bits; the left half is transparent


def png(depth: int, channels: int, key: bytes) -> bytes:
    """A PNG of 32x32 pixels with two colours, the upper bits of those above, of which `tRNS` names one."""
    pixels = [
        "".join(f"{level * 0x0101 >> 16 - depth:0{depth}b}" for level in colour[:channels]) for colour in (LEFT, RIGHT)
    ]
    bits = pixels[0] * 16 + pixels[1] * 16
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8)
    header = struct.pack(">IIBBBBB", 32, 32, depth, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(row * 32)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_the_level_that_a_png_names_is_transparent(depth: int, channels: int) -> None:
    key = b"".join(struct.pack(">H", level * 0x0101 >> 16 - depth) for level in LEFT[:channels])
    found = decoded(png(depth, channels, key))
    assert found.alpha is not None
    assert not found.alpha[:, :15].any()
    assert (found.alpha[:, 17:] == 255).all()
    if depth >= 8:
        assert np.abs(found.rgb[:, 17:].astype(int) - (RIGHT if channels == 3 else RIGHT[0])).max() <= 1


def test_a_level_that_is_only_near_is_opaque() -> None:
    found = decoded(png(16, 1, struct.pack(">H", LEFT[0] * 0x0101 + 1)))
    assert found.alpha is None or (found.alpha == 255).all()


def test_around_the_first_frame_of_a_gif_it_is_transparent() -> None:
    photo = saved(quadrants(), "GIF")
    found = decoded(photo[:6] + struct.pack("<HH", 96, 80) + photo[10:])
    assert found.size == (96, 80)
    assert found.alpha is not None
    assert (found.alpha[:48, :64] == 255).all()
    assert not found.alpha[50:].any()
    assert not found.alpha[:, 66:].any()
    assert_quadrants(Image.fromarray(found.rgb[:48, :64]))


def test_around_the_first_frame_of_a_webp_it_is_transparent() -> None:
    pixels = saved(quadrants(), "WEBP", lossless=True)[12:]
    place = b"".join(number.to_bytes(3, "little") for number in (8, 4, 63, 47, 100)) + b"\0"
    parts = [
        (b"VP8X", b"\2\0\0\0" + (95).to_bytes(3, "little") + (79).to_bytes(3, "little")),
        (b"ANIM", bytes(6)),
        (b"ANMF", place + pixels),
    ]
    chunks = b"".join(kind + struct.pack("<I", len(content)) + content for kind, content in parts)
    found = decoded(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks)
    assert found.size == (96, 80)
    assert found.alpha is not None
    assert (found.alpha[8:56, 16:80] == 255).all()
    assert not found.alpha[:6].any()
    assert not found.alpha[:, 82:].any()
    assert_quadrants(Image.fromarray(found.rgb[8:56, 16:80]))


def test_a_gif_that_fills_its_canvas_is_opaque() -> None:
    assert decoded(saved(quadrants(), "GIF")).alpha is None


def with_alpha(level: int) -> Image.Image:
    photo = quadrants().convert("RGBA")
    photo.putalpha(level)
    return photo


def bmp(photo: Image.Image) -> bytes:
    """A BMP of 32 bits whose header (version 4) says where alpha is."""
    about = struct.pack("<IiiHHIIiiII", 108, *photo.size, 1, 32, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    head = about + masks + bytes(108 - len(about + masks))
    return struct.pack("<2sIHHI", b"BM", 14 + len(head + rows), 0, 0, 14 + len(head)) + head + rows


@pytest.mark.parametrize("image_format", ["BMP", "TGA"])
def test_a_bitmap_that_is_transparent_everywhere_is_opaque(image_format: str) -> None:
    def written(photo: Image.Image) -> bytes:
        return bmp(photo) if image_format == "BMP" else saved(photo, image_format)

    empty = decoded(written(with_alpha(0)))
    assert empty.alpha is None
    assert_quadrants(Image.fromarray(empty.rgb))
    half = decoded(written(with_alpha(128)))
    assert half.alpha is not None
    assert (half.alpha == 128).all()
