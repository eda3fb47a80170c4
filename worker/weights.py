"""Reading weights files: verified, never executed.

Four forms are read: safetensors, a PyTorch `state_dict` (with `weights_only=True`, so a pickle that runs code is
refused), and TorchScript archives and ONNX files, of which only the tensors are read (`worker.torchscript`,
`worker.onnx_graph`).
"""

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from shared.errors import WeightsError
from shared.files import file_sha256, write_atomically
from shared.styles import Size, Style
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.torchscript import is_torchscript, read_torchscript

Tensors = dict[str, Tensor]

# What zipfile, pickle, safetensors and torch raise over damaged files; the unpicklers trip over whatever they meet.
_DAMAGED: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


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
            f"The weights file {style.file} of style {style.name} does not match its manifest "
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
        raise WeightsError("These weights contain values that are not finite.")
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
    """Read the tensors of a weights file, whatever of the four forms it has.

    Raises:
        WeightsError: none of them, damaged, cut short, or holding more than tensors.
    """
    try:
        return _reader(path)(path)
    except _DAMAGED as error:
        raise WeightsError(f"{path.name} is damaged, incomplete or not a weights file.") from error


def recorded_upsample(path: Path) -> Upsample | None:
    """The upsampling mode that a file of weights tells itself, as only ONNX can; None if it does not.

    Raises:
        WeightsError: it cannot be read.
    """
    if _reader(path) is not _read_onnx:
        return None
    from worker.onnx_graph import read_upsample

    return read_upsample(path)


def as_safetensors(tensors: Tensors) -> bytes:
    """Return the content of a safetensors file."""
    # clones, because tensors that share their bytes are not saved
    return save({name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()})


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Write tensors as safetensors, as one step.

    Who may read the file is for the umask to say: `save_file` of safetensors would keep it to its owner, but the web
    server and workers of other users share the folder.
    """
    write_atomically(path, as_safetensors(tensors))


def _reader(path: Path) -> Callable[[Path], Tensors]:
    """Tell the form by how the file begins: any other file is not weights, and nothing worse is said of it."""
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"PK\x03\x04"):
        return _read_archive
    if start[8:] == b"{":  # after the length of the header
        return load_file
    if start.startswith(b"\x80"):
        return _read_checkpoint
    if start.startswith(b"\x08"):  # the version of ONNX, which comes first
        return _read_onnx
    raise WeightsError(f"{path.name} is not a weights file.")


def _read_onnx(path: Path) -> Tensors:
    from worker.onnx_graph import read_onnx

    return read_onnx(path, AnimeGanV2())


def _read_archive(path: Path) -> Tensors:
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        if f"{root}/data.pkl" not in archive.namelist():
            raise WeightsError(f"{path.name} is not a weights file.")
        if is_torchscript(archive, root):
            return read_torchscript(archive, root, size_bytes=path.stat().st_size)
        # torch writes none, and unpacks whatever it is given into memory
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise WeightsError(f"{path.name} is refused: its entries are compressed.")
    return _read_checkpoint(path)


def _read_checkpoint(path: Path) -> Tensors:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # not even a pickle of torch's
            raise
        raise WeightsError(
            f"{path.name} is refused: it contains more than tensors, so loading it could run code."
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path.name} contains no state_dict.")
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}
