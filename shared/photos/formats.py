"""The limits of photos and the formats of pictures. No codec, no pixel arithmetic.

Megapixels are 10^6 pixels.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import PhotoTooLargeError

MIN_SIDE = 16
MAX_SIDE_DEFAULT, MAX_SIDE_MIN, MAX_SIDE_MAX = 1024, 16, 8192  # what a picture's longest side may be at most, in pixels
ORIGINAL = "original"  # the word for `MAX_SIDE_MAX`: the photo's own size, as photos are never enlarged
ALLOWED_SIDES = f"a whole number from {MAX_SIDE_MIN} to {MAX_SIDE_MAX}, or {ORIGINAL}"
# Measured with 64 megapixels, bytes a pixel: JPEG 2 (drafted), TIFF 5, HEIF and AVIF 8 to 11, WebP 16, JPEG 2000 24.
_DECODING_BYTES, _DECODING_BYTES_PER_PIXEL = 256 << 20, 32


class Format(StrEnum):
    """The format of a picture; "jpg" is an alias of JPEG."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @classmethod
    def _missing_(cls, value: object) -> "Format | None":
        return cls.JPEG if value == "jpg" else None

    @property
    def content_type(self) -> str:
        return f"image/{self.value}"

    @property
    def extension(self) -> str:
        return "jpg" if self is Format.JPEG else self.value

    @property
    def keeps_alpha(self) -> bool:
        return self is not Format.JPEG


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a photo. Megapixels are 10^6 pixels of the photo as stored."""

    max_bytes: int
    max_megapixels: float

    @property
    def decoding_bytes(self) -> int:
        """More than decoding the largest photo takes; a file that needs more is not what its header says."""
        return _DECODING_BYTES + int(_DECODING_BYTES_PER_PIXEL * self.max_megapixels * 1e6)


@dataclass(frozen=True, slots=True)
class Header:
    """The properties of a photo that are known before it is decoded: upright size in pixels and format.

    `decoder` is what Pillow calls the decoder of its pixels, `passes` how often that goes over them, where known.
    """

    width: int
    height: int
    format: str
    decoder: str = ""
    passes: int = 1


def too_many_bytes(max_bytes: int) -> PhotoTooLargeError:
    return PhotoTooLargeError(f"A photo may be at most {max_bytes / (1 << 20):.0f} MiB.")
