"""Batches: random crops of the pairs, with photos as other cameras might have taken them.

Crops are cut only at the size at which a style is drawn, because resampling would blur the target.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from training.faces import JAW_LINE, LEFT_EYE, LIPS, LOWER_NOSE, RIGHT_EYE, grown
from training.pairs import Pair, Pairs
from training.photos import Rgb
from training.planes import Points

NEAR_FACE = 0.8  # share of the crops of people that are cut around a face

# Factors of their size, in x and y, and of their weight. Noses are so faint that they would be averaged away if they
# weighed no more than eyes.
FEATURES = (
    (LEFT_EYE, (1.5, 2.4), 1),
    (RIGHT_EYE, (1.5, 2.4), 1),
    (LIPS, (1.1, 1.2), 2),
    (LOWER_NOSE, (1.3, 1.3), 2),
)
AROUND_EYES = LEFT_EYE + RIGHT_EYE, (1.35, 3.2)  # where glasses sit; they weigh half as much as eyes
JAW_WIDTH = 0.05  # heights of a face: the band along a jaw, which weighs as much
# In the loss, where other pixels have 1: people are judged by their faces, and a face by its features, which have few
# pixels.
FACE_WEIGHT = 2
FEATURE_WEIGHT = 8
SMALL_FACE = 200  # pixels of its height; the features of smaller ones have even fewer pixels, and weigh more
MAX_WEIGHT = 16

WeightMap = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """Photos and targets (N, 3, H, W) in -1..1; weights of pixels in the loss (N, 1, H, W)."""

    photo: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    weight: WeightMap


def batch(pairs: Pairs, *, seed: int, step: int, size: int, crop: int) -> Batch:
    """The batch of a step, determined by the seed and the step alone: random crops, mirrored, their photos degraded."""
    rng = np.random.default_rng((seed, step))
    cut = [cut_crop(pairs.draw(rng), crop, rng) for _ in range(size)]
    photos = [degraded(photo, rng) for photo, _, _ in cut]
    weights = np.stack([weight for _, _, weight in cut])[:, None]
    return Batch(_to_tensor(photos), _to_tensor([target for _, target, _ in cut]), weights)


def cut_crop(pair: Pair, crop: int, rng: np.random.Generator) -> tuple[Rgb, Rgb, WeightMap]:
    """Cut a square of photo and target (crop, crop, 3) and its weight map (crop, crop), near a face or anywhere.

    Only crops without people are mirrored: the highlight in drawn eyes is always on the left, and mirroring would
    average it away. A picture that is too small is reflected at its border; the reflection weighs nothing, since eyes
    in it would be lit from the other side.
    """
    room = [max(0, length - crop) for length in pair.photo.shape[:2]]
    top, left = (int(rng.integers(0, length + 1)) for length in room)
    if len(pair.faces) and rng.random() < NEAR_FACE:
        x, y = pair.faces[int(rng.integers(len(pair.faces)))].mean(0)
        middle = np.array((y, x)) * pair.photo.shape[:2]
        top, left = (int(at) for at in np.clip(middle - crop * rng.uniform(0.25, 0.75, 2), 0, room))
    mirrored = not len(pair.faces) and rng.random() < 0.5
    photo, target = (_filled(whole[top : top + crop, left : left + crop], crop) for whole in (pair.photo, pair.target))
    weight = _weight_map(pair, top, left, crop)
    return (photo[:, ::-1], target[:, ::-1], weight[:, ::-1]) if mirrored else (photo, target, weight)


def feature_weight(face_height: float) -> float:
    """The weight of the pixels of eyes, noses and mouths, given the height of their face in pixels."""
    return min(FEATURE_WEIGHT * max(1.0, SMALL_FACE / max(face_height, 1.0)), MAX_WEIGHT)


def degraded(photo: Rgb, rng: np.random.Generator) -> Rgb:
    """The photo as another camera might have taken it, while the target stays: light, softness, noise, JPEG."""
    if rng.random() < 0.5:
        photo = _in_other_light(photo, rng)
    if rng.random() < 0.15:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.3, 0.9)), np.uint8)
    if rng.random() < 0.25:
        noise = rng.standard_normal(photo.shape, np.float32) * np.float32(rng.uniform(1, 7))
        photo = np.clip(photo + noise, 0, 255).round().astype(np.uint8)
    if rng.random() < 0.25:
        coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))])[1]
        photo = cast("Rgb", cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return photo


def _weight_map(pair: Pair, top: int, left: int, crop: int) -> WeightMap:
    """The weights (crop, crop) of a crop's pixels in the loss: of faces, of their features, else 1."""
    height, width = pair.photo.shape[:2]
    weights = np.ones((crop, crop), np.float32)
    faces = [(face * (width, height) - (left, top)).astype(np.float32) for face in pair.faces]
    for points in faces:
        _fill_hull(weights, points, FACE_WEIGHT)
    for points in faces:
        of_features = feature_weight(float(np.ptp(points[:, 1])))
        around, growth = AROUND_EYES
        _fill_hull(weights, grown(points[list(around)], growth), of_features / 2)
        _line(weights, points[list(JAW_LINE)], of_features / 2, JAW_WIDTH * float(np.ptp(points[:, 1])))
        for numbers, growth, factor in FEATURES:
            _fill_hull(weights, grown(points[list(numbers)], growth), factor * of_features)
    weights[height:] = weights[:, width:] = 0
    return weights


def _line(weights: WeightMap, points: Points, weight: float, width: float) -> None:
    path = points.round().astype(np.int32)
    cv2.polylines(weights, [path], isClosed=False, color=(weight,), thickness=max(1, round(width)))


def _fill_hull(weights: WeightMap, points: Points, weight: float) -> None:
    cv2.fillConvexPoly(weights, cv2.convexHull(points.round().astype(np.int32)), (weight,))


def _in_other_light(photo: Rgb, rng: np.random.Generator) -> Rgb:
    """Change exposure and contrast a little, and the white balance, mostly to warmer or colder."""
    warmer = rng.normal(0, 0.15) * np.array((1, 0.2, -1))
    gain = np.exp(rng.normal(0, 0.10) + rng.normal(0, 0.03, 3) + warmer)
    contrast, middle = rng.normal(1, 0.06), rng.uniform(0.35, 0.55)
    levels = np.linspace(0, 1, 256)[:, None] ** 2.2 * gain
    shown = (np.clip(levels, 0, 1) ** (1 / 2.2) - middle) * contrast + middle
    table = (np.clip(shown, 0, 1) * 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(photo), table[:, None]), np.uint8)


def _filled(cut: Rgb, side: int) -> Rgb:
    low, right = side - cut.shape[0], side - cut.shape[1]
    if not low and not right:
        return cut
    return np.asarray(np.pad(cut, ((0, low), (0, right), (0, 0)), mode="symmetric"), np.uint8)


def _to_tensor(images: Sequence[Rgb]) -> npt.NDArray[np.float32]:
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked).astype(np.float32) / np.float32(127.5) - np.float32(1)
