"""Finds pairs whose target failed, by rules, so that nothing is learned from them."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from training.pairs import Faces, Pair
from training.photos import Rgb

# Points of the mesh of a face. Source: MediaPipe's canonical face model.
EYES = ((33, 133, 159, 145), (362, 263, 386, 374))  # corners and lids
MIN_EYE = 10.0  # pixels from corner to corner; smaller ones are not checked
EYE_KEPT = 0.5  # share of the photo's contrast in the eyes that a target must have
SKIN_MOVED = 16.0  # of CIE L*, beyond the usual change in this style of skin of that lightness
ONE_COLOUR = 0.55  # share of a target that may have a single colour
ONE_COLOUR_MORE = 0.3  # and how much more of it than of the photo
COLOUR_BINS = 12  # per channel

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def failures(pairs: Iterable[Pair]) -> dict[str, str]:
    """Names and reasons of those pairs of one style whose target failed."""
    reasons: dict[str, str] = {}
    skins: list[tuple[str, float, float]] = []
    for pair in pairs:
        before, after = _lightness(pair.photo), _lightness(pair.target)
        if is_one_colour(pair.photo, pair.target):
            reasons[pair.name] = "a large area became one colour"
        for face in pair.faces:
            if eyes_are_lost(before, after, face):
                reasons[pair.name] = "the eyes are lost"
            skin = skin_of(face, before.shape)
            if skin.sum() > 100:
                skins.append((pair.name, float(np.median(before[skin])), float(np.median(after[skin]))))
    return reasons | dict.fromkeys(moved(skins), "the skin's lightness moved")


def moved(skins: Sequence[tuple[str, float, float]]) -> list[str]:
    """Names whose skin moved further than that of the others, given its lightness before and after.

    The usual change depends on the lightness before, as a parabola if there are enough faces; otherwise dark skin
    would be judged by what the style does to fair skin.
    """
    if len(skins) < 3:
        return []
    before, after = (np.array([skin[i] for skin in skins]) for i in (1, 2))
    usual = (
        np.polyval(np.polyfit(before, after, 2 if len(skins) > 20 else 1), before) if np.ptp(before) > 10 else before
    )
    off = after - usual
    return [skin[0] for skin, far in zip(skins, off - np.median(off), strict=True) if abs(far) > SKIN_MOVED]


def eyes_are_lost(before: Plane, after: Plane, face: Faces) -> bool:
    """Return whether both eyes of a face (478, 2) have too little contrast in the target; lightness (H, W)."""
    kept = [_eye_kept(before, after, face[list(eye)]) for eye in EYES]
    known = [share for share in kept if share is not None]
    return bool(known) and max(known) < EYE_KEPT


def is_one_colour(photo: Rgb, target: Rgb) -> bool:
    """Return whether much more of the target than of the photo has a single colour."""
    share = _largest_share(target)
    return share > ONE_COLOUR and share > _largest_share(photo) + ONE_COLOUR_MORE


def skin_of(face: Faces, shape: tuple[int, ...]) -> Mask:
    """The mask (H, W) of a face without its rim."""
    middle = face.mean(0)
    inner = (middle + 0.75 * (face - middle)) * (shape[1], shape[0])
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(inner.astype(np.float32)).round().astype(np.int32), (1,))
    return np.asarray(mask > 0, np.bool_)


def _eye_kept(before: Plane, after: Plane, eye: Faces) -> float | None:
    """The target's share of the photo's contrast around an eye; None if it is too small or outside the picture."""
    height, width = before.shape
    corners = eye * (width, height)
    size = float(np.ptp(corners[:, 0]))
    (x, y), reach = corners.mean(0), 0.7 * size
    cut = slice(max(0, round(y - reach)), round(y + reach) + 1), slice(max(0, round(x - reach)), round(x + reach) + 1)
    if size < MIN_EYE or before[cut].size < MIN_EYE**2:
        return None
    return float(after[cut].std() / max(float(before[cut].std()), 1.0))


def _largest_share(picture: Rgb) -> float:
    coarse = (picture.astype(np.uint16) * COLOUR_BINS) >> 8
    colours = (coarse[..., 0] * COLOUR_BINS + coarse[..., 1]) * COLOUR_BINS + coarse[..., 2]
    return int(np.bincount(colours.ravel()).max()) / int(colours.size)


def _lightness(picture: Rgb) -> Plane:
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return np.asarray(lab[..., 0], np.float32)
