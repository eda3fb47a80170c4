"""Faces and their parts as masks, made from the points of the face mesh.

The points are numbered as in MediaPipe's canonical face model (Kartynnik et al., "Real-time facial surface geometry
from monocular video on mobile GPUs", 2019), with ten for the irises behind. "Left" is left in an unmirrored photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.planes import Colour, Floats, Plane, Points, blur, chroma, erode, polygon

# fmt: off
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
JAW_LINE = JAW[4:-4]  # without what belongs to the cheeks and ears
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LEFT_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)  # the upper one, from the outer corner to the inner
RIGHT_LID = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
RIGHT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
CORNERS_OF_MOUTH = (61, 291)
# The outlines of the lips, from the left corner to the right.
UPPER_LIP_ABOVE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_LIP_INSIDE = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INSIDE = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_BELOW = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
MIDDLE_OF_LIPS = (13, 14)
UPPER_INNER_LIP = (78, 81, 13, 311, 308)
LOWER_INNER_LIP = (78, 178, 14, 402, 308)
UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409)  # from corner to corner
BELOW_NOSTRILS = (327, 326, 2, 97, 98)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
NOSE_BASE = (97, 2, 326)
NOSE = (4, 2, 98, 327)  # its tip and base
CHIN = (152,)
NOSE_EXTENT = (168, 98, 2, 327, 64, 294)
BELOW_TIP = (98, 97, 2, 326, 327, 19)
TIP = (4,)
LOWER_NOSE = (4, 1, 19, 2, 98, 97, 326, 327, 64, 294)
LEFT_OF_NOSE = (197, 195, 5, 4, 1, 19, 98, 64, 49, 198, 236, 196)
RIGHT_OF_NOSE = (197, 195, 5, 4, 1, 19, 327, 294, 279, 420, 456, 419)
LEFT_NOSTRIL = (98, 60, 20)
RIGHT_NOSTRIL = (327, 290, 250)
LEFT_IRIS = (468, 469, 470, 471, 472)  # its middle, then four points of its rim
RIGHT_IRIS = (473, 474, 475, 476, 477)
BELOW_NOSE = (2, 98, 205, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 425, 327)
BARE = (50, 101, 118, 280, 330, 347, 151, 108, 337)  # on cheeks and forehead
INNER_CORNERS = (133, 362)
OUTER_CORNERS = (33, 263)  # of the eyes
# fmt: on

_MIN_HALF = 0.22  # of the distance between the outer corners of the eyes: from either to the tip of the nose
_COLOURED = 12.0  # minimum chroma of skin in a colour photo
MIN_FACE_HEIGHT = 24  # pixels
# What is drawn as it is in the photo, and how much larger than in the mesh, in x and y.
_FEATURES = (
    (LEFT_EYE, (1.2, 1.4)),
    (RIGHT_EYE, (1.2, 1.4)),
    (LEFT_BROW, (1.12, 1.5)),
    (RIGHT_BROW, (1.12, 1.5)),
    (LIPS, (1.12, 1.12)),
)


@dataclass(frozen=True, slots=True)
class Face:
    """A face in pixels of the photo: the points of its mesh, its height, and masks of the whole and of its features.

    `bare` is certainly skin: within the oval, away from its rim and from the features.
    """

    points: Points
    height: float
    oval: Plane
    features: Plane
    bare: npt.NDArray[np.bool_]

    @property
    def middle(self) -> Points:
        """The mean of its points."""
        middle: Points = self.points.mean(0)
        return middle

    def part(self, numbers: tuple[int, ...]) -> Points:
        """Some of its points."""
        part: Points = self.points[list(numbers)]
        return part

    @property
    def down(self) -> Points:
        """The direction from its forehead to its chin, of length 1."""
        way = self.points[CHIN[0]] - self.points[OVAL[0]]
        down: Points = way / np.float32(max(float(np.linalg.norm(way)), 1e-3))
        return down

    @property
    def is_turned(self) -> bool:
        """True if it is nearly in profile, so that one half is hardly visible."""
        left, right = self.part(OUTER_CORNERS)
        across = right - left
        share = float((self.part(TIP)[0] - left) @ across / max(float(across @ across), 1e-3))
        return not _MIN_HALF < share < 1 - _MIN_HALF


def find_faces(meshes: Points, shape: tuple[int, int]) -> list[Face]:
    """Lay masks over the faces of a photo of (height, width) pixels; `meshes` are in units of the photo."""
    size = np.array(shape[::-1], np.float32)
    points = [mesh.astype(np.float32) * size for mesh in meshes]
    return [_face(mesh, shape) for mesh in points if np.ptp(mesh[:, 1]) >= MIN_FACE_HEIGHT]


def grown(points: Points, growth: tuple[float, float]) -> Points:
    """Points (N, 2) moved away from their mean by a factor in x and one in y."""
    middle = points.mean(0)
    larger: Points = middle + (points - middle) * np.array(growth, points.dtype)
    return larger


def skin_at(points: Points, lab: Colour) -> Floats:
    """The colour (3,) of a face's skin, from few points of its mesh: the median of those within the photo (H, W, 3)."""
    height, width = lab.shape[:2]
    columns, rows = points[list(BARE)].round().astype(int).T
    skin: Floats = np.median(lab[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)], axis=0)
    return skin


def tinted(skin: Floats) -> float:
    """Colourfulness of a skin (3,), Lab: 1 in colour photos, near 0 in black-and-white ones."""
    return min(1.0, float(chroma(skin)) / _COLOURED)


def all_ovals(faces: list[Face], shape: tuple[int, int]) -> Plane:
    return _together([face.oval for face in faces], shape)


def all_features(faces: list[Face], shape: tuple[int, int]) -> Plane:
    return _together([face.features for face in faces], shape)


def all_mouths(faces: list[Face], shape: tuple[int, int]) -> Plane:
    """The mask of lips and of what is between them."""
    return _together([polygon(shape, face.part(LIPS), softness=0.008 * face.height) for face in faces], shape)


def nose(face: Face, shape: tuple[int, int]) -> Plane:
    """The mask of a nose with its nostrils."""
    hull = cv2.convexHull(face.part(LEFT_OF_NOSE + RIGHT_OF_NOSE + NOSE_EXTENT[1:]).astype(np.float32))
    return polygon(shape, grown(np.asarray(hull[:, 0], np.float32), (1.1, 1.08)), softness=0.008 * face.height)


def jaws(faces: list[Face], shape: tuple[int, int]) -> Plane:
    """A soft band along each jaw, where a line may separate the face from the neck."""
    return _together([_jaw(face, shape) for face in faces], shape)


def around_eyes(faces: list[Face], shape: tuple[int, int]) -> Plane:
    """The bands around the eyes, where glasses would sit."""
    return _together([_around_eyes(face, shape) for face in faces], shape)


def _face(points: Points, shape: tuple[int, int]) -> Face:
    height = float(np.ptp(points[:, 1]))
    features = np.zeros(shape, np.float32)
    for numbers, growth in _FEATURES:
        feature = polygon(shape, grown(points[list(numbers)], growth), softness=0.012 * height)
        features = np.maximum(features, feature)
    oval = polygon(shape, points[list(OVAL)])
    return Face(points, height, oval, features, (erode(oval, 3) > 0.5) & (features < 0.2))


def _together(masks: list[Plane], shape: tuple[int, int]) -> Plane:
    together: Plane = np.max([np.zeros(shape, np.float32), *masks], axis=0)
    return together


def _jaw(face: Face, shape: tuple[int, int]) -> Plane:
    band = np.zeros(shape, np.uint8)
    course = np.round(face.part(JAW) * 8).astype(np.int32)
    cv2.polylines(band, [course], False, 255, max(3, int(0.05 * face.height)), cv2.LINE_AA, 3)  # noqa: FBT003 - not closed
    return blur(band.astype(np.float32) / 255, 1.5)


def _around_eyes(face: Face, shape: tuple[int, int]) -> Plane:
    eyes = face.part(LEFT_EYE + RIGHT_EYE)
    least, most = eyes.min(0), eyes.max(0)
    middle = (least + most) / 2
    half = (most - least) / 2 * np.array([1.32, 1.0]) + np.array([0, 0.13 * face.height])
    corners = middle + half * np.array([(-1, -0.75), (1, -0.75), (1, 1.2), (-1, 1.2)])
    return polygon(shape, corners, softness=0.03 * face.height)
