"""The styles a node offers: what `weights/manifest.toml` and the operator's own manifest say. Carries no ML runtime."""

import hashlib
import tomllib
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import UnknownStyleError, WeightsError
from shared.files import write_atomically
from shared.live_files import LiveFiles

BUNDLED_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
MANIFEST = "manifest.toml"


class Size(StrEnum):
    """The generator that the weights are for."""

    FULL = "full"  # AnimeGANv2
    LIGHT = "light"  # our small U-Net

    @property
    def gmac_per_megapixel(self) -> int:
        """Billions of multiply-adds that a megapixel of picture costs; counted by a test."""
        return {Size.FULL: 401, Size.LIGHT: 25}[self]


class Style(BaseModel):
    """One entry of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    title: str
    description: str = ""  # what its pictures look like, in a few words
    size: Size
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    upsample: Literal["align_corners", "half_pixel", "asymmetric"] = "half_pixel"
    drawn_at: Annotated[int, Field(ge=64, le=2048)] | None = None  # longest side in pixels; None: as large as asked for
    close_ups: bool = False  # whether photos of large faces are drawn smaller than that
    small_faces: bool = False  # whether small faces are drawn apart, larger
    licence: str
    provenance: str = ""
    preview: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = ""
    folder: Annotated[Path, Field(exclude=True)] = BUNDLED_WEIGHTS

    @property
    def look(self) -> str:
        """The name without the size: what the sizes of one style have in common."""
        return self.name.removesuffix(f"-{self.size}")

    @property
    def sees_faces(self) -> bool:
        """True if drawing takes the face detector."""
        return self.close_ups or self.small_faces

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the style draws: its weights, and how they are run."""
        parts = (self.sha256, self.upsample, str(self.drawn_at), str(self.close_ups), str(self.small_faces))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def weights_path(self) -> Path:
        return self.folder / self.file

    @property
    def preview_path(self) -> Path | None:
        return self.folder / self.preview if self.preview else None


@dataclass(frozen=True, slots=True)
class _Index:
    """The styles of some manifests, for look-ups."""

    by_name: Mapping[str, Style]
    by_any_name: Mapping[str, Style]


class Styles(Mapping[str, Style]):
    """All styles of a node by name, as of now; the operator's manifest wins over the bundled one.

    A name may lack the size (`sumi`): it then means the fastest that is installed.
    """

    def __init__(self, *folders: Path) -> None:
        """Read `manifest.toml` of every folder that has one, and again whenever one has changed.

        Raises:
            WeightsError: one is invalid. If that happens later, the last valid styles are kept.
        """
        self._index = LiveFiles(
            [folder / MANIFEST for folder in folders],
            lambda: _index(folders),
            invalid="cannot use a weights manifest; keeping the styles",
        )
        self._index.current()

    def __getitem__(self, name: str) -> Style:
        styles = self._index.current()
        try:
            return styles.by_any_name[name]
        except KeyError:
            known = ", ".join(styles.by_name) or "(none installed)"
            raise UnknownStyleError(f"style must be one of: {known}.") from None

    def full_name(self, name: str) -> str:
        """Return the name of a style with its size; one that is not installed keeps its name."""
        found = self._index.current().by_any_name.get(name)
        return found.name if found else name

    def to_preview(self, names: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the full names of some styles, each once; without names, of all light ones.

        Raises:
            UnknownStyleError: there is no such style, or no light one.
        """
        light = [style.name for style in self.values() if style.size is Size.LIGHT]
        return tuple(dict.fromkeys(self[name].name for name in names or light or ("",)))

    def __contains__(self, name: object) -> bool:
        return name in self._index.current().by_any_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.current().by_name)

    def __len__(self) -> int:
        return len(self._index.current().by_name)

    def values(self) -> ValuesView[Style]:
        """Return the styles of one moment."""
        return self._index.current().by_name.values()

    def items(self) -> ItemsView[str, Style]:
        """Return the styles of one moment by their names."""
        return self._index.current().by_name.items()


def _index(folders: Iterable[Path]) -> _Index:
    by_name = {style.name: style for folder in folders for style in read_manifest(folder)}
    slowest_first = sorted(by_name.values(), key=lambda style: -style.size.gmac_per_megapixel)
    return _Index(by_name, {style.look: style for style in slowest_first} | by_name)


def imported_weights(data_dir: Path) -> Path:
    """Return the folder of the weights that `sakuga weights import` has added."""
    return data_dir / "weights"


def installed_styles(data_dir: Path) -> Styles:
    return Styles(BUNDLED_WEIGHTS, imported_weights(data_dir))


def read_manifest(folder: Path) -> list[Style]:
    """Read the styles of one folder; a folder without a manifest has none.

    Raises:
        WeightsError: naming the entry and the key that is wrong.
    """
    try:
        entries = tomllib.loads((folder / MANIFEST).read_text("utf-8")).get("style", [])
        return [Style(**entry, folder=folder) for entry in entries]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WeightsError(f"The weights manifest cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"The weights manifest is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise WeightsError(f"The weights manifest has an invalid {key}: {first['msg']}") from error


def write_manifest(folder: Path, styles: list[Style]) -> None:
    """Replace the folder's manifest as one step."""
    content = tomli_w.dumps({"style": [style.model_dump(mode="json", exclude_none=True) for style in styles]})
    write_atomically(folder / MANIFEST, content.encode())
