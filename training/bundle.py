"""Reads resource bundles of Qt (.rcc), in which GCompris keeps its photos.

The format, big-endian: a header with the offsets of tree, data and names. Each node of the tree has a name, flags, and
either its children or the offset of its content: a length and bytes, compressed with zlib if its flag says so.
"""

import struct
import zlib
from collections.abc import Iterator

MAGIC = b"qres"
PACKED, FOLDER = 1, 2  # flags of a node


def read_bundle(bundle: bytes) -> dict[str, bytes]:
    """Read every file of a bundle, by path.

    Raises:
        ValueError: it is no such bundle.
    """
    if bundle[:4] != MAGIC:
        raise ValueError("no resource bundle of Qt")
    version, tree, data, names = struct.unpack_from(">4i", bundle, 4)
    node_bytes = 14 if version == 1 else 22

    def walk(number: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + number * node_bytes
        name, flags = struct.unpack_from(">iH", bundle, at)
        here = f"{path}/{_name(bundle, names + name)}" if number else ""
        if flags & FOLDER:
            count, first = struct.unpack_from(">ii", bundle, at + 6)
            for child in range(first, first + count):
                yield from walk(child, here)
        else:
            (start,) = struct.unpack_from(">i", bundle, at + 10)
            yield here, _content(bundle, data + start, packed=bool(flags & PACKED))

    return dict(walk(0, ""))


def _name(bundle: bytes, at: int) -> str:
    (letters,) = struct.unpack_from(">H", bundle, at)
    return bundle[at + 6 : at + 6 + 2 * letters].decode("utf-16-be")  # after length and hash


def _content(bundle: bytes, at: int, *, packed: bool) -> bytes:
    (length,) = struct.unpack_from(">i", bundle, at)
    content = bundle[at + 4 : at + 4 + length]
    return zlib.decompress(content[4:]) if packed else content  # after its uncompressed length
