"""File names of photos from any source: which files are photos, and names that are safe on every system, and unique.

The page has the same rules in `web/static/js/filenames.js`; the cases in `tests/page/` hold for both.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import PurePosixPath
from typing import Final

from shared.errors import InvalidValueError

# File systems allow 255 bytes for a part of a name; a number and another extension may be added to it. Of a whole path
# macOS allows 1,024 bytes, with the folder that it is in.
_PART_BYTES: Final = 235
_PATH_BYTES: Final = 800
_PARTS: Final = 8
_SUFFIX_LENGTH: Final = 9  # of an extension, with its dot; what is longer is part of the name
# Users consider these files photos, and should see why one was rejected. Any other file counts only if it is a photo by
# its content: otherwise texts, films and files that programs keep beside photos would be listed as failures.
_PHOTO: Final = re.compile(
    r"""[^/]\.(jpe?g | jpe | jfif | jps | mpo | a?png | webp | hei[cf]s? | hif | avifs? | tiff? | gif | bmp | dib
    | jp2 | j2[kc] | jp[cfx] | jxl | jxr | wdp | hdp | jls | ps[db] | tga | dds | qoi | pcx | p[pgbn]m | sgi
    | exr | hdr | xcf | bpg | flif
    | 3fr | arw | cr[23w] | dcr | dng | eip | erf | fff | gpr | iiq | kdc | mef | mos | mrw | nef | nrw | orf | pef
    | raf | raw | rw2 | rwl | sr[2fw] | x3f)$""",
    re.IGNORECASE | re.VERBOSE,
)
_ARCHIVE: Final = re.compile(r"\.(zip|zipx|rar|7z|tar|tgz|tbz2?|txz|cbz|cbr|cb7|tar\.[a-z0-9]{1,4})$", re.IGNORECASE)
# What systems, network storage and photo programs keep beside photos: thumbnails, copies and what was deleted.
_CLUTTER: Final = re.compile(
    r"""(^|/)(
    \.(?!\.?(/|$))                                             # hidden, and .Trash-1000, .thumbnails, .@__thumb
    | __MACOSX/ | (Network\ Trash\ Folder|Temporary\ Items)/   # macOS
    | (Thumbs|ehthumbs(_vista)?)\.db$ | desktop\.ini$          # Windows
    | (\$RECYCLE\.BIN|RECYCLER|System\ Volume\ Information)/
    | (@eaDir|\#recycle|\#snapshot|@tmp|@sharebin)/            # Synology
    | (@Recycle|@Recently-Snapshot|@__thumb)/                  # QNAP
    | (lost\+found|\$Trash\$|trashbox|files_trashbin)/         # Linux, Buffalo, Nextcloud
    | [^/]+\.lrdata/                                           # Lightroom: previews
    | [^/]+\.(photoslibrary|photolibrary|aplibrary|migratedphotolibrary)/(?!originals/|masters/|$)  # Apple
    | CaptureOne/(Cache|Settings)/ | [^/]+\.cocatalog/(?!originals/|$)
    | THMBNL/ | [^/]+\.thm$                                    # cameras: thumbnails of films
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# No system shows these, or they make it show a name in another order (Unicode, "Bidirectional Algorithm", 2).
_UNPRINTABLE: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]'
)
# Microsoft's "Naming Files, Paths, and Namespaces"; an extension, and spaces before it, make no difference.
_WINDOWS_DEVICES: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


def is_clutter(path: str) -> bool:
    """Return whether a file, or a folder whose path ends with `/`, is hidden or kept by a system or a program."""
    return bool(_CLUTTER.search(path.replace("\\", "/")))


def is_photo_name(name: str) -> bool:
    """Return whether a file's name says that it is a photo; any other must be one by its content to count."""
    return bool(_PHOTO.search(name))


def is_archive_name(name: str) -> bool:
    """Return whether a file's name says that it is an archive, which may hold photos."""
    return bool(_ARCHIVE.search(name))


def safe_name(name: str, *, otherwise: str = "") -> str:
    """Return a name that every system can unpack and that stays in its folder: relative, printable, not too long.

    It is the same for a name that is safe already.

    Raises:
        InvalidValueError: nothing is left of it, and there is no `otherwise`.
    """
    plain = _UNPRINTABLE.sub("_", unicodedata.normalize("NFC", name.replace("\\", "/")))
    parts = [_safe_part(part) for part in plain.split("/") if part.strip(" .")][-_PARTS:]
    while len("/".join(parts).encode()) > _PATH_BYTES:
        del parts[0]
    if not parts and not otherwise:
        raise InvalidValueError("A photo needs a name, e.g. beach.jpg.")
    return "/".join(parts) or otherwise


def _safe_part(part: str) -> str:
    short = _short(part)
    return _short(f"_{short}") if _WINDOWS_DEVICES.match(short) else short


def _short(part: str) -> str:
    stem, suffix = _split(part.lstrip(" ").rstrip(" ."))  # Windows drops both at the end of a name
    return f"{_cut(stem, _PART_BYTES - len(suffix.encode()))}{suffix}".rstrip(" .") or "_"


def _split(name: str) -> tuple[str, str]:
    """Split the last part of a name into its stem and its extension, if that is as short as those are."""
    suffix = PurePosixPath(name).suffix
    return (name.removesuffix(suffix), suffix) if len(suffix) <= _SUFFIX_LENGTH else (name, "")


def _cut(text: str, size: int) -> str:
    """Return the start of a text that has at most `size` bytes in UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def with_number(name: str, number: int) -> str:
    """Return the name with a number before its extension; number one is the name itself."""
    return name if number == 1 else with_ending(name, f" ({number})")


def with_ending(name: str, ending: str) -> str:
    """Return a safe name with a few more characters before its extension; it is as safe, and so not too long."""
    folder, slash, last = name.rpartition("/")
    stem, suffix = _split(last)
    end = f"{ending}{suffix}"
    return f"{folder}{slash}{_cut(stem, _PART_BYTES - len(end.encode()))}{end}"


def picture_name(name: str, extension: str) -> str:
    """Return the name of a photo's picture: of a photo's extension it takes the place, anything else is kept."""
    stem = str(PurePosixPath(name).with_suffix("")) if is_photo_name(name) else name
    return f"{stem}.{extension}"


def folded(name: str) -> str:
    """Return the same text for all names that some system takes for one."""
    return unicodedata.normalize("NFC", name.casefold())


class UniqueNames:
    """Names that stay distinct on file systems that ignore case, too; none of a file is that of a folder."""

    def __init__(self, *taken: str) -> None:
        """Start with the names in `taken`."""
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._numbers: dict[str, int] = {}
        for name in taken:
            self._add(name)

    def allocate(self, name: str) -> str:
        """Return a name or, if it is taken, the name with its first free number, and mark that as taken.

        Taken names stay taken, so each search starts where the last one for this name ended: no number is tried twice.
        """
        folder, slash, last = name.rpartition("/")
        wanted = f"{self._free_folder(folder)}{slash}{last}"
        number = self._numbers.get(folded(wanted), 1)
        while folded(free := with_number(wanted, number)) in self._files or folded(free) in self._folders:
            number += 1
        self._add(free)
        self._numbers[folded(wanted)] = number + 1
        return free

    def _add(self, name: str) -> None:
        self._files.add(folded(name))
        self._folders.update(folded(str(folder)) for folder in PurePosixPath(name).parents)

    def _free_folder(self, path: str) -> str:
        """Return the path of a folder, with numbers where its own name or one above it is that of a file."""
        if not path:
            return ""
        folder, slash, last = path.rpartition("/")
        wanted = f"{self._free_folder(folder)}{slash}{last}"
        return next(free for free in _numbered(wanted) if folded(free) not in self._files)


def _numbered(name: str) -> Iterator[str]:
    return (with_number(name, number) for number in count(1))
