"""Finds faces, people and sky in training photos, once per photo, for `training.analysis` to read.

A script for an interpreter of its own, since the nets need an older NumPy than the project: see
`training/analysis-requirements.txt`. Imports nothing of the project. Sources and licences of the nets are in
`training/analysis.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mediapipe.python.solutions.face_detection import FaceDetection
    from mediapipe.python.solutions.face_mesh import FaceMesh
    from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation
    from ncnn import Net
    from numpy.typing import NDArray

MASK_PX = 512
MAX_FACES = 8
MESH_POINTS = 478
SEEN_PX = 1600  # more than any of the nets uses, even for a small face
SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class Found:
    """A face as the detector sees it: in pixels, with both eyes, nose and mouth as (4, 2)."""

    centre: NDArray[np.float32]
    extent_px: float
    score: float
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Nets:
    near: FaceDetection
    far: FaceDetection
    mesh: FaceMesh
    person: SelfieSegmentation
    sky: Net | None


def load_nets(sky_net: Path | None) -> Nets:
    """Load the nets; `sky_net` is a .param of ncnn with its .bin beside it, without it, a rule finds the sky."""
    import cv2
    from mediapipe import solutions

    cv2.setNumThreads(1)
    detection, mesh = solutions.face_detection.FaceDetection, solutions.face_mesh.FaceMesh
    return Nets(
        near=detection(model_selection=0, min_detection_confidence=0.5),
        far=detection(model_selection=1, min_detection_confidence=0.45),
        mesh=mesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3),
        person=solutions.selfie_segmentation.SelfieSegmentation(model_selection=0),
        sky=None if sky_net is None else load_sky_net(sky_net),
    )


def load_sky_net(param: Path) -> Net:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise SystemExit(f"{param}: is no ncnn network with its .bin beside it")
    return net


# --- faces


def find_faces(photo: NDArray[np.uint8], nets: Nets) -> NDArray[np.float32]:
    """Return the meshes (N, 478, 2) of up to eight faces, the largest first, in units of the photo."""
    height, width = photo.shape[:2]
    meshes: list[NDArray[np.float32]] = []
    for found in candidates(photo, nets):
        mesh = fit_mesh(photo, found, nets)
        if mesh is not None and all(overlap(box_of(mesh), box_of(other)) < 0.3 for other in meshes):
            meshes.append(mesh)
    meshes.sort(key=lambda mesh: -float(np.ptp(mesh, axis=0).prod()))
    heads = [mesh for i, mesh in enumerate(meshes) if not any(is_within_head(mesh, larger) for larger in meshes[:i])]
    scaled = [mesh / np.array([width, height], np.float32) for mesh in heads[:MAX_FACES]]
    return np.array(scaled, np.float32).reshape(-1, MESH_POINTS, 2)


def candidates(photo: NDArray[np.uint8], nets: Nets) -> list[Found]:
    """Detect faces in the whole photo, near and far, and small ones in overlapping tiles; the most certain first."""
    height, width = photo.shape[:2]
    found = [*detect(photo, nets.near, (0, 0)), *detect(photo, nets.far, (0, 0))]
    tile = int(0.6 * max(height, width))
    for y in sorted({0, max(height - tile, 0)}):
        for x in sorted({0, (width - tile) // 2 if width > height else 0, max(width - tile, 0)}):
            found += detect(np.ascontiguousarray(photo[y : y + tile, x : x + tile]), nets.far, (x, y))
    return sorted(found, key=lambda face: -face.score)


def detect(photo: NDArray[np.uint8], detector: FaceDetection, origin: tuple[int, int]) -> Iterator[Found]:
    height, width = photo.shape[:2]
    for detection in detector.process(photo).detections or []:
        data = detection.location_data
        box = data.relative_bounding_box
        points = np.array([(p.x * width, p.y * height) for p in data.relative_keypoints[:4]], np.float32)
        centre = np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height], np.float32)
        extent_px = max(box.width * width, box.height * height)
        yield Found(centre + origin, extent_px, float(detection.score[0]), points + np.array(origin, np.float32))


def fit_mesh(photo: NDArray[np.uint8], found: Found, nets: Nets) -> NDArray[np.float32] | None:
    """Fit the mesh to a face, in pixels of the photo; None if no mesh agrees with what the detector saw."""
    for margin in (1.0, 1.6, 0.75):
        mesh = mesh_in(photo, found.centre, margin * found.extent_px, nets)
        if mesh is not None and is_plausible(mesh, found):
            return mesh
    return None


def mesh_in(
    photo: NDArray[np.uint8], centre: NDArray[np.float32], reach_px: float, nets: Nets
) -> NDArray[np.float32] | None:
    height, width = photo.shape[:2]
    x0, y0 = np.maximum(centre - reach_px, 0).astype(int)
    x1, y1 = np.minimum(centre + reach_px, (width, height)).astype(int)
    if min(x1 - x0, y1 - y0) < 20:
        return None
    crop = Image.fromarray(photo[y0:y1, x0:x1])
    zoom = 256 / max(crop.size)
    if zoom > 1:
        crop = crop.resize((round(crop.width * zoom), round(crop.height * zoom)), Image.Resampling.BICUBIC)
    fits = nets.mesh.process(np.asarray(crop)).multi_face_landmarks
    if not fits:
        return None
    points = np.array([(p.x, p.y) for p in fits[0].landmark], np.float32)
    return points * np.array([x1 - x0, y1 - y0], np.float32) + np.array([x0, y0], np.float32)


def is_plausible(mesh: NDArray[np.float32], found: Found) -> bool:
    """Return whether the mesh has its eyes, nose and mouth where the detector saw them, and is about as large."""
    features = np.stack([mesh[468], mesh[473], mesh[1], mesh[[13, 14]].mean(0)])
    apart = np.linalg.norm(features - found.features, axis=1).mean()
    extent = float(np.ptp(mesh, axis=0).max())
    return bool(apart < 0.14 * found.extent_px and 0.6 < extent / found.extent_px < 1.9)


def is_within_head(mesh: NDArray[np.float32], larger: NDArray[np.float32]) -> bool:
    """Return whether what was taken for a face is a part of a larger face's head, such as an ear."""
    extent = float(np.ptp(larger, axis=0).max())
    apart = float(np.linalg.norm(mesh.mean(0) - larger.mean(0)))
    return apart < extent and float(np.ptp(mesh, axis=0).max()) < 0.5 * extent


def box_of(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([mesh.min(0), mesh.max(0)])


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the share of the smaller of two boxes that lies within the larger."""
    shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    smaller = min((one[2:] - one[:2]).prod(), (other[2:] - other[:2]).prod())
    return float(np.maximum(shared, 0).prod() / max(smaller, 1))


# --- people


def find_people(
    photo: NDArray[np.uint8], small: NDArray[np.uint8], faces: NDArray[np.float32], nets: Nets
) -> NDArray[np.float32]:
    """Return a soft mask of people, as large as `small`.

    The net was made for one person who fills the picture, so distant people are also shown to it closer up. In photos
    without a face it takes anything for a person, so it is not used for them.
    """
    height, width = small.shape[:2]
    if not len(faces):
        return np.zeros((height, width), np.float32)
    people = segment(small, (width, height), nets)
    for face in faces:
        if np.ptp(face[:, 1]) < 0.3:
            look_closer(people, photo, face, nets)
    return follow_edges(people, small)


def look_closer(people: NDArray[np.float32], photo: NDArray[np.uint8], face: NDArray[np.float32], nets: Nets) -> None:
    """Add to the mask what the net finds around a face, from above the head to the hips."""
    size, photo_size = np.array(people.shape[1::-1]), np.array(photo.shape[1::-1])
    centre, extent = face.mean(0), float((np.ptp(face, axis=0) * photo_size).max()) / photo_size
    corners = np.array([centre - (3, 2) * extent, centre + (3, 5) * extent])
    (x0, y0), (x1, y1) = (np.clip(corners, 0, 1) * size).astype(int)
    (left, top), (right, bottom) = (np.array([[x0, y0], [x1, y1]]) / size * photo_size).astype(int)
    if min(x1 - x0, y1 - y0) < 8:
        return
    seen = segment(np.ascontiguousarray(photo[top:bottom, left:right]), (x1 - x0, y1 - y0), nets)
    fade_x = fade(x1 - x0, first=bool(x0 > 0), last=bool(x1 < size[0]))
    fade_y = fade(y1 - y0, first=bool(y0 > 0), last=bool(y1 < size[1]))
    region = people[y0:y1, x0:x1]
    np.maximum(region, seen * fade_y[:, None] * fade_x, out=region)


def fade(length: int, *, first: bool, last: bool) -> NDArray[np.float32]:
    """Return weights that fade over an eighth of the length towards those ends that are cut off."""
    place = np.linspace(0, 8, length, dtype=np.float32)
    return np.minimum(place if first else 1, (8 - place) if last else 1).clip(0, 1) * np.ones(length, np.float32)


def segment(photo: NDArray[np.uint8], size: tuple[int, int], nets: Nets) -> NDArray[np.float32]:
    import cv2

    mask = np.array(nets.person.process(photo).segmentation_mask, np.float32)
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)


# --- sky


def find_sky(
    photo: NDArray[np.uint8], faces: NDArray[np.float32], people: NDArray[np.float32], nets: Nets
) -> NDArray[np.float32]:
    """Return a soft mask (H, W) of the sky."""
    sky = sky_by_rule(photo) if nets.sky is None else sky_by_net(photo, nets.sky)
    sky = follow_edges(sky, photo) * (1 - people)
    if (sky > 0.5).mean() < 0.01 or is_backdrop(sky, faces, people):
        return np.zeros(photo.shape[:2], np.float32)
    return sky


def is_backdrop(sky: NDArray[np.float32], faces: NDArray[np.float32], people: NDArray[np.float32]) -> bool:
    """Return whether the sky is a studio's wall: a horizon is at the height of the camera, so sky ends above a nose."""
    if not len(faces) or np.ptp(faces[0][:, 1]) < 0.12:
        return False
    nose_row = int(faces[0][1, 1].clip(0, 0.9) * len(sky))
    around = people[nose_row:] < 0.5
    return bool(around.any() and (sky[nose_row:][around] > 0.5).mean() > 0.15)


def sky_by_net(photo: NDArray[np.uint8], net: Net) -> NDArray[np.float32]:
    import cv2
    import ncnn

    height, width = photo.shape[:2]
    pixels = ncnn.Mat.from_pixels_resize(photo, ncnn.Mat.PixelType.PIXEL_RGB, width, height, 384, 384)
    pixels.substract_mean_normalize([123.675, 116.28, 103.53], [1 / 58.395, 1 / 57.12, 1 / 57.375])
    extractor = net.create_extractor()
    extractor.input("input.1", pixels)
    _, out = extractor.extract("1959")
    sky = cv2.resize(np.array(out)[0], (width, height), interpolation=cv2.INTER_LINEAR)
    return keep_sure(np.asarray(sky, np.float32))


def keep_sure(sky: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep only areas of which the net is partly sure: of pale walls and water it is nowhere sure."""
    import cv2

    count, areas = cv2.connectedComponents((sky > 0.2).astype(np.uint8))
    size = np.maximum(np.bincount(areas.ravel(), minlength=count), 1)
    sure = np.bincount(areas.ravel(), (sky > 0.95).ravel(), minlength=count) / size > 0.1
    return np.where(sure[areas] & (areas > 0), sky, 0).astype(np.float32)


def sky_by_rule(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what is smooth, bright or bluish, and connected to the top edge."""
    import cv2

    lab = cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.5)
    rough = cv2.GaussianBlur(np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 4)), (0, 0), 3)
    light, a, b = smooth[..., 0], smooth[..., 1], smooth[..., 2]
    like_sky = (rough < 2.5) & (a > -14) & (b < 14) & ((b < -5) | (light > 65))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(like_sky.astype(np.uint8), connectivity=4)
    top = [i for i in np.unique(labels[:3]) if i and (labels[:3] == i).any(0).mean() > 0.15]
    large = [i for i in top if stats[i, cv2.CC_STAT_AREA] > 0.04 * like_sky.size]
    return np.isin(labels, large).astype(np.float32)


# --- both masks


def follow_edges(mask: NDArray[np.float32], photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pull a soft mask onto the edges of the photo: a guided filter (He, Sun and Tang, 2013), then a steeper slope."""
    import cv2

    window = (13, 13)
    guide = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    guide_mean, mask_mean = cv2.blur(guide, window), cv2.blur(mask, window)
    slope = (cv2.blur(guide * mask, window) - guide_mean * mask_mean) / (
        cv2.blur(guide * guide, window) - guide_mean**2 + 4e-4
    )
    offset = mask_mean - slope * guide_mean
    pulled = cv2.blur(slope, window) * guide + cv2.blur(offset, window)
    share = np.clip((pulled - 0.25) / 0.55, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


# --- files


def read_photo(path: Path) -> Image.Image:
    """Read a photo upright, as opaque RGB, and no larger than the nets can use."""
    with Image.open(path) as file:
        file.draft("RGB", (2 * SEEN_PX, 2 * SEEN_PX))
        upright = ImageOps.exif_transpose(file)
    if "A" in upright.getbands() or "transparency" in upright.info:
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
    photo = upright.convert("RGB")
    photo.thumbnail((SEEN_PX, SEEN_PX), Image.Resampling.LANCZOS)
    return photo


def analyse(photo: Image.Image, nets: Nets) -> dict[str, NDArray[Any]]:
    faces = find_faces(np.array(photo), nets)
    small = photo.copy()
    small.thumbnail((MASK_PX, MASK_PX), Image.Resampling.LANCZOS)
    pixels = np.array(small)
    people = find_people(np.array(photo), pixels, faces, nets)
    sky = find_sky(pixels, faces, people, nets)
    return {"faces": faces, "person": to_bytes(people), "sky": to_bytes(sky)}


def to_bytes(mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray((np.clip(mask, 0, 1) * 255).round(), np.uint8)


def write_analysis(folder: Path, path: Path, nets: Nets) -> str:
    """Analyse a photo unless that has been done, and return what was found, in words."""
    target = folder / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.npz"
    if target.exists():
        return "done before"
    planes = analyse(read_photo(path), nets)
    started = target.with_suffix(f".{os.getpid()}.part")  # several may run at once
    with started.open("wb") as file:
        np.savez_compressed(file, faces=planes["faces"], person=planes["person"], sky=planes["sky"])
    started.replace(target)
    shares = (f"{name} {planes[name].mean() / 255:.0%}" for name in ("person", "sky"))
    return f"{len(planes['faces'])} faces, {', '.join(shares)}"


def photos_in(paths: Sequence[Path]) -> list[Path]:
    """Return the named files, and the photos in the named folders in order of their names."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in inside if file == path or file.suffix.lower() in SUFFIXES]
    return found


def main() -> int:
    """Analyse photos; return 1 if one of them could not be read."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder for the .npz files, named after the content of the photos")
    parser.add_argument("photos", type=Path, nargs="+", help="photos, or folders of them")
    parser.add_argument("--sky-net", type=Path, help="skysegsmall .param of ncnn; without it a rule finds the sky")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    nets = load_nets(options.sky_net)
    failed = 0
    for path in photos_in(options.photos):
        try:
            print(f"{path}: {write_analysis(options.out, path, nets)}", flush=True)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            failed += 1
            print(f"{path}: cannot be read: {error}", file=sys.stderr, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
