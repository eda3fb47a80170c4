"""The visible part of an image: a part of it, a frame that does not fill it, all of it in spite of its alpha."""

from typing import Final

from PIL import Image

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""

_OFTEN_EMPTY: Final = {"BMP", "DIB", "TGA"}


def seen(image: Image.Image, part: Rectangle | None) -> Rectangle:
    """Return the part of an image that is to be seen: all of it if there is none, or none that lies within."""
    whole = (0, 0, *image.size)
    return part if part and part[2] <= image.width and part[3] <= image.height else whole


def size_of(part: Rectangle) -> tuple[int, int]:
    """Return the (width, height) of a part."""
    return part[2] - part[0], part[3] - part[1]


def first_frame(image: Image.Image) -> Rectangle | None:
    """Return where the first frame of a GIF lies, before it is loaded; None for any other image."""
    tiles = getattr(image, "tile", []) if image.format == "GIF" else []
    return next((tile.extents for tile in tiles if tile.extents), None)


def on_nothing(image: Image.Image, frame: Rectangle) -> Image.Image:
    """Return a loaded image that is transparent around a frame, as browsers show it; Pillow takes some colour."""
    if frame == (0, 0, *image.size) or image.has_transparency_data:
        return image
    whole = Image.new("RGBA", image.size)
    whole.paste(image.crop(frame).convert("RGBA"), frame[:2])
    return whole


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """Return a loaded BMP or TGA as opaque if it is transparent everywhere: whoever wrote it had no alpha in mind."""
    if image.format not in _OFTEN_EMPTY or "A" not in image.getbands() or image.getchannel("A").getextrema()[1]:
        return image
    return opaque(image)


def opaque(image: Image.Image) -> Image.Image:
    """Return a loaded image without its alpha, if it has one."""
    return image.convert("RGB") if "A" in image.getbands() else image
