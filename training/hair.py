"""Hair: where it is, above and beside every face.

Source: Rother, Kolmogorov, Blake, "GrabCut" (2004), for the idea: certain pixels teach the colours of hair and of all
else, and these decide what the rest is, again and again. Instead of its cuts, position decides here, measured
in heights of a face from its middle, `across` and `down`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.beards import BLACK
from training.faces import Face
from training.planes import (
    Colour,
    Floats,
    Labels,
    Plane,
    blur,
    closed,
    opened,
    shrunk,
    smoothstep,
    smoothstep_down,
)
from training.strokes import Window, is_empty
from training.view import View

_REACH = 1.5, 2.1  # heights of a face that hair is sought in: upwards and sideways, and downwards
_MAX_FACE, _MIN_FACE = 220.0, 40.0  # pixels of a face: larger ones are shrunk; hair of smaller ones is not painted
_BINS, _FIRST_BIN, _BIN = (24, 20, 20), np.array((0, -70, -70), np.float32), np.array((4.5, 7, 7), np.float32)  # Lab
_MIN_PIXELS = 60  # needed to know colours by
_ROUNDS = 3
_STRANGE = 4e-5  # frequency of a colour in what is neither hair nor skin, clothes or background
_IN_SHADE = 0.8, 0.62  # times as light as skin; black is 0
_IN_LIGHT = np.array((10, 0.75, 0.75), np.float32)  # more of L*, and times as much of a and b
_DIFFERENT = 9.0, 22.0  # units of Lab between hair and skin: at the first they may be confused, at the second not
_SMOOTH = 1.1, 1.7  # of L* in roughness: at the first it is no hair, at the second it may be
_ROUGHER = 1.9, 2.1  # times as rough as skin: at the first it may be a forehead, at the second it is none
_LARGE = 0.2  # heights of a face: side of a piece of hair that is not connected to the hair above it
_ROUND = 0.007, (0.38, 0.62)  # heights of a face: smoothing of outlines; the levels of their edge


@dataclass(frozen=True, slots=True)
class Near:
    """The surroundings of a face: window in the photo, size when shrunk, places of pixels in heights of the face."""

    window: Window
    size: tuple[int, int]  # width and height, shrunk
    height: float  # of the face, shrunk
    across: Plane
    down: Plane

    def shrunk(self, image: Floats) -> Floats:
        """The part of an image of the whole photo that lies here, shrunk."""
        return shrunk(image[self.window], self.size)

    def enlarged(self, image: Floats) -> Floats:
        """The reverse: an image enlarged to the size of the window."""
        rows, columns = self.window
        size = columns.stop - columns.start, rows.stop - rows.start
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, slots=True)
class Hair:
    """The hair of a face, the face itself, and the skin above the brows that is left bare: 0..1, shrunk."""

    near: Near
    share: Plane
    face: Plane
    forehead: Plane


@dataclass(frozen=True, slots=True)
class _Seen:
    """The contents of a face's surroundings; planes are 0..1."""

    near: Near
    lab: Colour
    bins: Labels  # the bin of the histograms that a colour is in
    person: Plane
    skin: Plane
    oval: Plane
    features: Plane  # and other faces
    scalp: Plane  # what shines and is smooth: a bald head
    roughness: Plane  # units of L*

    @classmethod
    def around(cls, face: Face, view: View, near: Near) -> "_Seen":
        lab, person, skin, oval = (near.shrunk(plane) for plane in (view.even, view.person, view.skin, face.oval))
        others = [other.oval for other in view.faces if other is not face]
        features = near.shrunk(np.max([view.features, *others], axis=0))
        roughness = near.shrunk(view.roughness)
        scalp = _scalp(lab[..., 0], skin, roughness)
        return cls(near, lab, _bins(lab), person, skin, oval, features, scalp, roughness)

    def frequency(self, of: Plane) -> Plane:
        """The frequency of each pixel's colour among the pixels of a mask."""
        return _histogram(self.bins, of)[self.bins]

    def frequency_in_odd_light(self, skin: Plane) -> Plane:
        """The frequency that each pixel's colour would have in the skin if the skin were in shade, or shone."""
        black = np.array((BLACK, 0, 0), np.float32)
        bins = [_bins((self.lab + black) * np.float32(times) - black) for times in _IN_SHADE]
        shining = self.lab * (1, *_IN_LIGHT[1:]) + (_IN_LIGHT[0], 0, 0)
        totals = [_histogram(some, skin) for some in (*bins, _bins(shining))]
        frequency: Plane = np.sum(totals, axis=0)[self.bins]
        return frequency


def find_hair(view: View) -> list[Hair]:
    """Find the hair of every face that is large enough and not bald."""
    found = [_hair_of(face, view) for face in view.faces if face.height >= _MIN_FACE]
    return [hair for hair in found if hair is not None]


def with_foreheads(skin: Plane, hair: list[Hair]) -> Plane:
    """Skin (H, W) with the bare parts of foreheads added, even where they shine or are in shade."""
    whole = skin.copy()
    for one in hair:
        window = one.near.window
        whole[window] = np.maximum(whole[window], one.near.enlarged(one.forehead))
    return whole


def _hair_of(face: Face, view: View) -> Hair | None:
    near = _near(face, view.person.shape)
    if is_empty(near.window):
        return None
    seen = _Seen.around(face, view, near)
    skin = smoothstep(seen.skin, 0.4, 0.7)
    seeds = _crown(near) * (1 - seen.oval) * smoothstep(seen.person, 0.6, 0.85) * smoothstep_down(seen.skin, 0.1, 0.4)
    seeds *= 1 - seen.scalp
    if min(seeds.sum(), skin.sum()) < _MIN_PIXELS:
        return None
    apart = _apart(seen.lab, seeds, skin)
    of_skin, in_odd_light = seen.frequency(skin), seen.frequency_in_odd_light(skin)
    as_skin = of_skin + 0.5 * apart * in_odd_light
    seeds = seeds * (1 - _rather(as_skin, seen.frequency(seeds), 0.55 - 0.2 * apart, 0.8 - 0.2 * apart))
    if seeds.sum() < _MIN_PIXELS:
        return None
    forehead = apart * _forehead(near)
    other = (
        _elsewhere(seen)
        + 0.5 * np.maximum(np.maximum(smoothstep(seen.skin, 0.05, 0.5), 0.25), forehead) * of_skin
        + 0.25 * np.maximum(_cheeks(near), forehead) * in_odd_light
    )
    likely, known = _likely(seen), seeds
    for _ in range(_ROUNDS):
        own = likely * seen.frequency(known)
        share = own / (own + other) * smoothstep_down(seen.skin, 0.3, 0.7)
        known = smoothstep(blur(share, 1), 0.4, 0.8) * smoothstep_down(_head(near), 1.0, 1.3) + 0.3 * seeds
    mass = _tidied(share, seeds, seen)
    bare = forehead * (1 - seen.features) * smoothstep(seen.person, 0.4, 0.7) * smoothstep_down(mass, 0.1, 0.4)
    bare *= _rather(as_skin, seen.frequency(known), 0.4, 0.6)
    return Hair(near, mass, seen.oval, bare * _as_smooth_as_skin(seen, bare))


def _scalp(light: Plane, skin: Plane, roughness: Plane) -> Plane:
    """1 where it is lighter than skin and smoother than hair."""
    if np.count_nonzero(skin > 0.5) < _MIN_PIXELS:
        return np.zeros_like(light)
    usual = float(np.median(light[skin > 0.5]))
    glaring = 2 * smoothstep(light, usual + 20, usual + 45)
    return smoothstep(light, usual - 2, usual + 6) * smoothstep_down(roughness - glaring, *_SMOOTH)


def _near(face: Face, shape: tuple[int, ...]) -> Near:
    (x, y), (aside, below) = face.middle, np.array(_REACH) * face.height
    rows, columns = (
        slice(max(0, int(start)), max(0, min(length, int(end))))
        for start, end, length in ((y - aside, y + below, shape[0]), (x - aside, x + aside, shape[1]))
    )
    shrink = max(1.0, face.height / _MAX_FACE)
    height, width = (max(2, round((side.stop - side.start) / shrink)) for side in (rows, columns))
    dy = (np.linspace(rows.start, rows.stop, height, endpoint=False, dtype=np.float32) - y)[:, None]
    dx = np.linspace(columns.start, columns.stop, width, endpoint=False, dtype=np.float32) - x
    down_x, down_y = face.down / np.float32(face.height)
    across, down = dx * down_y - dy * down_x, dy * down_y + dx * down_x
    return Near((rows, columns), (width, height), face.height / shrink, across, down)


def _rim(near: Near, middle: float, radii: tuple[float, float]) -> Plane:
    """The distance of pixels from the centre of an ellipse, `middle` down the face: 1 on its rim."""
    rim: Plane = np.hypot(near.across / radii[0], (near.down - middle) / radii[1])
    return rim


def _head(near: Near) -> Plane:
    return _rim(near, -0.2, (0.72, 0.85))


def _crown(near: Near) -> Plane:
    """Just above the face and beside its temples."""
    return smoothstep_down(_rim(near, -0.08, (0.5, 0.62)), 1.15, 1.35) * smoothstep_down(near.down, -0.12, -0.02)


def _forehead(near: Near) -> Plane:
    """Above the brows, up to where the scalp may be seen."""
    return smoothstep_down(_rim(near, -0.08, (0.5, 0.62)), 1.0, 1.12) * smoothstep_down(near.down, -0.2, -0.1)


def _cheeks(near: Near) -> Plane:
    """Below the brows, and where the ears are."""
    within = smoothstep_down(near.down, 0.25, 0.4) * smoothstep_down(np.abs(near.across), 0.5, 0.62)
    return smoothstep(near.down, -0.25, -0.1) * within


def _likely(seen: _Seen) -> Plane:
    """The likelihood of hair, whatever the colour: around the head and beside the neck, not in the face."""
    aside, down = np.abs(seen.near.across), seen.near.down
    long = smoothstep(aside, 0.2, 0.36) * smoothstep_down(aside, 0.7, 1.1) * smoothstep_down(down, 0.9, 1.7)
    neck = smoothstep(down, 0.15, 0.3) * smoothstep_down(aside, 0.3, 0.42)
    face = np.maximum(blur(seen.oval, 0.02 * seen.near.height) ** 2 * smoothstep(down, -0.42, -0.2), seen.features)
    likely = np.maximum(0.75 * smoothstep_down(_head(seen.near), 0.8, 1.45), 0.4 * long)
    likely *= (1 - neck) * smoothstep(seen.person, 0.15, 0.5)
    return np.asarray(likely * (1 - np.clip(1.3 * face, 0, 1)) * (1 - seen.scalp), np.float32)


def _elsewhere(seen: _Seen) -> Plane:
    """The likelihood of background, clothes and anything else."""
    person, down = smoothstep(seen.person, 0.15, 0.5), seen.near.down
    background = seen.frequency(smoothstep_down(seen.person, 0.1, 0.3))
    clothes = seen.frequency(smoothstep(down, 0.85, 1) * smoothstep(seen.person, 0.5, 0.8) * (1 - seen.skin))
    below = smoothstep(down, 0.3, 0.8)
    elsewhere: Plane = (1 - 0.85 * person) * background + 0.8 * person * below * clothes + np.float32(_STRANGE)
    return elsewhere


def _apart(lab: Colour, seeds: Plane, skin: Plane) -> float:
    """The certainty, 0..1, with which colour tells hair from skin."""
    if min(np.count_nonzero(seeds > 0.5), np.count_nonzero(skin > 0.5)) < _MIN_PIXELS:
        return 0.0
    difference = np.linalg.norm(np.median(lab[skin > 0.5], axis=0) - np.median(lab[seeds > 0.5], axis=0))
    return float(smoothstep(np.array(difference), *_DIFFERENT))


def _rather(one: Plane, other: Plane, low: float, high: float) -> Plane:
    """1 where the share of `one` in both is above `high` there and around, 0 where it is below `low`."""
    share = np.asarray(one / (one + other + np.float32(1e-6)), np.float32)
    return smoothstep(np.minimum(share, blur(share, 1)), low, high)


def _as_smooth_as_skin(seen: _Seen, bare: Plane) -> float:
    """1 if what is taken for a forehead is; a blond fringe below a hat is not."""
    new, skin = (bare > 0.5) & (seen.skin < 0.4), seen.skin > 0.5
    if min(np.count_nonzero(new), np.count_nonzero(skin)) < _MIN_PIXELS:
        return 1.0
    rougher = np.median(seen.roughness[new]) / max(1.0, float(np.median(seen.roughness[skin])))
    return float(smoothstep_down(np.array(rougher), *_ROUGHER))


def _bins(lab: Colour) -> Labels:
    light, a, b = np.moveaxis(np.clip((lab - _FIRST_BIN) / _BIN, 0, np.array(_BINS) - 1).astype(np.int32), 2, 0)
    bins: Labels = (light * _BINS[1] + a) * _BINS[2] + b
    return bins


def _histogram(bins: Labels, weights: Plane) -> Floats:
    """The share of every bin, spread to the bins beside it."""
    counts = np.bincount(bins.ravel(), weights.ravel(), int(np.prod(_BINS))).reshape(_BINS).astype(np.float32)
    for axis in range(3):
        around = np.moveaxis(np.pad(counts, [(int(axis == other),) * 2 for other in range(3)]), axis, 0)
        counts = np.moveaxis(0.25 * around[:-2] + 0.5 * around[1:-1] + 0.25 * around[2:], 0, axis)
    shares: Floats = (counts / (counts.sum() + np.float32(1e-3))).ravel()
    return shares


def _tidied(share: Plane, seeds: Plane, seen: _Seen) -> Plane:
    """Hair in rounded masses, without specks and holes."""
    height = seen.near.height
    mass = closed(opened(blur(share, 0.007 * height), 0.025 * height), 0.035 * height)
    mass = mass * _in_place(mass, seeds, seen)
    return smoothstep(blur(mass, _ROUND[0] * height), *_ROUND[1])


def _in_place(mass: Plane, seeds: Plane, seen: _Seen) -> Plane:
    """1 in pieces of hair that are connected to the hair above the face, and in large ones beside it."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats((mass > 0.35).astype(np.uint8))
    close = (_rim(seen.near, 0.05, (0.72, 0.7)) < 1).astype(np.float32)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    planes = (seeds, close, seen.oval, seen.person)
    known, near, in_face, of_person = (np.bincount(pieces.ravel(), plane.ravel(), len(stats)) for plane in planes)
    beside = (area > (_LARGE * seen.near.height) ** 2) & (near > 0.6 * area) & (in_face < 0.3 * area)
    kept = ((known > 20) & (in_face < 0.7 * area) | beside) & (of_person > 0.6 * area)
    kept[0] = False
    return blur(kept.astype(np.float32)[pieces], 1)
