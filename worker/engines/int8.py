"""The 8-bit recipe of a style, and the quality it costs: `<weights>.int8.toml` beside the weights.

`worker.engines.quantise` measures it. Carries no ML runtime.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final

import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import WeightsError
from shared.files import write_atomically
from shared.styles import Style

MIN_SSIM: Final = 0.95  # below, 8 bit is refused
Range = tuple[float, float]  # the lowest and the highest value that is told apart


class Quality(BaseModel):
    """Pictures in 8 bit against those in single precision, of photos that were not calibrated on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: Annotated[int, Field(ge=1)]
    psnr_db: float  # means
    ssim: float
    worst_psnr_db: float
    worst_ssim: float


class Int8Recipe(BaseModel):
    """The parameters of static quantisation beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str
    photos: int  # calibrated on
    higher_precision: tuple[str, ...]  # convolutions that stay out of 8 bit
    quality: Quality
    ranges: dict[str, Range]  # of the input of every other convolution


def recipe_path(style: Style) -> Path:
    """Return the path of a style's recipe."""
    return style.weights_path.with_suffix(".int8.toml")


def read_recipe(style: Style) -> Int8Recipe | None:
    """The recipe of a style, if there is one for these weights.

    Raises:
        WeightsError: it is malformed, or cannot be read.
    """
    path = recipe_path(style)
    if not path.exists():
        return None
    try:
        recipe = Int8Recipe.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # no text, no TOML, or not of this form
        raise WeightsError(f"{path.name} is malformed; recreate it with `sakuga weights quantise`.") from error
    return recipe if recipe.weights_sha256 == style.sha256 else None


def usable_recipe(style: Style) -> Int8Recipe:
    """The recipe of a style whose pictures are good enough in 8 bit.

    Raises:
        WeightsError: there is none, or 8 bit would change the pictures visibly.
    """
    recipe = read_recipe(style)
    if recipe is None:
        raise WeightsError(f"{style.name} was not calibrated for 8 bit; run `sakuga weights quantise {style.name}`.")
    require_same_look(style.name, recipe.quality)
    return recipe


def require_same_look(name: str, quality: Quality) -> None:
    """Refuse 8 bit for a style whose pictures it would change visibly.

    Raises:
        WeightsError: it would.
    """
    if quality.ssim < MIN_SSIM:
        raise WeightsError(
            f"8 bit would visibly change {name}, so it is not used: SSIM {quality.ssim:.3f}, "
            f"at least {MIN_SSIM} is required."
        )


def write_recipe(style: Style, recipe: Int8Recipe) -> Path:
    """Keep the recipe beside the weights, as one step."""
    path = recipe_path(style)
    write_atomically(path, tomli_w.dumps(recipe.model_dump(mode="json")).encode())
    return path
