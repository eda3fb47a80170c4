"""A picture decided into regions, each of one colour or one clean gradient.

Sources: Felzenszwalb, Huttenlocher, "Efficient graph-based image segmentation" (2004), for the first, small regions;
hierarchical merging of neighbours in the order of their difference (Beaulieu, Goldberg, "Hierarchy in picture
segmentation", 1989), where two regions differ as much as their mean colours or the border between them, whichever is
less: a cloud in a sky has its own colour but no border, a wall in half light the reverse.
"""

import heapq
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from skimage.segmentation import felzenszwalb

from training.planes import Colour, Floats, Labels, Plane, blur, erode, shrunk

_MIN_BORDER = 3  # pixels; the contrast of a shorter one says nothing
_BORDER_WEIGHT = 2.0  # contrast is measured over three pixels, so a soft border shows less than the colours differ
_SMALL_SHARE = 0.002  # of the picture; smaller regions are merged more readily …
_SMALL_COST = 0.55  # … down to this share of their difference
_GRADIENT_SHARE = 0.004  # of the picture; larger regions keep their gradient

Border = tuple[float, int]  # sum of its contrast, and its length in pixels


def segment(features: Floats, *, scale: float, min_size: int, threshold: float) -> Labels:
    """Divide a picture into regions that differ from their neighbours by `threshold` or more, in units of the features.

    `scale` is that of the first regions (larger, and they are larger), `min_size` their minimum size in pixels.
    """
    first = _first_regions(features / 50, scale, min_size)
    merged = _merged(_mosaic(features, first), threshold)
    return _numbered(merged[first])


def rounded(labels: Labels) -> Labels:
    """Round the borders: every pixel near one takes the label that most pixels within 2 have."""
    size = np.ones((5, 5), np.uint8)
    plane = labels.astype(np.float32)
    rows, columns = np.nonzero(cv2.dilate(plane, size) != cv2.erode(plane, size))
    padded = np.pad(labels, 2, mode="edge")
    disc = [(y, x) for y in range(5) for x in range(5) if (y - 2) ** 2 + (x - 2) ** 2 <= 5]
    votes = np.stack([padded[rows + y, columns + x] for y, x in disc])
    decided = labels.copy()
    decided[rows, columns] = _most_frequent(votes)
    return decided


def fill(lab: Colour, labels: Labels) -> Colour:
    """Give every region its mean colour; large ones keep their gradient, smooth as if airbrushed."""
    totals, sizes = _totals(lab, labels)
    means = (totals / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    filled = means[labels]
    for region in np.flatnonzero(sizes > _GRADIENT_SHARE * labels.size):
        box = _box(labels == region)
        inside = labels[box] == region
        filled[box][inside] = _gradient(lab[box], inside, means[region])[inside]
    return filled


def spread(plane: Plane, labels: Labels) -> Plane:
    """The root mean square of a plane over the region that a pixel is in."""
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    squares = np.bincount(labels.ravel(), (plane * plane).ravel())
    return np.sqrt(squares / sizes).astype(np.float32)[labels]


def steps(labels: Labels, features: Floats, axis: int) -> tuple[Labels, Labels, Plane]:
    """Every two neighbours along an axis: their labels, and how the features change from the one before to that behind.

    The change is from one further before to one further behind: borders are soft.
    """
    along, values = np.moveaxis(labels, axis, 0), np.moveaxis(features, axis, 0)
    wider = np.concatenate((values[:1], values, values[-1:]))
    change = np.sqrt(np.square(wider[:-3] - wider[3:]).sum(-1))
    return along[:-1], along[1:], change


def borders(labels: Labels, features: Floats) -> tuple[Plane, Plane]:
    """The borders between regions: 1 where two meet, and the contrast there; 0 elsewhere."""
    edge, contrast = (np.zeros(labels.shape, np.float32) for _ in range(2))
    for axis in (0, 1):
        before, behind, change = steps(labels, features, axis)
        meeting = before != behind
        np.moveaxis(edge, axis, 0)[:-1][meeting] = 1
        there = np.moveaxis(contrast, axis, 0)[:-1]
        np.maximum(there, change * meeting, out=there)
    return edge, contrast


def _first_regions(features: Floats, scale: float, min_size: int) -> Labels:
    with warnings.catch_warnings():
        # It warns that more than three channels may be a mistake, but accepts them.
        warnings.filterwarnings("ignore", "Got image with third dimension", RuntimeWarning)
        found = felzenszwalb(features, scale=scale, sigma=0, min_size=min_size, channel_axis=-1)
    return np.asarray(found, np.int32)


@dataclass(slots=True)
class _Mosaic:
    """Regions and the borders between them, while they are merged. A merged region changes its `age`."""

    sizes: list[int]
    totals: list[list[float]]
    means: list[list[float]]
    borders: list[dict[int, Border]]
    ages: list[int]
    parents: list[int]
    small: float  # pixels

    def cost(self, one: int, other: int) -> float:
        """The difference between two neighbours; less if one of them is small."""
        difference = math.dist(self.means[one], self.means[other])
        contrast, length = self.borders[one][other]
        if length >= _MIN_BORDER:
            difference = min(difference, _BORDER_WEIGHT * contrast / length)
        share = min(1.0, min(self.sizes[one], self.sizes[other]) / self.small)
        return difference * (_SMALL_COST + (1 - _SMALL_COST) * share)

    def join(self, kept: int, gone: int) -> None:
        """Make two regions one."""
        self.parents[gone] = kept
        self.sizes[kept] += self.sizes[gone]
        self.totals[kept] = [sum(both) for both in zip(self.totals[kept], self.totals[gone], strict=True)]
        self.means[kept] = [total / self.sizes[kept] for total in self.totals[kept]]
        self.ages[kept] += 1
        self.ages[gone] = -1
        del self.borders[kept][gone], self.borders[gone][kept]
        for beside, (contrast, length) in self.borders[gone].items():
            with_contrast, with_length = self.borders[kept].get(beside, (0.0, 0))
            joined = contrast + with_contrast, length + with_length
            self.borders[kept][beside] = self.borders[beside][kept] = joined
            del self.borders[beside][gone]


def _mosaic(features: Floats, labels: Labels) -> _Mosaic:
    totals, sizes = _totals(features, labels)
    neighbours: list[dict[int, Border]] = [{} for _ in sizes]
    for one, other, border in _borders_between(features, labels, len(sizes)):
        neighbours[one][other] = neighbours[other][one] = border
    return _Mosaic(
        sizes=sizes.tolist(),
        totals=totals.tolist(),
        means=(totals / sizes[:, None]).tolist(),
        borders=neighbours,
        ages=[0] * len(sizes),
        parents=list(range(len(sizes))),
        small=labels.size * _SMALL_SHARE,
    )


def _borders_between(features: Floats, labels: Labels, count: int) -> Iterator[tuple[int, int, Border]]:
    """Every two regions that meet, and the border between them."""
    keys, contrasts = [], []
    for axis in (0, 1):
        before, behind, change = steps(labels, features, axis)
        meeting = before != behind
        one, other = before[meeting].astype(np.int64), behind[meeting].astype(np.int64)
        keys.append(np.minimum(one, other) * count + np.maximum(one, other))
        contrasts.append(change[meeting])
    pairs, at = np.unique(np.concatenate(keys), return_inverse=True)
    lengths, totals = np.bincount(at), np.bincount(at, np.concatenate(contrasts))
    for pair, length, total in zip(pairs.tolist(), lengths.tolist(), totals.tolist(), strict=True):
        yield pair // count, pair % count, (total, length)


def _merged(mosaic: _Mosaic, threshold: float) -> npt.NDArray[np.intp]:
    """Merge the two most alike until all differ by the threshold; returns the region that each became part of."""
    queue = [
        (mosaic.cost(one, other), one, other, 0, 0)
        for one, beside in enumerate(mosaic.borders)
        for other in beside
        if one < other
    ]
    heapq.heapify(queue)
    while queue:
        cost, one, other, *ages = heapq.heappop(queue)
        if cost > threshold:
            break
        if ages != [mosaic.ages[one], mosaic.ages[other]]:
            continue  # one of them has changed since
        kept, gone = (other, one) if mosaic.sizes[one] < mosaic.sizes[other] else (one, other)
        mosaic.join(kept, gone)
        for beside in mosaic.borders[kept]:
            heapq.heappush(queue, (mosaic.cost(kept, beside), kept, beside, mosaic.ages[kept], mosaic.ages[beside]))
    return np.array([_root(mosaic.parents, region) for region in range(len(mosaic.parents))])


def _root(parents: Sequence[int], region: int) -> int:
    while parents[region] != region:
        region = parents[region]
    return region


def _numbered(labels: npt.NDArray[np.intp]) -> Labels:
    """The same regions, numbered without gaps."""
    _, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(labels.shape).astype(np.int32)


def _totals(image: Floats, labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """The sum of each channel over each region, and the regions' sizes in pixels."""
    totals = [np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(totals, 1), np.bincount(labels.ravel())


def _most_frequent(votes: Labels) -> Labels:
    """The value that is most frequent in each column, the smallest of those that are equally so."""
    ordered = np.sort(votes, axis=0)
    length = np.ones(votes.shape[1], np.int8)
    best: Labels = ordered[0].copy()
    longest = length.copy()
    for before, vote in pairwise(ordered):
        length = np.where(vote == before, length + 1, 1).astype(np.int8)
        more = length > longest
        best[more], longest[more] = vote[more], length[more]
    return best


def _box(inside: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns that a region is in."""
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _gradient(lab: Colour, inside: npt.NDArray[np.bool_], mean: Floats) -> Colour:
    """The colours of a region, strongly smoothed. Its rim is left out, since it takes colour from the neighbours."""
    height, width = inside.shape
    size = max(1, width // 4), max(1, height // 4)
    sigma = float(np.clip(0.16 * np.sqrt(inside.sum()), 8, 30)) / 4
    core = erode(inside.astype(np.float32), 5)
    weight = blur(shrunk(core, size), sigma) + np.float32(1e-4)
    total = blur(shrunk(lab * core[..., None], size), sigma)
    smooth = (total + np.float32(1e-4) * mean) / weight[..., None]
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
