"""File names of photos from any source: safe on every system, and unique."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

from shared.errors import InvalidValueError

_NAME_BYTES: Final = 255  # of a part of a name, as file systems have it
_PARTS: Final = 8
# Users consider these files photos, and should see why one was rejected. Of all others in a folder only actual photos
# count: otherwise texts, films and files that programs keep beside photos would be listed as failures.
_PHOTOS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".gif", ".bmp"}
    | {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"}
)
_CLUTTER: Final = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\.)", re.IGNORECASE)
# Microsoft's "Naming Files, Paths, and Namespaces"; an extension, and spaces before it, make no difference.
_WINDOWS_DEVICES: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


def is_clutter(name: str) -> bool:
    """Return whether a file, or a folder whose name ends with `/`, is hidden or one that systems add."""
    return bool(_CLUTTER.search(name))


def is_photo_name(name: str) -> bool:
    """Return whether a file's name says that it is a photo; any other must be one by its content to count."""
    return PurePosixPath(name).suffix.lower() in _PHOTOS


def safe_name(name: str, *, otherwise: str = "") -> str:
    """Return a name that every system can unpack and that stays in its folder: relative, printable, not too long.

    Raises:
        InvalidValueError: nothing is left of it, and there is no `otherwise`.
    """
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    plain = "".join("_" if ord(char) < 32 or char in '<>:"|?*\x7f' else char for char in plain)  # noqa: PLR2004
    parts = [_safe_part(part) for part in plain.split("/") if part.strip(" .")]
    if not parts and otherwise:
        return otherwise
    if not parts:
        raise InvalidValueError("A photo needs a name, e.g. beach.jpg.")
    return "/".join(parts[-_PARTS:])


def _safe_part(part: str) -> str:
    trimmed = part.lstrip(" ").rstrip(" .")  # Windows drops both at the end of a name
    if _WINDOWS_DEVICES.match(trimmed):
        trimmed = f"_{trimmed}"
    path = PurePosixPath(trimmed)
    suffix = path.suffix if len(path.suffix) < 10 else ""  # noqa: PLR2004  an extension
    stem = trimmed.removesuffix(suffix).encode()[: _NAME_BYTES - 20 - len(suffix.encode())].decode(errors="ignore")
    return (stem + suffix).rstrip(" .") or "_"


def with_number(name: str, number: int) -> str:
    """Return the name with a number before its extension; number one is the name itself."""
    path = PurePosixPath(name)
    return name if number == 1 else str(path.with_name(f"{path.stem} ({number}){path.suffix}"))


class UniqueNames:
    """Names that stay distinct on file systems that ignore case, too."""

    def __init__(self, *taken: str) -> None:
        """Start with the names in `taken`."""
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Return a name or, if it is taken, the name with its first free number, and mark that as taken.

        Taken names stay taken, so each search starts where the last one for this name ended: no number is tried twice.
        """
        number = self._numbers.get(name.casefold(), 1)
        while (free := with_number(name, number)).casefold() in self._taken:
            number += 1
        self._taken.add(free.casefold())
        self._numbers[name.casefold()] = number + 1
        return free
