"""Colours by a photo's ICC profile, converted to sRGB by LittleCMS."""

import io
from collections.abc import Callable
from functools import cache, partial
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from shared.photos.reading import CODEC_ERRORS

_MIN_VOLUME: Final = 0.01  # between the primaries of a profile, in XYZ; of sRGB it is 0.16
_MODES: Final = {"RGB", "L", "CMYK"}  # that a profile can be of


def to_srgb(profile: bytes | None) -> Callable[[Image.Image], Image.Image]:
    """Return what converts images, such as the bands of one photo, from a profile to sRGB.

    A profile that is broken or of another colour space is ignored, as browsers do.
    """
    transform_of = cache(partial(_transform, profile or b""))

    def converted(image: Image.Image) -> Image.Image:
        transform = transform_of(image.mode)
        return transform.apply(image) if transform else image.convert("RGB")

    return converted


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if not profile or mode not in _MODES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if not _mixes_colours(source):
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, *CODEC_ERRORS):
        return None


def _mixes_colours(source: ImageCms.ImageCmsProfile) -> bool:
    """Return whether the primaries of a profile differ, if it has any; of others LittleCMS makes noise."""
    about = source.profile
    primaries = [found[0] for found in (about.red_colorant, about.green_colorant, about.blue_colorant) if found]
    return len(primaries) < 3 or abs(float(np.linalg.det(np.array(primaries)))) > _MIN_VOLUME  # noqa: PLR2004
