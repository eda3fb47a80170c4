"""From other colour spaces to sRGB. HDR is toned down to what an ordinary display shows."""

from typing import Final

import numpy as np
import numpy.typing as npt

from shared.photos.colour_spaces import BT_2020, SRGB, ColourSpace, Curve, Primaries

_ROWS_AT_ONCE: Final = 1 << 20  # pixels; floats take 24 times the memory of a level
_WHITE_NITS: Final = 203  # of diffuse white in HDR (ITU-R BT.2408)
_HLG_NITS: Final = 1000  # of the display that HLG is seen on
_BRIGHTEST: Final = 99.9  # percentile: a few sparks do not darken the picture
_SAMPLE: Final = 1 << 18  # pixels that are looked at to find it

Light = npt.NDArray[np.float32]  # (H, W, 3), linear, 1 is diffuse white
_Matrix = npt.NDArray[np.float64]  # (3, 3)


def to_srgb(levels: npt.NDArray[np.uint8], space: ColourSpace) -> npt.NDArray[np.uint8]:
    """Convert levels (H, W, 3) of a colour space to sRGB; what sRGB has no colour for is clipped."""
    step = max(1, int(np.sqrt(levels.shape[0] * levels.shape[1] / _SAMPLE)))
    peak = float(np.percentile(_light(levels[::step, ::step], space).max(axis=-1), _BRIGHTEST))
    matrix = np.linalg.solve(_to_xyz(SRGB), _to_xyz(space.primaries)).T.astype(np.float32)
    converted = np.empty_like(levels)
    rows = max(1, _ROWS_AT_ONCE // levels.shape[1])
    for top in range(0, levels.shape[0], rows):
        light = _light(levels[top : top + rows], space)
        toned = _toned_down(light, peak) if space.is_hdr else light
        converted[top : top + rows] = _srgb_levels(toned @ matrix)
    return converted


def _light(levels: npt.NDArray[np.uint8], space: ColourSpace) -> Light:
    signal = np.arange(256) / 255
    match space.curve:
        case Curve.SRGB:
            table = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004
        case Curve.PQ:
            table = _nits(signal) / _WHITE_NITS
        case Curve.HLG:
            return _seen_on_a_display(_hlg_scene(signal).astype(np.float32)[levels])
        case exponent:
            table = signal ** float(exponent)
    light: Light = table.astype(np.float32)[levels]
    return light


def _srgb_levels(light: Light) -> npt.NDArray[np.uint8]:
    clipped = light.clip(0, 1)
    curved = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    levels: npt.NDArray[np.uint8] = np.rint(curved * 255).astype(np.uint8)
    return levels


def _to_xyz(primaries: Primaries) -> _Matrix:
    """The matrix from linear RGB to XYZ under D65 (Bradford, as in ICC profiles)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    red_green_blue, white = columns[:, :3], columns[:, 3]
    x, y = SRGB[3]
    to_cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = np.diag((to_cones @ (x / y, 1, (1 - x - y) / y)) / (to_cones @ white))
    scaled: _Matrix = red_green_blue * np.linalg.solve(red_green_blue, white)
    adaptation: _Matrix = np.linalg.solve(to_cones, adapted @ to_cones)
    return adaptation @ scaled


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _nits(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The EOTF of PQ (SMPTE ST 2084)."""
    power = signal ** (1 / _M2)
    linear: npt.NDArray[np.float64] = (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return 10_000 * linear


def _pq(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = (nits / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_scene(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse OETF of HLG (ITU-R BT.2100): light of the scene, 0..1."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)  # noqa: PLR2004


def _seen_on_a_display(scene: Light) -> Light:
    """The OOTF of HLG (ITU-R BT.2100) with its system gamma of 1.2."""
    luminance = scene @ _to_xyz(BT_2020)[1].astype(np.float32)
    light: Light = scene * (luminance[..., None] ** 0.2) * np.float32(_HLG_NITS / _WHITE_NITS)
    return light


def _toned_down(light: Light, peak: float) -> Light:
    """Bring light of up to `peak` into 0..1 by the curve of ITU-R BT.2390 (5.4.1): dark and middle tones stay."""
    if peak <= 1:
        return light
    brightest = light.max(axis=-1, keepdims=True).clip(1e-6, peak)
    source, target = _pq(np.array([peak, 1.0]) * _WHITE_NITS)
    most = target / source
    knee = 1.5 * most - 0.5
    level = _pq(brightest * np.float32(_WHITE_NITS)) / source
    t = (level - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    toned = _nits(np.where(level < knee, level, bent) * source) / _WHITE_NITS
    scaled: Light = (light * (toned / brightest)).astype(np.float32)
    return scaled
