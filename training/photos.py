"""The training photos, their authors and licences, and fetching them into one folder.

`photos.toml` lists them. They come out of Debian packages, Python packages and public repositories; each is written as
a JPEG of at most `MAX_SIDE`, so that the next steps need folders alone and take any other photos as well.

    python -m training.photos                      # into training/cache/photos/
"""

import argparse
import importlib.util
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from tqdm import tqdm

from training.bundle import read_bundle

FOLDER = Path(__file__).resolve().parent
CACHE = FOLDER / "cache"
MAX_SIDE = 1800  # pixels of a photo in the folder
MAX_PIXELS = 30_000_000  # of a photo that is read
QUALITY = 95  # of the JPEG
SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, slots=True)
class Source:
    """Photos of one package or repository under one licence.

    `files` are paths inside `folder` of a package, names inside `bundle`, a resource bundle of Qt in the package, or
    COMMIT:PATH of a repository.
    """

    archive: str  # "debian", "python" or "git"
    package: str  # its name, or the address of the repository
    licence: str
    authors: str
    files: tuple[str, ...]
    folder: str = ""
    bundle: str = ""

    @property
    def label(self) -> str:
        """The beginning of its photos' names in the folder."""
        name = "-".join(Path(self.package).parts[-2:])
        return f"{name}-{Path(self.bundle).stem}" if self.bundle else name

    def kept_as(self) -> dict[str, str]:
        """The name in the folder of each photo."""
        return {name: f"{self.label}--{_stem(name)}.jpg" for name in self.files}


def sources(path: Path = FOLDER / "photos.toml") -> list[Source]:
    """Read the list of single photos."""
    entries = tomllib.loads(path.read_text("utf-8"))["source"]
    return [Source(**{**entry, "files": tuple(entry["files"])}) for entry in entries]


def gather(listed: Sequence[Source], folder: Path, cache: Path = CACHE) -> None:
    """Fetch the photos that are missing and write them into the folder; those that are there stay.

    Needs apt and dpkg for Debian packages, git for repositories; installs nothing.

    Raises:
        FileNotFoundError: a package of the training extra is not installed, or has no such photo.
        OSError: a file is no photo.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in tqdm(listed, desc="sources"):
        kept_as = source.kept_as()
        missing = [name for name in source.files if not (folder / kept_as[name]).exists()]
        for name, content in _contents(source, missing, cache):
            _write(content, folder / kept_as[name])


def photos_in(folders: Sequence[Path], left_out: frozenset[str] = frozenset()) -> list[Path]:
    """List the photos of folders, except those whose file names are left out."""
    files = (path for folder in folders for path in sorted(folder.iterdir()))
    return [path for path in files if path.suffix.lower() in SUFFIXES and path.name not in left_out]


def read_photo(path: Path, max_side: int) -> Rgb:
    """Decode as RGB on white, upright, shrunk to `max_side`.

    Raises:
        ValueError: above 30 megapixels.
        OSError: when it is no image.
    """
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{path.name} has more than {MAX_PIXELS // 1_000_000} megapixels")
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    return shrunk(np.array(on_white, np.uint8), max_side)


def shrunk(picture: Rgb, max_side: int) -> Rgb:
    """The picture itself, or a copy that is `max_side` pixels wide or high, shrunk as the service shrinks."""
    if max(picture.shape[:2]) <= max_side:
        return picture
    small = Image.fromarray(picture)
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.array(small, np.uint8)


def _contents(source: Source, names: Sequence[str], cache: Path) -> Iterator[tuple[str, bytes]]:
    if not names:
        return
    if source.archive == "git":
        repository = _cloned(source.package, cache)
        for name in names:
            yield name, _output("git", "-C", str(repository), "show", name)
        return
    root = _unpacked(source.package, cache) if source.archive == "debian" else _installed(source)
    if source.bundle:
        inside = read_bundle((root / source.bundle).read_bytes())
        named = {path.rsplit("/", 1)[-1]: content for path, content in inside.items()}
        yield from ((name, named[name]) for name in names)
    else:
        yield from ((name, (root / source.folder / name).read_bytes()) for name in names)


def _unpacked(package: str, cache: Path) -> Path:
    """Unpack a Debian package, unless it is there, and return its folder."""
    archives, folder = cache / "deb", cache / "unpacked" / package
    if folder.exists():
        return folder
    archives.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", package], cwd=archives, check=True)
    archive = next(archives.glob(f"{package}_*.deb"))
    unfinished = folder.with_suffix(".new")
    unfinished.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg", "-x", str(archive), str(unfinished)], check=True)
    unfinished.rename(folder)
    return folder


def _cloned(address: str, cache: Path) -> Path:
    """Clone a repository with its history, unless it is there; its photos are fetched when they are read."""
    folder = cache / "repositories" / "-".join(Path(address).parts[-2:])
    if not folder.exists():
        subprocess.run(["git", "clone", "--bare", "--filter=blob:none", address, str(folder)], check=True)
    return folder


def _installed(source: Source) -> Path:
    module = importlib.util.find_spec(source.folder.split("/")[0])
    if module is None or module.origin is None:
        raise FileNotFoundError(f"install the training extra: {source.package} is missing")
    return Path(module.origin).parent.parent


def _output(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def _stem(name: str) -> str:
    """A name for a file: that of the photo, or of its folder if the photo is named after its size."""
    path = Path(name.rsplit(":", 1)[-1])
    told = path.parts[0] if path.stem.replace("x", "").isdigit() and len(path.parts) > 1 else path.stem
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in told)


def _write(content: bytes, path: Path) -> None:
    with Image.open(BytesIO(content)) as image:
        photo = ImageOps.exif_transpose(image).convert("RGB")
    photo.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    photo.save(path, quality=QUALITY, subsampling=0)


def main() -> None:
    """Gather the photos of `photos.toml`."""
    parser = argparse.ArgumentParser(description="Fetch the photos of photos.toml into one folder.")
    parser.add_argument("--folder", type=Path, default=CACHE / "photos")
    gather(sources(), parser.parse_args().folder)


if __name__ == "__main__":
    main()
