"""The names of the entries of ZIP archives, in whatever encoding they were written (APPNOTE 4.4.4 and 4.6.9)."""

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

_UTF8_FLAG: Final = 0x800
_UNICODE_FIELD: Final = 0x7075
_FIRST_LONG: Final = "\u0800"  # in UTF-8, three bytes: text in a code page hardly ever looks like this by accident
_SAMPLE_BYTES: Final = 1 << 16  # of names; more make a guess no better
# What DOS and the ZIP folders of Windows write, and two that other tools there do. Any other is taken for these.
_CODE_PAGES: Final = (
    "cp932", "gb18030", "big5hkscs", "cp949", "cp874",
    "cp437", "cp850", "cp852", "windows-1252", "cp866", "windows-1251", "cp737", "cp857", "cp862",
)  # fmt: skip
_OTHERWISE: Final = "cp437"  # says the specification


def entry_names(entries: Iterable[zipfile.ZipInfo]) -> list[str]:
    """Return the name of every entry: as it says itself or, where it does not, in the encoding that suits them all."""
    known = [(_raw_name(entry), _stated_name(entry)) for entry in entries]
    encoding = _encoding_of([raw for raw, stated in known if stated is None])
    return [_decoded(raw, encoding) if stated is None else stated for raw, stated in known]


def _raw_name(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8_FLAG else "cp437")


def _stated_name(entry: zipfile.ZipInfo) -> str | None:
    """Return a name that needs no guess: in UTF-8 by its flag or in a field of its own, or in plain letters."""
    if entry.flag_bits & _UTF8_FLAG:
        return entry.orig_filename
    found = _name_in_field(entry.extra, zlib.crc32(_raw_name(entry)))
    return entry.orig_filename if found is None and entry.orig_filename.isascii() else found


def _name_in_field(extra: bytes, crc: int) -> str | None:
    """Return the name in the Unicode field, unless the entry was renamed by a tool that did not know the field."""
    for kind, content in _fields(extra):
        if kind == _UNICODE_FIELD and content[:1] == b"\x01" and content[1:5] == crc.to_bytes(4, "little"):
            try:
                return content[5:].decode() or None
            except UnicodeDecodeError:
                return None
    return None


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(extra):
        kind, size = (int.from_bytes(extra[start : start + 2], "little") for start in (place, place + 2))
        yield kind, extra[place + 4 : place + 4 + size]
        place += 4 + size


def _encoding_of(names: list[bytes]) -> str:
    """Return the encoding that most likely all of these names have."""
    if all(_is_utf8(name) for name in names):
        return "utf-8"
    from chardet import detect  # 40 MB, for the few archives that need it

    sample = b"\n".join(dict.fromkeys(names))[:_SAMPLE_BYTES]
    return detect(sample, include_encodings=_CODE_PAGES)["encoding"] or _OTHERWISE


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(name: bytes, encoding: str) -> str:
    """Decode a name; one in an archive of both kinds may be in UTF-8 all the same."""
    if _is_utf8(name) and max(utf8 := name.decode()) >= _FIRST_LONG:
        return utf8
    return name.decode(encoding, "replace")
