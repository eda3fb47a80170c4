"""Colour spaces that a photo names without an ICC profile: by numbers, or by a curve and primaries of its own.

No pixel arithmetic: `shared.photos.colours` converts them. Code points are those of ITU-T H.273, as HEIF, AVIF and the
PNG chunk cICP have them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""CIE 1931 xy of red, green, blue and white."""

_D65: Final = (0.3127, 0.329)
SRGB: Final[Primaries] = ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), _D65)
ADOBE_RGB: Final[Primaries] = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65)
BT_2020: Final[Primaries] = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), _D65)
_P3: Final = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
_PRIMARIES: Final[dict[int, Primaries]] = {9: BT_2020, 11: (*_P3, (0.314, 0.351)), 12: (*_P3, _D65)}
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
_NEAR: Final = 0.05  # relative: exponents of 2.1 to 2.3 are what people who mean sRGB write
_MAX_TAGS: Final = 100  # of a profile
_SAME: Final = 0.01  # of a coordinate


class Curve(StrEnum):
    """The curves that are no power."""

    SRGB = "sRGB"
    PQ = "PQ"
    HLG = "HLG"


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """Primaries, and the curve or the exponent that turns a level into light."""

    primaries: Primaries
    curve: Curve | float

    @property
    def is_hdr(self) -> bool:
        return self.curve in {Curve.PQ, Curve.HLG}


def by_codes(primaries: int, transfer: int) -> ColourSpace | None:
    """Return the colour space that these code points mean; None if it is sRGB, or near it, or not known."""
    hdr = {16: Curve.PQ, 18: Curve.HLG}.get(transfer)
    if hdr:
        return ColourSpace(_PRIMARIES.get(primaries, SRGB), hdr)
    return by_gamma(_PRIMARIES.get(primaries, SRGB), _GAMMAS.get(transfer))


def by_gamma(primaries: Primaries, exponent: float | None) -> ColourSpace | None:
    """Return the colour space with this exponent, or with the curve of sRGB; None if it is sRGB, or near it."""
    is_plain = exponent is None or abs(exponent / 2.2 - 1) <= _NEAR
    if is_plain and _is_srgb(primaries):
        return None
    return ColourSpace(primaries, Curve.SRGB if exponent is None else exponent)


def by_exif(colour_space: object, interoperability: object) -> ColourSpace | None:
    """Return Adobe RGB if EXIF says so, as DCF 2.0 does for its optional colour space; some cameras write 2."""
    if colour_space == 2 or (colour_space == 0xFFFF and str(interoperability).startswith("R03")):  # noqa: PLR2004
        return ColourSpace(ADOBE_RGB, 563 / 256)
    return None


def in_profile(profile: bytes) -> ColourSpace | None:
    """Return the colour space that an ICC profile (ICC.1:2022, 9.2.17) names by code points, if it is one of HDR."""
    at = profile.find(b"cicp", 128, 128 + 4 + 12 * _MAX_TAGS)
    place = int.from_bytes(profile[at + 4 : at + 8]) if at >= 0 else len(profile)
    content = profile[place : place + 12]
    if len(content) < 12 or not content.startswith(b"cicp"):  # noqa: PLR2004
        return None
    space = by_codes(content[8], content[9])
    return space if space and space.is_hdr else None


def _is_srgb(primaries: Primaries) -> bool:
    pairs = zip(primaries, SRGB, strict=True)
    return all(abs(a - b) <= _SAME for found, known in pairs for a, b in zip(found, known, strict=True))
