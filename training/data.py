"""Training pictures: freely licensed photos out of package archives, varied, and paired with their rendered target.

`photos.toml` says which photos, from which package, by whom and under which licence. A pair is a function of the seed
and its number alone, so the same seed makes the same data set; it is rendered once and kept in `training/cache/`.

    python -m training.data --style hinata --size light

Imported by `training` only.
"""

import argparse
import hashlib
import importlib.util
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from shared.styles import Size
from training.props import add_props
from training.target import GRADES, render

FOLDER = Path(__file__).resolve().parent
CACHE = FOLDER / "cache"
SIDE = 352  # pixels of a training picture; crops are cut from it
LARGEST_SIDE = 1800  # photos are shrunk to this once, when read

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # photo and target, (N, 3, H, W) in -1..1


@dataclass(frozen=True, slots=True)
class Source:
    """Photos of one package under one licence. Cut-outs have a transparent background."""

    archive: str
    package: str
    licence: str
    authors: str
    folder: str
    files: tuple[str, ...]
    cut_out: bool = False

    def paths(self, cache: Path) -> list[Path]:
        """Where the photos are once the package is fetched."""
        return [self._root(cache) / self.folder / name for name in self.files]

    def _root(self, cache: Path) -> Path:
        if self.archive == "debian":
            return cache / "unpacked" / self.package
        module = importlib.util.find_spec(self.folder.split("/")[0])
        if module is None or module.origin is None:
            raise FileNotFoundError(f"install the training extra: {self.package} is missing")
        return Path(module.origin).parent.parent


@dataclass(frozen=True, slots=True)
class Pictures:
    """What training pictures are composed of: photos (H, W, 3) and cut-outs (H, W, 4)."""

    photos: tuple[Rgb, ...]
    cut_outs: tuple[Rgb, ...]


def sources(path: Path = FOLDER / "photos.toml") -> list[Source]:
    """Read which photos to use."""
    entries = tomllib.loads(path.read_text("utf-8"))["source"]
    return [Source(**{**entry, "files": tuple(entry["files"])}) for entry in entries]


def fetch(listed: list[Source], cache: Path = CACHE) -> None:
    """Download and unpack the Debian packages that are not there yet. Needs apt and dpkg; installs nothing."""
    archives = cache / "deb"
    archives.mkdir(parents=True, exist_ok=True)
    for package in sorted({source.package for source in listed if source.archive == "debian"}):
        folder = cache / "unpacked" / package
        if folder.exists():
            continue
        subprocess.run(["apt-get", "download", package], cwd=archives, check=True)
        archive = next(archives.glob(f"{package}_*.deb"))
        unfinished = folder.with_suffix(".new")
        unfinished.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg", "-x", str(archive), str(unfinished)], check=True)
        unfinished.rename(folder)


def pairs_path(style: str, size: Size) -> Path:
    """Where the pairs of a style are kept for the generator of a size."""
    return CACHE / f"{style}-{size}.npy"


def read(listed: list[Source], cache: Path = CACHE) -> Pictures:
    """Decode every photo, shrunk to at most `LARGEST_SIDE`."""
    photos = [_decode(path) for source in listed if not source.cut_out for path in source.paths(cache)]
    cut_outs = [_decode(path, alpha=True) for source in listed if source.cut_out for path in source.paths(cache)]
    return Pictures(tuple(photos), tuple(cut_outs))


def compose(pictures: Pictures, seed: int, number: int, side: int = SIDE, *, exposed: bool = True) -> Rgb:
    """Make training picture `number`: a piece of a photo at some scale, cut-outs and props on it, under some light.

    With `exposed` the exposure and the contrast vary; without, they stay those of the photo.
    """
    rng = np.random.default_rng((seed, number))
    picture = _piece(pictures.photos[number % len(pictures.photos)], side, rng)
    if pictures.cut_outs and rng.random() < 0.55:
        for _ in range(rng.integers(1, 4)):
            picture = _paste(picture, pictures.cut_outs[rng.integers(len(pictures.cut_outs))], rng)
    return _light(add_props(picture, rng), rng, exposed=exposed)


def render_pairs(
    pictures: Pictures, *, style: str, size: Size, seed: int, count: int, path: Path
) -> npt.NDArray[np.uint8]:
    """Compose and render `count` pairs into a memory-mapped (count, 2, SIDE, SIDE, 3) array; a complete one is reused.

    Numbers, not order, decide what a pair is, so an interrupted rendering goes on where it stopped. The full generator
    normalises contrast away, so for it varied contrast would be a puzzle without an answer.

    Raises:
        ValueError: what is there has another number of pairs, or was made by another recipe, style or seed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    progress, recipe = path.with_suffix(".done"), _fingerprint(style, size, seed)
    done, shape = 0, (count, 2, SIDE, SIDE, 3)
    if progress.exists() and path.exists():
        rendered, made_by = progress.read_text("ascii").split()
        if made_by != recipe:
            raise ValueError(f"{path.name} was made by another recipe, style or seed; remove it")
        done = int(rendered)
    pairs = np.lib.format.open_memmap(path, mode="r+" if done else "w+", dtype=np.uint8, shape=None if done else shape)
    if pairs.shape != shape:
        raise ValueError(f"{path.name} holds {pairs.shape[0]} pairs, not {count}; remove it")
    for number in tqdm(range(done, count), initial=done, total=count):
        photo = compose(pictures, seed, number, exposed=size is Size.LIGHT)
        pairs[number] = photo, render(photo, style)
        progress.write_text(f"{number + 1} {recipe}", "ascii")
    return pairs


def batch(pairs: npt.NDArray[np.uint8], *, seed: int, step: int, size: int, crop: int) -> Batch:
    """The batch of a step, a function of the seed and the step alone: random crops, mirrored, turned and degraded."""
    rng = np.random.default_rng((seed, step))
    cut = [_crop(pairs[rng.integers(len(pairs))], crop, rng) for _ in range(size)]
    photos, targets = (np.stack([pair[i] for pair in cut]) for i in (0, 1))
    return _to_tensor(photos), _to_tensor(targets)


def _fingerprint(style: str, size: Size, seed: int) -> str:
    """Changes with whatever decides what the pairs are."""
    files = (FOLDER / name for name in ("data.py", "photos.toml", "props.py", "target.py"))
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + f"{style} {size} {seed}".encode()).hexdigest()[:16]


def _decode(path: Path, *, alpha: bool = False) -> Rgb:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"no readable photo at {path}")
    colours = cv2.COLOR_BGRA2RGBA if alpha else cv2.COLOR_BGR2RGB
    scale = min(1.0, LARGEST_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cast("Rgb", cv2.cvtColor(small, colours))


def _piece(photo: Rgb, side: int, rng: np.random.Generator) -> Rgb:
    """A square piece, shown at its own size or down to where the whole photo fits: near faces and far ones."""
    shortest = min(photo.shape[:2])
    span = int(np.exp(rng.uniform(np.log(min(0.7 * side, shortest)), np.log(shortest))))
    top, left = (int(rng.integers(0, length - span + 1)) for length in photo.shape[:2])
    piece = photo[top : top + span, left : left + span]
    how = cv2.INTER_AREA if span > side else cv2.INTER_CUBIC
    return cast("Rgb", cv2.resize(piece, (side, side), interpolation=how))


def _paste(picture: Rgb, cut_out: Rgb, rng: np.random.Generator) -> Rgb:
    """Put a cut-out somewhere, at a fifth to the whole of the picture's size, mirrored and tilted at random."""
    side = picture.shape[0]
    scale = side * np.exp(rng.uniform(np.log(0.2), np.log(1.0))) / max(cut_out.shape[:2])
    scale = min(scale, 1.2)
    height, width = cut_out.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-25, 25), scale)
    if rng.random() < 0.5:
        matrix[:, 2] += matrix[:, 0] * (width - 1)
        matrix[:, 0] *= -1
    matrix[:, 2] += rng.uniform(0, side, 2) - np.array((width / 2, height / 2))
    sharp = cv2.GaussianBlur(cut_out, (0, 0), 0.4 / scale) if scale < 0.7 else cut_out
    moved = cv2.warpAffine(sharp, matrix, (side, side), flags=cv2.INTER_LINEAR).astype(np.float32)
    opacity = moved[..., 3:] / 255
    return (picture * (1 - opacity) + moved[..., :3] * opacity).round().astype(np.uint8)


def _light(picture: Rgb, rng: np.random.Generator, *, exposed: bool) -> Rgb:
    """Vary exposure, contrast, white balance, saturation and hue; some pictures are left as they are."""
    if rng.random() < 0.25:
        return picture
    linear = (picture.astype(np.float32) / 255) ** 2.2
    exposure = np.exp(rng.normal(0, 0.45)) * (rng.uniform(0.1, 0.5) if rng.random() < 0.12 else 1) if exposed else 1.0
    balanced = linear * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32) * np.float32(exposure)
    shown = np.clip(balanced, 0, None) ** (1 / 2.2)
    shown = np.where(shown < 0.8, shown, 1 - 0.2 * np.exp((0.8 - shown) / 0.2))  # a soft shoulder instead of clipping
    middle = np.float32(rng.uniform(0.35, 0.55))
    contrast = rng.uniform(0.75, 1.2) if exposed else 1.0
    shown = (shown - middle) * np.float32(contrast) + middle
    lab = cv2.cvtColor(np.clip(shown, 0, 1).astype(np.float32), cv2.COLOR_RGB2Lab)
    turn, chroma = rng.normal(0, 0.12), rng.uniform(0.5, 1.35)
    if rng.random() < 0.1:
        turn = rng.uniform(-np.pi, np.pi)
    if rng.random() < 0.04:
        chroma = 0.0
    a, b = lab[..., 1].copy(), lab[..., 2].copy()
    lab[..., 1] = chroma * (np.cos(turn) * a - np.sin(turn) * b)
    lab[..., 2] = chroma * (np.sin(turn) * a + np.cos(turn) * b)
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    return (np.clip(rgb, 0, 1) * 255).round().astype(np.uint8)


def _crop(pair: Rgb, crop: int, rng: np.random.Generator) -> Rgb:
    top, left = rng.integers(0, pair.shape[1] - crop + 1, 2)
    piece = np.array(pair[:, top : top + crop, left : left + crop])
    if rng.random() < 0.5:
        piece = piece[:, :, ::-1]
    # Quarter turns: rarely, for light falls from above and the target need not know.
    piece = np.rot90(piece, int(rng.integers(4)) if rng.random() < 0.3 else 0, axes=(1, 2)).copy()
    piece[0] = _degrade(piece[0], rng)
    return piece


def _degrade(photo: Rgb, rng: np.random.Generator) -> Rgb:
    """Sensor noise and JPEG artefacts on a third of the photos; the target stays that of the clean photo."""
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(1, 8), photo.shape)
        photo = np.clip(photo + noise, 0, 255).round().astype(np.uint8)
    if rng.random() < 0.2:
        coded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))])[1]
        photo = cast("Rgb", cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return photo


def _to_tensor(images: Rgb) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(127.5) - np.float32(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fetch the photos and render training pairs.")
    parser.add_argument("--style", choices=list(GRADES), default="hinata")
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.LIGHT, help="of the generator to teach")
    parser.add_argument("--pairs", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Fetch, read, render; on one core, so that a machine can do something else meanwhile."""
    cv2.setNumThreads(1)
    arguments = _arguments()
    listed = sources()
    fetch(listed)
    style, size = arguments.style, arguments.size
    path = pairs_path(style, size)
    render_pairs(read(listed), style=style, size=size, seed=arguments.seed, count=arguments.pairs, path=path)


if __name__ == "__main__":
    main()
