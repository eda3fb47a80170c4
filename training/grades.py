"""The colours, skies, light and ink of each style, applied to a drawing that all share.

Tints are a and b of CIE Lab.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.planes import Colour, Floats, Plane, blend, blur, masked_blur, smoothstep, smoothstep_down, to_lab, to_rgb

_HIGH = 220  # pixels above the horizon, where a painted sky is deepest
# The evening sky from the horizon up: height, and Lab there.
_DUSK = np.array(
    ((0, 83, 20, 38), (0.16, 74, 36, 22), (0.42, 57, 38, -18), (0.75, 40, 26, -42), (1, 30, 20, -44)), np.float32
)
_HINATA_INK = np.array((0.15, 0.08, 0.14), np.float32)
_YOI_INK = np.array((0.10, 0.05, 0.17), np.float32)
_SUMI_INK = np.array((0.07, 0.07, 0.085), np.float32)
_SUMI_TONES = ((0, 8, 20, 36, 56, 76, 100), (0, 0.05, 0.34, 0.70, 0.92, 1, 1))  # lightness, and its tone in ink
_WASHES = 5  # tones of thinned ink
_SUMI_TINT = 0.62  # of the colours of `hinata` …
_SUMI_SKIN_TINT = 0.3  # … and as much more in skin
_SUMI_SKIN = 0.85  # of the way from paper back to the tone of skin


@dataclass(frozen=True, slots=True)
class Drawing:
    """The drawing that all styles share. Planes are 0..1."""

    paint: Colour
    ink: Plane  # of fine lines: of a painting …
    ink_drawing: Plane  # … and of a drawing in ink
    brush: Plane  # of broad ones
    pen: Plane  # ink of lids, mouths and noses
    borders: Plane  # closeness to the border of a region
    skin: Plane
    features: Plane  # of faces
    sky: Plane
    night: float  # darkness of the sky, 0..1


def hinata(drawing: Drawing) -> Colour:
    """*A sunny place*: luminous daylight, clear colours, blue-violet shadows, azure skies. Colours 0..1."""
    light, a, b = _channels(drawing)
    skin = drawing.skin
    tone = _contrasted(_exposed(light / 100, drawing), 0.18, middle=0.5)
    chroma = np.hypot(a, b)
    skin_like = _of_hue(a, b, 0.95, 0.4) * smoothstep(chroma, 6, 14) * smoothstep_down(chroma, 45, 65)
    grey = _of_hue(a, b, 0.95, 0.6) * smoothstep_down(chroma, 5, 15) * smoothstep(light, 45, 65)  # hair and beards
    sallow = _of_hue(a, b, 1.8, 0.35) * smoothstep_down(chroma, 12, 26) * smoothstep(light, 40, 60) * (1 - skin)
    calm = np.maximum.reduce((0.51 * skin_like, 0.65 * skin, 0.9 * grey, 1.4 * sallow))
    gain = 1 + 0.95 * np.exp(-chroma / 48) * (1 - calm)
    a = a + 0.8 * sallow * np.clip(-a, 0, None)  # greenish sand, walls and haze: the cast of a film or a lamp
    leaf = _of_hue(a, b, 2.0, 0.55) * smoothstep(chroma, 9, 22) * (1 - skin)
    a = a - 7 * leaf * smoothstep(light, 8, 40) * smoothstep_down(light, 64, 82)
    a = a * gain + 1.5 * tone + 4 * (1 - tone)
    b = b * gain + 5 * tone * (1 - 0.3 * skin) - 13 * (1 - tone) * (1 - 0.5 * skin)
    lifted = 100 * np.clip(tone + 0.035 * np.sin(np.pi * np.clip(tone, 0, 1)), 0, 1)
    lightness = lifted * (1 - 0.7 * skin) + 1.05 * light * 0.7 * skin
    rgb = to_rgb(_azure_sky(np.dstack((lightness, a, b)), drawing))
    rgb = _inked(rgb, drawing.ink, drawing.pen, _HINATA_INK)
    return _lit_by(rgb, 0.55 * blur(np.clip(rgb - 0.72, 0, 1), 9))


def yoi(drawing: Drawing) -> Colour:
    """*Early evening*: violet-blue shadows, peach lights, skies from peach to violet, lamps that glow. Colours 0..1."""
    light, a, b = _channels(drawing)
    skin = drawing.skin
    tone = _contrasted(0.07 + 0.84 * light / 100, 0.13, middle=0.45)
    chroma = np.hypot(a, b)
    gain = 1 + 0.4 * np.exp(-chroma / 50)
    lit = smoothstep(light, 12, 80)
    tinted = 1 / (1 + (chroma / 55) ** 2)  # strong colours stay
    a = 0.97 * a * gain + tinted * (5 * (1 - lit) * (1 - 0.6 * skin) + 7 * lit * (1 - 0.7 * skin))
    b = 0.9 * b * gain + tinted * (10 * lit - 24 * (1 - lit) * (1 - 0.75 * skin))
    lightness = 100 * tone * (1 - 0.6 * skin) + 0.98 * light * 0.6 * skin
    rgb = to_rgb(_dusky_sky(np.dstack((lightness, a, b)), drawing))
    rgb = _inked(rgb, drawing.ink, drawing.pen, _YOI_INK)
    rgb = _lit_by(_lit_by(rgb, _glow_of_lamps(drawing)), _glow_of_horizon(drawing))
    return np.clip(rgb * np.array((1, 0.985, 0.98), np.float32), 0, 1)


def sumi(drawing: Drawing) -> Colour:
    """*Ink and wash*: brush lines and tinted washes on paper; skin keeps its tone. Colours 0..1."""
    washed, painted = (to_lab(picture) for picture in (_in_ink(drawing), hinata(drawing)))
    paler = np.clip(washed[..., 0] - painted[..., 0], 0, None)
    lightness = washed[..., 0] - _SUMI_SKIN * drawing.skin * paler
    tint = (_SUMI_TINT + _SUMI_SKIN_TINT * drawing.skin) * (1 - 0.75 * drawing.sky)
    paper = 3 * smoothstep(lightness, 60, 100)
    return to_rgb(np.dstack((lightness, tint * painted[..., 1], tint * painted[..., 2] + paper)))


def _in_ink(drawing: Drawing) -> Colour:
    light, _, _ = _channels(drawing)
    skin, sky = drawing.skin, drawing.sky
    lightness = 10 + 88 * _washes(light)
    lightness = lightness + skin * (1 - 0.8 * drawing.features) * 0.4 * np.clip(93 - lightness, 0, 45)
    # A wash dries darkest at its border.
    lightness = lightness - 5 * blur(drawing.borders, 1.0) * smoothstep_down(lightness, 72, 88) * (1 - skin)
    height, share = _sky_height(sky) * sky, sky * 0.75 * (1 - drawing.night)
    paper = 97.5 - 8 * height**1.4 - 0.16 * np.clip(70 - light, 0, 60)
    lightness = blend(lightness, paper, share)
    grey = np.zeros_like(lightness)
    return _brushed(to_rgb(np.dstack((lightness, grey, grey))), drawing)


def _channels(drawing: Drawing) -> tuple[Plane, Plane, Plane]:
    paint = drawing.paint
    return np.clip(paint[..., 0], 0, 100), paint[..., 1], paint[..., 2]


def _contrasted(tone: Plane, amount: float, middle: float) -> Plane:
    """Raise contrast around the middle of tones 0..1; black and white hardly change."""
    contrasted: Plane = tone + amount * np.sin(2 * np.pi * (tone - middle)) / np.pi
    return contrasted


def _exposed(tone: Plane, drawing: Drawing) -> Plane:
    """Tones 0..1 of a bright day: dark areas are lifted most, but neither skin nor night."""
    around = blur(tone, 60)
    dark = smoothstep_down(around, 0.2, 0.62) * (1 - drawing.night)
    exposed: Plane = tone ** (0.84 - 0.13 * dark * (1 - drawing.skin))
    return exposed


def _of_hue(a: Plane, b: Plane, hue: float, width: float) -> Plane:
    """The closeness of colours to a hue in radians, 0..1."""
    near: Plane = np.exp(-(((np.arctan2(b, a) - hue) / width) ** 2))
    return near


def _washes(lightness: Plane) -> Plane:
    """Tones 0..1 of ink: five washes, softly parted."""
    tone = np.interp(lightness, *_SUMI_TONES).astype(np.float32)
    wash = np.floor(tone * _WASHES)
    within = tone * _WASHES - wash - 0.5
    parted = (wash + 0.5 + 0.5 * np.tanh(7 * within) / np.tanh(3.5)) / _WASHES
    washes: Plane = (0.4 * tone + 0.6 * parted).astype(np.float32)
    return washes


def _azure_sky(lab: Colour, drawing: Drawing) -> Colour:
    """Paint the sky of the day azure above and luminous below, most where it was grey; clouds keep their light."""
    light, _, b = _channels(drawing)
    sky, height = drawing.sky, _sky_height(drawing.sky)
    grey = smoothstep(b, -24, -6)
    cloud = smoothstep(light - masked_blur(light, sky, 30), 1, 7)
    white = np.dstack((np.minimum(lab[..., 0] + 8, 98), np.full_like(light, -1), np.clip(0.2 * lab[..., 2], -6, 6)))
    lab = blend(lab, white, 0.85 * sky * cloud * smoothstep(light, 34, 56))
    lightness = 0.45 * (86 - 14 * height) + 0.55 * np.minimum(lab[..., 0], 97)
    azure = np.dstack((lightness, -9 - 3 * height, -20 - 24 * height))
    share = sky * smoothstep(light, 34, 56) * (0.8 * grey * (1 - 0.7 * cloud) + 0.3 * (1 - grey))
    return blend(lab, azure, share)


def _dusky_sky(lab: Colour, drawing: Drawing) -> Colour:
    """Paint the sky from peach at the horizon to violet above; clouds catch the last light, a night stays night."""
    light, sky = _channels(drawing)[0], drawing.sky
    height = _sky_height(sky)
    dusk = np.dstack([np.interp(height, _DUSK[:, 0], channel) for channel in _DUSK[:, 1:].T])
    cloud = np.clip((light - masked_blur(light, sky, 26)) / 14, -1, 1)
    lit = np.clip(cloud, 0, 1)
    return blend(lab, dusk + np.dstack((9 * cloud, 10 * lit, 14 * lit)), sky * np.float32(0.86 - 0.72 * drawing.night))


def _sky_height(sky: Plane) -> Plane:
    """Height in the sky: 0 at the horizon, 1 far above it. The horizon is the lower end of the sky, evened out."""
    height, width = sky.shape
    clear = sky > 0.5
    if not clear.any():
        return np.zeros_like(sky)
    seen = clear.any(0).astype(np.float32)
    lowest = (height - 1 - clear[::-1].argmax(0)).astype(np.float32) * seen
    # The lowest sky of nearby columns counts, so towers do not lift the horizon.
    near = np.ones((1, int(width / 9) | 1), np.uint8)
    lowest, seen = (np.asarray(cv2.dilate(row.reshape(1, -1), near), np.float32) for row in (lowest, seen))
    horizon = blur(lowest * seen, width / 7) / (blur(seen, width / 7) + np.float32(1e-3))
    above: Plane = np.clip((horizon - np.arange(height, dtype=np.float32)[:, None]) / _HIGH, 0, 1)
    return above


def _glow_of_lamps(drawing: Drawing) -> Colour:
    """Warm light around what is nearly white, except sky and skin."""
    lamps = smoothstep(drawing.paint[..., 0], 80, 95) * (1 - drawing.sky) * (1 - 0.8 * drawing.skin)
    glow = 0.5 * (0.75 * blur(lamps, 5) + 0.9 * blur(lamps, 18))
    return np.clip(glow[..., None] * np.array((1, 0.80, 0.52), np.float32), 0, 0.8)


def _glow_of_horizon(drawing: Drawing) -> Colour:
    """The light of the horizon on what stands before it; there is none at night."""
    low = drawing.sky * np.exp(-((_sky_height(drawing.sky) / 0.16) ** 2))
    glow = 0.32 * (1 - drawing.night) * blur(low, 16) * (1 - drawing.sky)
    colours: Colour = glow[..., None] * np.array((0.9, 0.42, 0.28), np.float32)
    return colours


def _lit_by(rgb: Colour, glow: Colour) -> Colour:
    """Add light without exceeding white."""
    lit: Colour = 1 - (1 - rgb) * (1 - glow)
    return np.clip(lit, 0, 1)


def _inked(rgb: Colour, ink: Plane, pen: Plane, colour: Floats) -> Colour:
    """Darken along the lines towards a deep tone of the colour below, as a colour trace does."""
    under = rgb * colour * 1.7 + colour * 0.28
    return blend(rgb, np.minimum(under, rgb), np.maximum(ink, pen))


def _brushed(rgb: Colour, drawing: Drawing) -> Colour:
    """Lay ink over the washes, nearly black."""
    ink = np.clip(np.maximum(np.maximum(1.25 * drawing.ink_drawing, drawing.brush), drawing.pen), 0, 1)
    under = 0.12 * rgb + 0.55 * _SUMI_INK
    return blend(rgb, np.minimum(under, rgb), 0.95 * ink)
