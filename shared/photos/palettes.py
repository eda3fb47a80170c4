"""Palettes of TIFFs whose writers took 16 bits for 8."""

from PIL import Image, ImagePalette, TiffImagePlugin

_LEVELS = 256


def read_as_written(image: Image.Image) -> None:
    """Have Pillow take a palette of 8 bits as it is, as libtiff does, and not for black; before the image is loaded."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode not in {"P", "PA"}:
        return
    values = image.tag_v2.get(TiffImagePlugin.COLORMAP, ())
    if values and max(values) < _LEVELS:
        image.palette = ImagePalette.raw("RGB;L", bytes(values))
