"""`sakuga weights`: bring weights that are not bundled, quantise them, and remove them again."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.catalogue import REPOSITORY, Published, is_published, require_published
from cli.download import Show, download
from shared.drawing import DrawnAt, no_faces
from shared.errors import InvalidValueError, SakugaError, UnknownStyleError, WeightsError
from shared.files import file_sha256, write_atomically
from shared.photos.decoding import Rgb, decode
from shared.photos.formats import Limits
from shared.pipeline import to_draw
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Style, imported_weights, installed_styles, read_manifest, write_manifest
from worker.capacity import available_memory
from worker.engines.int8 import Int8Recipe, recipe_path, write_recipe
from worker.engines.torch_engine import TorchEngine
from worker.generator import Upsample
from worker.weights import (
    as_safetensors,
    fill,
    new_generator,
    read_tensors,
    recognise,
    recorded_upsample,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_CALIBRATED_AT = 512  # pixels of a photo's longest side, where a style draws at any size


@dataclass(frozen=True, slots=True)
class Metadata:
    """The operator's description of the weights."""

    name: str
    title: str
    upsample: Upsample | None  # None: as the file tells
    licence: str
    description: str = ""
    provenance: str = ""


def get_style(entry: Published, source: Path | str, settings: Settings, show: Show, *, replace: bool) -> Style:
    """Import published weights from a file, or from a URL from which they are downloaded first.

    Raises:
        InvalidValueError: the name is taken, or the URL is none.
        DownloadError: they cannot be downloaded; what has arrived is kept for the next attempt.
        WeightsError: they are not the published ones, whatever they are.
    """
    _check_name(entry.name, imported_weights(settings.data_dir), replace=replace)  # first: downloading takes a while
    metadata = Metadata(
        entry.name, entry.title, Upsample(entry.upsample), entry.licence, entry.description, entry.provenance
    )
    if isinstance(source, Path):
        require_published(source, entry)
        return import_style(source, settings.data_dir, metadata, replace=replace)
    file = _downloaded(entry, source, settings.cache_dir / "downloads", show)
    style = import_style(file, settings.data_dir, metadata, replace=replace)
    file.unlink()
    return style


def _downloaded(entry: Published, url: str, folder: Path, show: Show) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{entry.blob}.part"
    is_resumed = file.exists() and file.stat().st_size > 0
    download(url, file, show)
    if is_resumed and not is_published(file, entry):  # what was there may have been of something else
        file.unlink()
        download(url, file, show)
    try:
        require_published(file, entry)
    except WeightsError as error:
        file.unlink()
        raise WeightsError(
            f"What {url} sent is not the {entry.file} that {REPOSITORY} has published, so it was deleted. A login page "
            "or a mirror may have answered instead."
        ) from error
    return file


def import_style(file: Path, data_dir: Path, metadata: Metadata, *, replace: bool) -> Style:
    """Check a weights file, keep its tensors as safetensors and enter it into the operator's manifest.

    A running service never meets half of it: the file has a name of its own, and the manifest changes in one step.

    Raises:
        InvalidValueError: the name is malformed or taken, or the upsampling is not known.
        WeightsError: the file is damaged, of another architecture, or gives no picture.
    """
    folder = imported_weights(data_dir)
    _check_name(metadata.name, folder, replace=replace)
    tensors = read_tensors(file)
    size, upsample = recognise(tensors), metadata.upsample or recorded_upsample(file)
    if upsample is None:
        raise InvalidValueError(f"{file.name} does not tell how the weights upsample; use --upsample.")
    generator = new_generator(size, upsample)
    fill(generator, tensors)
    _try_out(TorchEngine(generator.eval(), memory=available_memory()))
    content = as_safetensors(generator.state_dict())
    digest = hashlib.sha256(content).hexdigest()
    style = Style(
        name=metadata.name,
        title=metadata.title,
        size=size,
        file=f"{metadata.name}-{digest[:12]}.safetensors",
        sha256=digest,
        upsample=upsample.value,
        licence=metadata.licence,
        description=metadata.description,
        provenance=metadata.provenance or f"imported from {file.name} (SHA-256 {file_sha256(file)[:12]}…)",
        folder=folder,
    )
    _register(style, content, replace=replace)
    return style


def _register(style: Style, content: bytes, *, replace: bool) -> None:
    style.folder.mkdir(parents=True, exist_ok=True)
    with _changing(style.folder) as styles:
        _check_name(style.name, style.folder, replace=replace)  # again: another process may have been faster
        earlier = styles.pop(style.name, None)
        write_atomically(style.weights_path, content)
        write_manifest(style.folder, [*styles.values(), style])
        if earlier and earlier.file != style.file:
            _delete_files(earlier)


def quantise_style(
    name: str, photos: tuple[Path, ...], settings: Settings, report: Callable[[str], None], *, replace: bool
) -> Int8Recipe:
    """Calibrate a style for 8 bit on photos and keep the recipe beside its weights.

    Raises:
        SakugaError: there is no such style, it has a recipe that is not to be replaced, its folder cannot be written
            to, a photo cannot be read, or there are too few.
    """
    from worker.engines.faces import FaceDetector
    from worker.engines.quantise import make_recipe

    style = installed_styles(settings.data_dir)[name]
    _require_room_for_recipe(style, replace=replace)  # first: calibrating takes minutes
    limits = Limits(settings.max_upload_bytes, settings.max_megapixels)
    draws = DrawnAt(style.drawn_at, FaceDetector().face_heights if style.close_ups else no_faces)
    recipe = make_recipe(style, [_read(photo, draws, limits) for photo in photos], report)
    write_recipe(style, recipe)
    return recipe


def _require_room_for_recipe(style: Style, *, replace: bool) -> None:
    if recipe_path(style).exists() and not replace:
        raise WeightsError(f"{style.name} is already calibrated; use --replace to overwrite {recipe_path(style)}.")
    try:
        tempfile.TemporaryFile(dir=style.folder).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"The 8-bit recipe of {style.name} cannot be saved in {style.folder}: {reason}.") from error


def _read(photo: Path, draws: DrawnAt, limits: Limits) -> Rgb:
    try:
        with photo.open("rb") as file:
            decoded = decode(file, limits, max_side=_CALIBRATED_AT, drawn_at=draws.drawn_at)
            return to_draw(decoded.rgb, draws, decoded.size)
    except SakugaError as error:
        raise InvalidValueError(f"{photo}: {error.detail}") from error


def remove_style(name: str, data_dir: Path) -> None:
    """Take an imported style out of the operator's manifest and delete its file.

    Raises:
        InvalidValueError: the style is bundled.
        UnknownStyleError: none of this name was imported.
    """
    folder = imported_weights(data_dir)
    imported = [style.name for style in read_manifest(folder)]
    if name not in imported:
        if _is_bundled(name):
            raise InvalidValueError(f"{name} is a bundled style; only imported ones can be removed.")
        raise UnknownStyleError(f"No such imported style; imported are: {', '.join(imported) or 'none'}.")
    with _changing(folder) as styles:
        if style := styles.pop(name, None):
            write_manifest(folder, list(styles.values()))  # first: a manifest never names a file that is gone
            _delete_files(style)


@contextmanager
def _changing(folder: Path) -> Iterator[dict[str, Style]]:
    """Give the operator's styles by name, which nobody else changes meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield {style.name: style for style in read_manifest(folder)}
    finally:
        os.close(descriptor)


def _delete_files(style: Style) -> None:
    for path in (style.weights_path, recipe_path(style)):
        path.unlink(missing_ok=True)


def _check_name(name: str, folder: Path, *, replace: bool) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidValueError("--name may have up to 41 lower-case letters, digits and hyphens.")
    if _is_bundled(name):
        raise InvalidValueError(f"{name} is a bundled style; choose another name.")
    if not replace and any(style.name == name for style in read_manifest(folder)):
        raise InvalidValueError(f"{name} exists already; choose another name or use --replace.")


def _is_bundled(name: str) -> bool:
    return any(name in {style.name, style.look} for style in read_manifest(BUNDLED_WEIGHTS))


def _try_out(engine: TorchEngine) -> None:
    ramp = np.linspace(-1, 1, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    if not np.isfinite(engine.generate(ramp)).all():
        raise WeightsError("These weights load but give no picture: the output is not finite.")
