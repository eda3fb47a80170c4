"""Parts of a Photoshop document that Pillow does not see (Adobe's specification of its file formats, 2019). No codec.

Whatever is wrong raises EOFError or struct.error.
"""

import struct
from typing import Final

from PIL import Image, PsdImagePlugin

from shared.photos.kinds import unread
from shared.photos.reading import HeaderReader

SIGNATURE: Final = b"8BPS"
_VERSION: Final = 1057  # the resource that tells whether there is a composite
_BITMAP, _MULTICHANNEL = 0, 7
_CHANNELS, _COLOURS, _SECTIONS = 12, 24, 26  # places


def prepare(image: Image.Image, reader: HeaderReader) -> None:
    """Have Pillow find the pixels where and as they are; before the image is loaded.

    The table of the lengths of rows has all channels, also those beyond the colours; in a bitmap, 1 is black.

    Raises:
        UnreadPhotoError: the document has no picture, or one of no known colours.
    """
    if not isinstance(image, PsdImagePlugin.PsdImageFile):
        return
    if any(number == _VERSION and data[4:5] == b"\0" for number, _, data in image.resources):
        raise unread("a Photoshop document that was saved without “Maximize compatibility”")
    channels, colours = (int.from_bytes(reader.read_at(place, 2)) for place in (_CHANNELS, _COLOURS))
    if colours == _MULTICHANNEL:
        raise unread("a Photoshop document in multichannel mode")
    beyond = 2 * image.height * (channels - len(image.getbands()))
    image.tile = [
        tile._replace(
            offset=tile.offset + (beyond if tile.codec_name == "packbits" else 0),
            args="1;I" if colours == _BITMAP else tile.args,
        )
        for tile in image.tile
    ]


def is_opaque(reader: HeaderReader) -> bool:
    """Return whether a channel beyond the colours is a selection that somebody saved, and not transparency."""
    place = _SECTIONS
    for _ in ("colours", "resources"):
        place += 4 + int.from_bytes(reader.read_at(place, 4))
    if not int.from_bytes(reader.read_at(place, 4)):
        return True  # it has no layers
    layers, count = struct.unpack(">Ih", reader.read_at(place + 4, 6))
    return not layers or count >= 0
