"""Writing pictures, without any metadata."""

import io
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from PIL import Image

from shared.photos.decoding import Alpha, Rgb
from shared.photos.formats import Format

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Pixels, above which pictures are compressed more quickly: 48 megapixels in 4.5 s instead of 13, and 4 % more bytes, as
# PNG, and in 1.9 s instead of 13, and as many bytes, as WebP.
_LARGE: Final = 1 << 22
_CHECK_EVERY_S: Final = 0.1
# Of memory, at the most, as the photo, as the picture and in a codec; that of WebP takes the most, for alpha.
PIXEL_BYTES: Final = {Format.JPEG: 16, Format.PNG: 16, Format.WEBP: 32}


def encode(
    rgb: Rgb, alpha: Alpha | None, picture_format: Format, checkpoint: Callable[[], None] = lambda: None
) -> bytes:
    """Write a picture without metadata; sRGB is what a viewer assumes of it. Alpha is dropped for JPEG.

    `checkpoint` is called now and then, and may raise to stop.
    """
    image = Image.fromarray(rgb)
    if alpha is not None and picture_format.keeps_alpha:
        image.putalpha(Image.fromarray(alpha))
    is_large = rgb.shape[0] * rgb.shape[1] > _LARGE
    buffer = io.BytesIO() if picture_format is Format.WEBP else _Buffer(checkpoint)
    match picture_format:
        case Format.JPEG:
            # Not optimised, which takes twice the time for 3 % fewer bytes and fails on grain that outgrows its buffer.
            image.save(buffer, "JPEG", quality=92, subsampling=0)
        case Format.PNG:
            image.save(buffer, "PNG", compress_level=3 if is_large else 6)
        case Format.WEBP:
            method = 2 if is_large else 4
            _awaited(lambda: image.save(buffer, "WEBP", quality=90, method=method, exact=True), checkpoint)
    return buffer.getvalue()


class _Buffer(io.BytesIO):
    """Memory that calls `checkpoint` before each piece, as an encoder writes them."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def write(self, data: "ReadableBuffer", /) -> int:
        self._checkpoint()
        return super().write(data)


def _awaited(encoding: Callable[[], None], checkpoint: Callable[[], None]) -> None:
    """Await an encoder that writes all at once; if `checkpoint` raises, it goes on for a moment, for nobody."""
    executor = ThreadPoolExecutor(1)
    try:
        running = executor.submit(encoding)
        while not running.done():
            checkpoint()
            wait([running], _CHECK_EVERY_S)
        running.result()
    finally:
        executor.shutdown(wait=False)


def archive(pictures: Mapping[str, bytes]) -> bytes:
    """Put pictures into a ZIP archive under their names; the same pictures make the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as opened:
        for name, data in pictures.items():
            opened.writestr(zipfile.ZipInfo(name), data)  # without the time
    return buffer.getvalue()
