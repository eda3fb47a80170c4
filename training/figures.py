"""Figures of a drawn picture: likeness to its target, likeness to a drawing, and the same look at every size."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from flip_evaluator import evaluate as flip
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from training.photos import Rgb

THIN = 5  # pixels; narrower structures are thin
THIN_CONTRAST = 10.0  # of CIE L*, 0..100, to what is beside them
THIN_LENGTH = 16  # pixels; shorter ones are texture
SHARES_SIDE = 512  # pixels of the longest side, at which the shares of flat and strong pixels are taken
EDGES = 0.7  # share of a target's edge energy; the rest is shading and texture
STRONG = 20  # levels of luma from a pixel to the next
BARE = (50, 280, 205, 425, 151)  # points of a face where skin is bare: cheeks, beside the mouth, forehead
BARE_RADIUS = 0.05  # of a face's height

Plane = npt.NDArray[np.float32]  # (H, W)
Faces = npt.NDArray[np.float32]  # (N, 478, 2), as `training.analysis` has them


@dataclass(frozen=True, slots=True)
class Figures:
    """A picture's likeness to its target and to a drawing. What a photo has none of is NaN."""

    psnr: float  # dB
    ssim: float  # at most 1
    flip: float  # perceptual distance 0..1 at 67 pixels per degree. Source: Andersson et al., "FLIP" (2020)
    l1: float  # colours in -1..1
    edge_recall: float  # share of the target's edges that the picture has too, within a pixel
    thin_recall: float  # share of the photo's long thin strokes that keep half their contrast
    delta_e: float  # mean CIE76 colour difference
    roughness: float  # fine variation in the target's flat places over the target's own, each + 0.1; 1 if equally flat
    border: float  # L1 of the outermost 8 pixels over that of the rest
    crispness: float  # share of its edge energy in edges as steep as the target's, over the target's own share
    flat: float  # share of pixels that are as dark, in 256 levels, as those to the right and below
    strong: float  # share of pixels that are `STRONG` levels from those
    skin: float  # change in the lightness of bare skin from the photo, CIE L* 0..100


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """Figures that must not change with the size of the drawing. Widths are thousandths of the longest side."""

    flat: float
    strong: float
    line_width: float
    area_width: float  # mean distance from a strong edge to the next
    delta_e: float  # from the picture drawn at another size, both at `SHARES_SIDE`


Measured = TypeVar("Measured", Figures, SizeFigures)


def compare(picture: Rgb, target: Rgb, photo: Rgb, faces: Faces | None = None) -> Figures:
    """Measure a picture against its target, and its thin structures and skin against the photo; all (H, W, 3), 0..255.

    `faces` are those found in the photo.
    """
    error = np.abs(picture.astype(np.float32) - target) / 127.5
    inner = error[8:-8, 8:-8]
    rim = (error.sum() - inner.sum()) / (error.size - inner.size)
    wanted, found = (image.astype(np.float32) / 255 for image in (target, picture))
    with np.errstate(divide="ignore"):  # infinite if nothing differs
        psnr = float(peak_signal_noise_ratio(target, picture))  # type: ignore[no-untyped-call]
    flat, strong = shares(picture)
    return Figures(
        psnr=psnr,
        ssim=float(structural_similarity(target, picture, channel_axis=2)),  # type: ignore[no-untyped-call]
        flip=float(flip(wanted, found, "LDR", applyMagma=False)[1]),
        l1=float(error.mean()),
        edge_recall=_edge_recall(picture, target),
        thin_recall=_thin_recall(picture, photo),
        delta_e=_delta_e(picture, target),
        roughness=_roughness(picture, target),
        border=float(rim / max(float(inner.mean()), 1e-6)),
        crispness=crispness(picture, target),
        flat=flat,
        strong=strong,
        skin=_skin_shift(picture, photo, faces),
    )


def compare_sizes(picture: Rgb, reference: Rgb) -> SizeFigures:
    """Measure a picture by itself, and its tones against the same one drawn at another size."""
    small = reduced(picture, SHARES_SIDE)
    same_size = np.asarray(cv2.resize(reference, small.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    flat, strong = shares(small)
    return SizeFigures(flat, strong, _line_width(picture), _area_width(picture), _delta_e(small, same_size))


def mean_of(figures: Iterable[Measured]) -> Measured:
    """The mean of every figure over those that have it."""
    known = list(figures)
    columns = np.array([astuple(one) for one in known]).T
    values = (column[~np.isnan(column)] for column in columns)
    return type(known[0])(*(float(value.mean()) if value.size else float("nan") for value in values))


def reduced(picture: Rgb, max_side: int) -> Rgb:
    """The picture itself, or a copy that is `max_side` pixels wide or high, made as the service makes it of a drawing.

    That leaves no rings beside lines, which would count as not flat.
    """
    if max(picture.shape[:2]) <= max_side:
        return picture
    small = Image.fromarray(picture)
    small.thumbnail((max_side, max_side), Image.Resampling.HAMMING)
    return np.array(small, np.uint8)


def crispness(picture: Rgb, target: Rgb) -> float:
    """The share of a picture's edge energy in edges as steep as the target's, over the target's own share.

    The energy is the squared step of luma from a pixel to the next. The target's edges are its steepest steps, which
    together hold `EDGES` of its energy. Places do not count: an edge may be crisp elsewhere. NaN if the target has one
    colour.
    """
    drawn, wanted = (_steps(_luma(image)) ** 2 for image in (picture, target))
    ordered = np.sort(wanted, axis=None)[::-1]
    if ordered[0] < 1:
        return float("nan")
    held = np.cumsum(ordered, dtype=np.float64)
    steep = ordered[np.searchsorted(held, EDGES * held[-1])]
    own, found = (energy[energy >= steep].sum() / max(energy.sum(), 1e-6) for energy in (wanted, drawn))
    return float(found / own)


def shares(picture: Rgb) -> tuple[float, float]:
    """Return the shares 0..1 of flat and of strong pixels at a longest side of `SHARES_SIDE`."""
    steps = _steps(np.rint(_luma(reduced(picture, SHARES_SIDE))))
    return float((steps < 1).mean()), float((steps >= STRONG).mean())


def _luma(image: Rgb) -> Plane:
    """ITU-R BT.601, 0..255, not rounded."""
    return image.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)


def _lightness(image: Rgb) -> Plane:
    """CIE L*, 0..100."""
    return np.ascontiguousarray(_lab(image)[..., 0], np.float32)


def _lab(image: Rgb) -> Plane:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


def _delta_e(picture: Rgb, target: Rgb) -> float:
    return float(np.linalg.norm(_lab(picture) - _lab(target), axis=2).mean())


def _steps(luma: Plane) -> Plane:
    """From every pixel to those to the right and below, both in one."""
    return np.asarray(np.hypot(np.diff(luma, axis=1)[:-1], np.diff(luma, axis=0)[:, :-1]), np.float32)


def _edge_recall(picture: Rgb, target: Rgb) -> float:
    found, wanted = (cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 140) > 0 for image in (picture, target))
    near = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return _share(int((wanted & near).sum()), int(wanted.sum()))


def _thin_recall(picture: Rgb, photo: Rgb) -> float:
    """Dark and light strokes of the photo that the picture has within a pixel, with at least half the contrast."""
    kept = wanted = 0
    narrow, near = np.ones((THIN, THIN), np.uint8), np.ones((3, 3), np.uint8)
    lightness = [_lightness(image) for image in (photo, picture)]
    for dark_or_light in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT):
        before, after = (cv2.morphologyEx(image, dark_or_light, narrow) for image in lightness)
        strokes = _long(before > THIN_CONTRAST)
        kept += int((strokes & (cv2.dilate(after, near) > before / 2)).sum())
        wanted += int(strokes.sum())
    return _share(kept, wanted)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _long(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The connected parts that are `THIN_LENGTH` pixels wide or high."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    long = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) >= THIN_LENGTH
    long[0] = False  # the background
    return np.asarray(long[labels], np.bool_)


def _roughness(picture: Rgb, target: Rgb) -> float:
    rough, wanted = _fine_variation(picture), _fine_variation(target)
    flat = cv2.blur(wanted, (5, 5)) < 2.0
    return float((rough[flat].mean() + 0.1) / (wanted[flat].mean() + 0.1)) if flat.any() else 1.0


def _fine_variation(image: Rgb) -> Plane:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32))


def _skin_shift(picture: Rgb, photo: Rgb, faces: Faces | None) -> float:
    height, width = photo.shape[:2]
    bare = np.zeros((height, width), np.uint8)
    for face in (np.empty((0, 0, 2)) if faces is None else faces) * np.array((width, height)):
        radius = max(1, round(BARE_RADIUS * float(np.ptp(face[:, 1]))))
        for x, y in face[list(BARE)]:
            cv2.circle(bare, (round(x), round(y)), radius, 1, -1)
    gained = (_lightness(picture) - _lightness(photo))[bare > 0]
    return float(gained.mean()) if gained.size else float("nan")


def _line_width(picture: Rgb) -> float:
    """Of dark strokes of up to a fiftieth of the picture: twice their area over the length of their outline."""
    longest = max(picture.shape[:2])
    widest = longest // 50 | 1
    hollow = cv2.morphologyEx(_lightness(picture), cv2.MORPH_BLACKHAT, np.ones((widest, widest), np.uint8))
    strokes = hollow > THIN_CONTRAST
    sides = sum(int(np.diff(strokes, axis=axis).sum()) for axis in (0, 1))
    outline = sides * np.pi / 4  # on average over directions, a line is this much shorter than the sides of its pixels
    return float(2000 * strokes.sum() / outline / longest) if sides else float("nan")


def _area_width(picture: Rgb) -> float:
    """Along rows and columns, with steps taken over a `SHARES_SIDE`th of the picture, whatever its size."""
    longest = max(picture.shape[:2])
    reach = max(1, round(longest / SHARES_SIDE))
    between = areas = 0
    for lines in (_luma(picture), _luma(picture).T):
        edges = np.abs(lines[:, reach:] - lines[:, :-reach]) >= STRONG
        between += int((~edges).sum())
        areas += len(lines) + int((edges[:, 1:] & ~edges[:, :-1]).sum())
    return float(1000 * between / areas / longest)
