"""Reading weights files: verified, never executed. Imported by `worker` and `cli`.

Three forms are read: safetensors, a PyTorch `state_dict` (with `weights_only=True`, so a pickle that runs code is
refused), and a TorchScript archive, of which only the tensors are taken.
"""

import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.errors import WeightsError
from shared.styles import Size, Style
from worker.generator import AnimeGanV2, LightGenerator, Upsample

Tensors = dict[str, Tensor]


def new_generator(size: Size, upsample: Upsample) -> AnimeGanV2 | LightGenerator:
    """Make a generator whose weights are still to be loaded."""
    return AnimeGanV2(upsample) if size is Size.FULL else LightGenerator()


def load_generator(style: Style) -> AnimeGanV2 | LightGenerator:
    """Build a style's generator in evaluation mode from its verified weights file; it is not run.

    Raises:
        WeightsError: the file is missing, not the one of the manifest, damaged, or of another architecture.
    """
    if not style.weights_path.exists():
        raise WeightsError(f"The weights file {style.file} of style {style.name} is missing.")
    if (found := file_sha256(style.weights_path)) != style.sha256:
        raise WeightsError(
            f"The weights file {style.file} of style {style.name} is not the one its manifest names "
            f"(SHA-256 {found[:12]}…, expected {style.sha256[:12]}…)."
        )
    generator = new_generator(style.size, Upsample(style.upsample))
    fill(generator, read_tensors(style.weights_path))
    return generator.eval().requires_grad_(requires_grad=False)


def fill(generator: nn.Module, tensors: Tensors) -> None:
    """Put tensors into a generator; every name and shape must match.

    Raises:
        WeightsError: naming the first tensor that is missing, unexpected or of another shape.
    """
    expected = generator.state_dict()
    kind = type(generator).__name__
    for name, value in expected.items():
        if name not in tensors:
            raise WeightsError(f"These weights are not for {kind}: {name} is missing.")
        if tensors[name].shape != value.shape:
            shapes = f"{list(tensors[name].shape)} instead of {list(value.shape)}"
            raise WeightsError(f"These weights are not for {kind}: {name} is {shapes}.")
    if unexpected := sorted(set(tensors) - set(expected)):
        raise WeightsError(f"These weights are not for {kind}: it has no {unexpected[0]}.")
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise WeightsError("These weights contain numbers that are not finite.")
    generator.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)


def recognise(tensors: Tensors) -> Size:
    """Tell by the names which generator tensors belong to.

    Raises:
        WeightsError: neither.
    """
    for size in Size:
        if set(new_generator(size, Upsample.HALF_PIXEL).state_dict()) == set(tensors):
            return size
    first = ", ".join(sorted(tensors)[:3]) or "no tensors"
    raise WeightsError(
        "These weights are for another architecture; AnimeGANv2 (77 tensors) and Sakuga's light generator are "
        f"supported. Found {len(tensors)} tensors: {first}, …"
    )


def read_tensors(path: Path) -> Tensors:
    """Read the tensors of a weights file, whatever of the three forms it has.

    Raises:
        WeightsError: damaged, cut short, or a pickle that wants to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return _read_torchscript(path) if _is_torchscript(path) else _read_checkpoint(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path.name} is refused: loading it could run code; it holds more than tensors.") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, SafetensorError) as error:
        raise WeightsError(f"{path.name} is damaged, cut short or no weights file.") from error


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write tensors as safetensors, as one step."""
    temporary = path.with_name(f".{path.name}.new")
    save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)
    temporary.replace(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> Tensors:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # deprecated, but what published generators come as
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return dict(script.state_dict())


def _read_checkpoint(path: Path) -> Tensors:
    loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path.name} holds no state_dict.")
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}
