"""The paint of skin: two tones, with the form of the face.

Source: Otsu, "A threshold selection method from gray-level histograms" (1979), for the border of light and shade.
"""

import cv2
import numpy as np
import numpy.typing as npt

from training.beards import BLACK, facial_hair
from training.faces import JAW, Face, nose
from training.planes import (
    Colour,
    Floats,
    Plane,
    blend,
    blur,
    closed,
    dilate,
    masked_blur,
    odd,
    opened,
    polygon,
    smoothstep,
    smoothstep_down,
)
from training.skin import MIN_PIXELS, distance, without_creases

_MIN_RED = 0.7  # ratio of a to b, Lab: skin in green or yellow light does not turn olive
_FEATHER, _ALIKE = 0.05, (8.0, 20.0)  # heights of a face; units of Lab
_PALE, _DIM, _MAX_LIGHT = (0.24, 0.4), (58.0, 70.0), 8.0  # chroma over L* + 16; L*; L*
_BEST_LIT, _LIGHT_ENOUGH, _EVEN = 80, (50.0, 62.0), (1.3, 1.6)  # percentile; L*; times as light as the median
_MIN_CHROMA = (30, 55, 70, 90), (17, 21, 19, 12)  # of skin: lightness, and the chroma there
_MAX_LIVELIER = 1.7  # times the chroma
_MAX_DEPTH = 18.0  # of L*: the contrast of the two tones is compressed towards it
_MAX_GAIN_DEEP, _MAX_GAIN_PALE = 3.0, 8.0  # of L*: for the deepest skin, and for the palest
_LIGHT_STAYS = 0.7  # of the light that skin would lose when the two tones are brought closer together
_AS_LIT = 0.32  # of the way from the mean of skin to its well-lit part: there its colour is taken
_EVEN_TONE = 0.92  # share of a tone that is even; the rest follows the light
_TWO_TONES = 6.0, 10.0  # of L* between them: below the first there is one tone, above the second two
_SMOOTH = 0.12  # heights of a face: smoothing before light and shade are separated
_MIN_TONE_WIDTH, _MIN_TONE_SIDE = 0.1, 0.4  # heights of a face: width of a piece of light or shade; root of its area
_ROUNDED = 0.025  # heights of a face: smoothing of the border between the two …
_CRISP = 0.35, 0.65  # … and how much of the way across it stays soft
_LIT_FROM_A_SIDE = 7.0, 13.0  # of L* between the halves of a face: soft border below the first, crisp above the second
_FORM = 0.5  # share of the form of a face (nose, cheeks, chin) that its tones keep
_CREASELESS = 0.6  # share of the depth of a crease that is removed
_FOLDS, _MAX_FOLD, _WIDTH_OF_FOLD = (1.2, 4.0), 9.0, 0.008  # of L*, twice; heights of a face
_FINEST_FORM, _MAX_FORM = 0.028, 9.0  # heights of a face: smoothing of form; of L*
_BESIDE_NOSE = 0.07  # heights of a face
_NO_SKIN = 0.8  # share of a beard that is not treated as skin but coloured and detailed like hair
_SHADOW_OF_CHIN = 0.14  # heights of a face: its length
_IN_SHADOW = np.array((-15, 3, 1), np.float32)  # Lab, than the light tone


def paint_skin(lab: Colour, skin: Plane, faces: list[Face], roughness: Plane) -> tuple[Colour, Plane]:
    """Paint skin in two tones, given the roughness of the photo (H, W) in L*.

    Returns the picture (H, W, 3) and the mask of what was painted (H, W), 0..1.
    """
    painted, done = lab.copy(), np.zeros_like(skin)
    for face, own in zip(faces, _nearest(faces, skin.shape), strict=True):
        bare = skin * own * (1 - 0.9 * face.features)
        if np.count_nonzero(bare > 0.5) < MIN_PIXELS or np.count_nonzero(face.bare) < MIN_PIXELS:
            continue
        tones, brighter = _two_tones(lab, bare, face)
        _cast_shadow_of_chin(tones, bare, face)
        tones[..., 1] = np.maximum(tones[..., 1], _MIN_RED * tones[..., 2])
        lit = _lit(lab, bare)
        tones += lit
        tones[..., 1:] *= _livelier(tones, bare)
        beard, share = facial_hair(lab, tones - lit - np.array((brighter, 0, 0), np.float32), bare, face, roughness)
        edged = _feathered(skin * own, tones, lab, face)
        painted = blend(painted, blend(tones, beard, share), edged)
        done = np.maximum(done, edged * (1 - _NO_SKIN * share))
    return painted, done


def _nearest(faces: list[Face], shape: tuple[int, ...]) -> list[npt.NDArray[np.bool_]]:
    """For each face, the pixels to which it is the nearest."""
    if len(faces) < 2:
        return [np.ones(shape, np.bool_) for _ in faces]
    nearest = np.argmin([distance(face, shape) for face in faces], axis=0)
    return [nearest == number for number in range(len(faces))]


def _two_tones(lab: Colour, bare: Plane, face: Face) -> tuple[Colour, float]:
    """The skin of a face: light and shade, separated as in the photo, and the form of the face in both.

    Skin takes its colour from where it is well lit, so it is brighter than its mean; also returns by how much, L*.
    Deeply coloured skin gains less, since it would look like paler skin.
    """
    clear = bare > 0.5
    smooth = masked_blur(lab[..., 0], bare, max(1.6, _SMOOTH * face.height))
    mean, lit = float(smooth[clear].mean()), float(np.percentile(lab[..., 0][clear], 80))
    parted, share, lost = _parted(smooth, clear, face)
    even = 0.4 * mean + 0.6 * smooth
    most = _MAX_GAIN_DEEP + (_MAX_GAIN_PALE - _MAX_GAIN_DEEP) * _paleness(lab, clear)
    brighter = min(most, _AS_LIT * max(0.0, lit - mean) + share * _LIGHT_STAYS * lost)
    lightness = brighter + share * parted + (1 - share) * even + _form(lab[..., 0], smooth, bare, face)
    tint = masked_blur(lab[..., 1:], bare * (0.1 + smoothstep(lab[..., 0], mean - 8, lit)), 0.07 * face.height + 1)
    return np.dstack((lightness, tint)).astype(np.float32), brighter


def _parted(smooth: Plane, clear: npt.NDArray[np.bool_], face: Face) -> tuple[Plane, float, float]:
    """Lightness (H, W) in two tones that are not too far apart.

    Their border is crisp where light comes from a side; in light from the front, it would outline no form but patches.
    Also returns the certainty, 0..1, that there are two, and the L* that the lighter one has lost.
    """
    middle, difference = _otsu(smooth[clear])
    soft = 1 / (1 + np.exp(np.clip((smooth - np.float32(middle)) / np.float32(0.45 + 0.02 * difference), -30, 30)))
    crisp, from_a_side = _in_shade(smooth < middle, clear, face), _lit_from_a_side(smooth, clear, face)
    shade = soft * (1 - from_a_side) + crisp * from_a_side
    depth = min(difference, _MAX_DEPTH * float(np.tanh(difference / _MAX_DEPTH)) + 2)
    light = float(smooth[clear].mean()) + float(shade[clear].mean()) * depth
    in_light = smooth[clear & (smooth > middle)]
    lost = max(0.0, float(in_light.mean()) - light) if in_light.size else 0.0
    share = float(smoothstep(np.array(difference), *_TWO_TONES))
    return _EVEN_TONE * (light - depth * shade) + (1 - _EVEN_TONE) * smooth, share, lost


def _lit_from_a_side(smooth: Plane, clear: npt.NDArray[np.bool_], face: Face) -> float:
    """The degree to which light comes from a side, 0..1, from how the halves of the face differ."""
    rows, columns = np.nonzero(clear & (face.oval > 0.5))
    on_the_left = (columns - face.middle[0]) * face.down[1] < (rows - face.middle[1]) * face.down[0]
    light = smooth[rows, columns]
    if not 0 < np.count_nonzero(on_the_left) < light.size:
        return 0.0
    apart = abs(float(light[on_the_left].mean() - light[~on_the_left].mean()))
    return float(smoothstep(np.array(apart), *_LIT_FROM_A_SIDE))


def _in_shade(darker: npt.NDArray[np.bool_], clear: npt.NDArray[np.bool_], face: Face) -> Plane:
    """The shade (H, W) as a painter would lay it in: few, large, rounded shapes where it is darker."""
    size = _MIN_TONE_WIDTH * face.height
    pieces = closed(opened(darker.astype(np.float32), size), size) > 0.5
    least = (_MIN_TONE_SIDE * face.height) ** 2
    pieces = _without_small(pieces, clear, least)
    pieces = ~_without_small(~pieces, clear, least)
    return smoothstep(blur(pieces.astype(np.float32), max(1.0, _ROUNDED * face.height)), *_CRISP)


def _without_small(pieces: npt.NDArray[np.bool_], clear: npt.NDArray[np.bool_], least: float) -> npt.NDArray[np.bool_]:
    """The pieces that have at least `least` pixels in `clear`."""
    _, numbers = cv2.connectedComponents(pieces.astype(np.uint8))
    large = np.bincount(numbers[clear], minlength=int(numbers.max()) + 1) >= least
    large[0] = False
    kept: npt.NDArray[np.bool_] = large[numbers]
    return kept


def _form(light: Plane, smooth: Plane, bare: Plane, face: Face) -> Plane:
    """The form of nose, cheeks and chin, added to smooth lightness (H, W), with shallow creases and without grain."""
    creases = without_creases(light, face) - light
    finer = masked_blur(light + _CREASELESS * creases, bare, max(1.0, _FINEST_FORM * face.height))
    form: Plane = _FORM * _MAX_FORM * np.tanh((finer - smooth) / _MAX_FORM)
    return form - _folds(creases, bare, face)


def _folds(creases: Plane, bare: Plane, face: Face) -> Plane:
    """The creases (H, W), L*, that show age: only the deepest, softly, as a few drawn lines."""
    even = masked_blur(creases, bare, max(0.8, _WIDTH_OF_FOLD * face.height))
    folds = _MAX_FOLD * np.tanh(smoothstep(even, *_FOLDS) * even / _MAX_FOLD)
    around_nose = dilate(nose(face, creases.shape), odd(_BESIDE_NOSE * face.height))
    return folds * (1 - blur(around_nose, _WIDTH_OF_FOLD * face.height))


def _feathered(skin: Plane, tones: Colour, lab: Colour, face: Face) -> Plane:
    """Skin (H, W) with a soft edge where its surroundings look like it: a bald head, a neck in shade."""
    alike = smoothstep_down(np.linalg.norm(tones - lab, axis=2), *_ALIKE)
    return blend(skin, blur(skin, _FEATHER * face.height), alike)


def _lit(lab: Colour, bare: Plane) -> Colour:
    """The light added to pale skin that is dim, (3,) of Lab.

    Pale skin has little chroma for its L* + 16; dim light reduces both in the same proportion.
    """
    light, a, b = np.median(lab[bare > 0.5], axis=0)
    in_colour = smoothstep(np.array(np.hypot(a, b)), 5, 10)
    dim = smoothstep_down(np.array(light), *_DIM)
    return np.array((_MAX_LIGHT * _paleness(lab, bare > 0.5) * in_colour * dim, 0, 0), np.float32)


def _paleness(lab: Colour, clear: npt.NDArray[np.bool_]) -> float:
    """The paleness of skin, 0..1, judged where it is lit most.

    Cool highlights on deeply coloured skin have little chroma, too, but they are neither light nor all over it.
    """
    skin = lab[clear]
    light, a, b = np.median(skin[skin[:, 0] >= np.percentile(skin[:, 0], _BEST_LIT)], axis=0)
    times = (light + BLACK) / (np.median(skin[:, 0]) + BLACK)
    no_highlight = max(smoothstep(np.array(light), *_LIGHT_ENOUGH), smoothstep_down(np.array(times), *_EVEN))
    return float(smoothstep_down(np.array(np.hypot(a, b) / (light + BLACK)), *_PALE) * no_highlight)


def _livelier(tones: Colour, bare: Plane) -> np.float32:
    """The factor by which the chroma of muddy-looking skin is raised; that of a grey photo stays grey."""
    light, a, b = np.median(tones[bare > 0.5], axis=0)
    colourful = max(1.0, float(np.hypot(a, b)))
    wanted = float(np.interp(light, *_MIN_CHROMA)) * float(smoothstep(np.array(colourful), 5, 10))
    return np.float32(np.clip(wanted / colourful, 1, _MAX_LIVELIER))


def _cast_shadow_of_chin(tones: Colour, bare: Plane, face: Face) -> None:
    """Paint the shadow of a jaw on the neck, in place; what is darker stays as it is."""
    jaw = face.part(JAW)
    down = _SHADOW_OF_CHIN * face.height * face.down
    light = np.median(tones[bare > 0.5], axis=0)
    shape = bare.shape
    shadow = polygon(shape, np.concatenate((jaw, jaw[::-1] + down)), softness=0.006 * face.height)
    shadow *= 1 - polygon(shape, jaw, softness=0.006 * face.height)
    shaded = np.minimum(tones[..., 0], light[0] + _IN_SHADOW[0])
    tones[:] = blend(tones, np.dstack((shaded, tones[..., 1:] + _IN_SHADOW[1:])), shadow)


def _otsu(values: Floats) -> tuple[float, float]:
    """The threshold that best separates values into two groups, and the distance between the means of the two."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    distance = (total[-1] - total) / np.maximum(above, 1) - total / np.maximum(below, 1)
    best = int((below * above * distance**2)[:-1].argmax())
    return float(middles[best]), float(distance[best])
