"""Reading the tensors of a TorchScript archive, of which nothing is run.

`torch.jit.load` runs the archive's own `__setstate__`, and TorchScript code can write files. Here the archive is data:
its pickle gives modules that only keep their state and tensors that only say where their bytes lie, and those are read
from the zip entries. What it may cost is bounded by its size: entries are stored, never compressed, and read once.
"""

import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from io import BytesIO
from typing import Final, NamedTuple

import torch
from torch import Tensor

from shared.errors import WeightsError

_MAX_PICKLE_BYTES: Final = 1 << 18  # AnimeGANv2 has 15 kB; one byte can ask for a hundred times its size
_MAX_TUPLES: Final = 10_000  # four for each tensor; Python crashes over the hash of tuples nested ten times as deep
_MAX_ATTRIBUTES: Final = 100_000  # modules may be shared, so a small pickle can describe an endless tree
_MAX_NAME: Final = 200  # characters; ends modules that hold themselves
_MAX_DIMENSIONS: Final = 8

_OPCODES: Final = {  # all that torch's writer of archives writes
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT",
    "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "NEWOBJ", "REDUCE", "BUILD",
    "BINPERSID",
}  # fmt: skip

_DTYPES: Final = {
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
}


class _Object:
    """An object of a class of the archive's own: a module, an enumeration. Its state is kept, its code never seen."""

    state: object = None

    def __init__(self, *_given: object) -> None:
        """Take whatever the class would."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    numel: int


class _View(NamedTuple):
    """A tensor that is not read yet; whether its storage has that many elements is not checked."""

    storage: _Storage
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


def _view(storage: object, offset: object, sizes: object, strides: object, *_more: object) -> _View:
    match storage, offset, sizes, strides:
        case _Storage(), int(), tuple(), tuple() if all(isinstance(number, int) for number in (*sizes, *strides)):
            return _View(storage, offset, sizes, strides)
    raise pickle.UnpicklingError("not a tensor")


def _as_given(value: object, *_type: object) -> object:
    return value


_STAND_INS: Final[dict[str, object]] = {
    **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
    "torch._utils._rebuild_tensor_v2": _view,
    "collections.OrderedDict": OrderedDict,
    "torch.device": _as_given,
    "torch.jit._pickle.restore_type_tag": _as_given,
    **{f"torch.jit._pickle.build_{kind}list": _as_given for kind in ("int", "double", "bool", "tensor")},
}


class _Unpickler(pickle.Unpickler):
    """Knows our inert stand-ins and nothing else."""

    def find_class(self, module: str, name: str, /) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Object
        if (found := _STAND_INS.get(f"{module}.{name}")) is None:
            raise WeightsError("The TorchScript archive is refused: it contains more than modules and tensors.")
        return found

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(numel)):
                return _Storage(dtype, key, numel)
        raise pickle.UnpicklingError("not a storage")


class _Entries:
    """The entries of an archive by name, of which all together may have no more bytes than the file."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size_bytes: int) -> None:
        self._archive, self._root, self._left_bytes = archive, root, size_bytes
        self._storages: dict[_Storage, Tensor] = {}

    def read(self, name: str) -> bytes:
        entry = self._archive.getinfo(f"{self._root}/{name}")
        self._left_bytes -= entry.file_size
        stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        if not stored or self._left_bytes < 0:
            raise WeightsError("The TorchScript archive is refused: its entries are compressed or overlap.")
        return self._archive.read(entry)

    def storage(self, wanted: _Storage) -> Tensor:
        if wanted not in self._storages:
            content = bytearray(self.read(f"data/{wanted.key}"))  # torch wants bytes it may write to
            if len(content) != wanted.numel * wanted.dtype.itemsize:
                raise WeightsError("The TorchScript archive is damaged: a tensor has the wrong number of bytes.")
            self._storages[wanted] = torch.frombuffer(content, dtype=wanted.dtype)
        return self._storages[wanted]


def is_torchscript(archive: zipfile.ZipFile, root: str) -> bool:
    """Tell a TorchScript archive from a checkpoint, as torch does."""
    return f"{root}/constants.pkl" in archive.namelist()


def read_torchscript(archive: zipfile.ZipFile, root: str, *, size_bytes: int) -> dict[str, Tensor]:
    """Read every tensor of the archive's modules, by its dotted name; `size_bytes` is the file's.

    Equal to the `state_dict` of `torch.jit.load`, except that a tensor which is a plain attribute, no parameter or
    buffer, is given too: only the archive's code tells them apart.

    Raises:
        WeightsError: it holds other things, is compressed, or a tensor lies outside its bytes.
        Exception: of `zipfile` or `pickle`, where the file is damaged.
    """
    entries = _Entries(archive, root, size_bytes)
    if f"{root}/byteorder" in archive.namelist() and entries.read("byteorder") != b"little":
        raise WeightsError("The TorchScript archive is from a big-endian machine, which is not supported.")
    pickled = entries.read("data.pkl")
    _check_opcodes(pickled)
    return {name: _tensor(name, view, entries) for name, view in _views(_Unpickler(BytesIO(pickled)).load())}


def _check_opcodes(pickled: bytes) -> None:
    """Refuse what torch does not write, before anything is unpickled.

    The unpickler makes room for a memo index as large as the pickle says: four bytes could ask for 64 GB.
    """
    if len(pickled) > _MAX_PICKLE_BYTES:
        raise WeightsError("The TorchScript archive is refused: its description is too long for a generator.")
    tuples = 0
    for opcode, argument, _ in pickletools.genops(pickled):
        tuples += opcode.name.startswith("TUPLE")
        far = opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(pickled)
        if far or tuples > _MAX_TUPLES or opcode.name not in _OPCODES:
            raise WeightsError("The TorchScript archive is refused: it contains entries that torch does not write.")


def _views(root: object) -> Iterator[tuple[str, _View]]:
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, value = waiting.pop()
        for name, attribute in _attributes(value):
            seen += 1
            path = f"{prefix}{name}"
            if seen > _MAX_ATTRIBUTES or len(path) > _MAX_NAME:
                raise WeightsError(
                    "The TorchScript archive is refused: its modules are nested in themselves or too many."
                )
            if isinstance(attribute, _View):
                yield path, attribute
            elif isinstance(attribute, _Object):
                waiting.append((f"{path}.", attribute))


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    match value:
        case _Object(state=dict() as state) if all(isinstance(name, str) for name in state):
            yield from state.items()
        case _Object(state=None):
            return
        case _:
            raise WeightsError("The TorchScript archive is refused: its modules need custom code to load.")


def _tensor(name: str, view: _View, entries: _Entries) -> Tensor:
    if not _lies_within_storage(view):
        raise WeightsError(f"The TorchScript archive is refused: {name} lies outside its bytes.")
    return entries.storage(view.storage).as_strided(view.sizes, view.strides, view.offset)


def _lies_within_storage(view: _View) -> bool:
    """Return whether a view has elements, each within its storage, and no more of them than the storage."""
    if len(view.sizes) != len(view.strides) or len(view.sizes) > _MAX_DIMENSIONS:
        return False
    if min((view.offset, *view.sizes, *view.strides)) < 0:
        return False
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.sizes, view.strides, strict=True))
    return 0 < math.prod(view.sizes) <= view.storage.numel and last < view.storage.numel
