"""Train a generator to draw what the rendered target draws. CPU-only, seeded, resumable.

    python -m training.train --style hinata --size light
    python -m training.train --style hinata --size light --resume

A step is a function of the recipe and its number (the batch, the learning rate), and a checkpoint holds its recipe, so
a resumed run takes the same steps as an uninterrupted one. Imported by `training` only.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional

from shared.styles import Size
from training.data import batch, pairs_path
from training.muon import Muon
from training.target import GRADES
from worker.engines.base import GEOMETRY
from worker.generator import Upsample
from worker.weights import new_generator, read_tensors

RUNS = Path(__file__).resolve().parent / "runs"


@dataclass(frozen=True, slots=True)
class Phase:
    """What a batch is until a share 0..1 of the steps is done."""

    until: float
    batch_size: int
    crop: int  # pixels of a side


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a run makes of its pairs.

    Raises:
        ValueError: the last phase does not reach the end.
    """

    size: Size
    steps: int
    phases: tuple[Phase, ...]
    border: int  # pixels on every side of a crop that count for nothing: their target depends on what was cut off
    peak_rate: float  # of learning
    muon: bool = False  # for convolutions, with AdamW for the rest; else AdamW for all
    weight_decay: float = 1e-4  # by AdamW
    ema: float = 0.999
    seed: int = 1
    bf16: bool = True
    style: str = ""
    pairs: int = 0
    start: str = "random initialisation"

    def __post_init__(self) -> None:
        if self.phases[-1].until < 1:
            raise ValueError("the last phase must last until 1")

    def phase(self, step: int) -> Phase:
        return next(phase for phase in self.phases if step < phase.until * self.steps)


STORED: TypeAdapter[Recipe] = TypeAdapter(Recipe)
RECIPES = {
    Size.LIGHT: Recipe(
        size=Size.LIGHT,
        steps=9000,
        phases=(Phase(1.0, batch_size=4, crop=144),),
        border=GEOMETRY[Size.LIGHT].margin,
        peak_rate=2e-3,
    ),
    # Small batches learn most in a given time; then crops so large that their statistics, by which it normalises, are
    # nearer to a whole photo's.
    Size.FULL: Recipe(
        size=Size.FULL,
        steps=11_000,
        phases=(Phase(0.64, batch_size=2, crop=96), Phase(1.0, batch_size=1, crop=256)),
        border=4,
        peak_rate=2.5e-4,
        muon=True,
    ),
}


class Checkpoint(TypedDict):
    """All that a run needs to go on."""

    recipe: dict[str, Any]
    step: int
    generator: dict[str, Tensor]
    average: dict[str, Tensor]
    optimisers: list[dict[str, object]]


class Run:
    """A generator in training, its moving average (what is exported) and its optimisers."""

    def __init__(self, recipe: Recipe) -> None:
        """Initialise at random from the recipe's seed."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        generator = new_generator(recipe.size, Upsample.HALF_PIXEL)
        if recipe.size is Size.FULL:
            delta_orthogonal_(generator)
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self.optimisers = _optimisers(self.generator, recipe)

    def advance(self, pairs: npt.NDArray[np.uint8]) -> float:
        """Take one step on (count, 2, side, side, 3) pairs and return its loss."""
        recipe = self.recipe
        phase = recipe.phase(self.step)
        photo, target = batch(pairs, seed=recipe.seed, step=self.step, size=phase.batch_size, crop=phase.crop)
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = recipe.peak_rate * one_cycle(self.step / recipe.steps)
        self.generator.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            drawn = self.generator(torch.from_numpy(photo).contiguous(memory_format=torch.channels_last))
        compared = (crop_border(images, recipe.border) for images in (drawn.float(), torch.from_numpy(target)))
        loss = drawing_loss(*compared)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        state: Checkpoint = {
            "recipe": STORED.dump_python(self.recipe, mode="json"),
            "step": self.step,
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        temporary = path.with_suffix(".new")
        torch.save(state, temporary)
        temporary.replace(path)

    @classmethod
    def resumed(cls, path: Path) -> Self:
        """The run of a checkpoint, to go on with its recipe."""
        state = read_checkpoint(path)
        run = cls(STORED.validate_python(state["recipe"]))
        run.step = state["step"]
        run.generator.load_state_dict(state["generator"])
        run.average = state["average"]
        for optimiser, its_state in zip(run.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(its_state)
        return run

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Start from weights of ours whose target differs a little."""
        self.average = {name: value.float().clone() for name, value in weights.items()}
        self.generator.load_state_dict(self.average)

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on the average follows quickly, or the random start would stay in it.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.generator.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)


def checkpoint_path(style: str, size: Size, run: str = "") -> Path:
    """Where a run is kept, under the name `run` or else that of its style and size."""
    return RUNS / (run or f"{style}-{size}") / "checkpoint.pt"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `Run.save` wrote; as data alone."""
    state: Checkpoint = torch.load(path, weights_only=True)
    return state


@torch.no_grad()
def delta_orthogonal_(generator: nn.Module) -> None:
    """Start convolutions at an orthogonal mix of channels in the middle of the kernel, so that detail gets through.

    A third of the usual random weights is added. Where a convolution reads the photo or halves the size, its whole
    kernel is orthogonal: the middle alone would lose pixels. Source: Xiao et al., "Dynamical isometry and a mean field
    theory of CNNs" (2018).
    """
    for layer in generator.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        weight, middle = layer.weight, layer.kernel_size[0] // 2
        if layer.groups > 1:
            weight.mul_(0.3)[:, :, middle, middle] += 1
        elif layer.stride == (2, 2) or layer.in_channels == 3:
            nn.init.orthogonal_(weight)
        else:
            weight.mul_(0.3)[:, :, middle, middle] += nn.init.orthogonal_(torch.empty(weight.shape[:2]))


def one_cycle(progress: float, warm_up: float = 0.05) -> float:
    """Share of the peak learning rate at `progress` 0..1: a linear rise, then half a cosine down to 1 %."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def crop_border(images: Tensor, border: int) -> Tensor:
    """Leave out `border` pixels on every side of (N, C, H, W)."""
    height, width = images.shape[-2:]
    return images[..., border : height - border, border : width - border]


def drawing_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """L1 of the colours and of their differences between neighbours (lines, cel edges), these at half the size too.

    Plain L1 hedges where the target decides hard; the differences make it pay for a blurred edge.
    """
    loss = functional.l1_loss(drawn, target)
    for weight, shrink in ((1.0, 1), (0.5, 2)):
        small, wanted = (functional.avg_pool2d(images, shrink) if shrink > 1 else images for images in (drawn, target))
        for difference, expected in zip(_differences(small), _differences(wanted), strict=True):
            loss = loss + weight * functional.l1_loss(difference, expected)
    return loss


def train(
    run: Run, pairs: npt.NDArray[np.uint8], checkpoint: Path, *, every_s: float = 60.0
) -> Iterator[tuple[int, float]]:
    """Take the remaining steps, saving every `every_s` seconds and at the end; yields each step and its loss."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    saved = monotonic()
    while run.step < run.recipe.steps:
        loss = run.advance(pairs)
        yield run.step, loss
        if monotonic() - saved > every_s:
            run.save(checkpoint)
            saved = monotonic()
    run.save(checkpoint)


def _optimisers(generator: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    weights = list(generator.parameters())
    matrices = [weight for weight in weights if recipe.muon and weight.ndim == 4 and weight.shape[1] > 1]
    chosen = set(matrices)
    others = [weight for weight in weights if weight not in chosen]
    adam = torch.optim.AdamW(others, lr=recipe.peak_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)
    return [Muon(matrices, lr=recipe.peak_rate), adam] if matrices else [adam]


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a generator on rendered pairs.")
    parser.add_argument("--style", required=True, choices=list(GRADES), help="whose pairs in training/cache/ to learn")
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.LIGHT)
    parser.add_argument("--run", default="", help="name of the run, a folder in training/runs/; style-size by default")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--crop", type=int, help="one crop of so many pixels a step, instead of the recipe's")
    parser.add_argument("--peak-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="1 by default")
    parser.add_argument("--start-from", type=Path, help="weights of ours, such as weights/NAME.safetensors")
    parser.add_argument("--resume", action="store_true", help="go on; style and size alone are looked at")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _recipe(arguments: argparse.Namespace, pairs: int) -> Recipe:
    recipe = replace(RECIPES[arguments.size], style=arguments.style, pairs=pairs)
    chosen = {name: getattr(arguments, name) for name in ("steps", "peak_rate", "seed")}
    if arguments.crop:
        chosen["phases"] = (Phase(1.0, batch_size=1, crop=arguments.crop),)
    if arguments.start_from:
        chosen["start"] = arguments.start_from.stem
    return replace(recipe, **{name: value for name, value in chosen.items() if value is not None})


def main() -> None:
    """Train, and print the mean loss of every 100 steps."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    checkpoint = checkpoint_path(arguments.style, arguments.size, arguments.run)
    if checkpoint.exists() and not arguments.resume:
        sys.exit(f"{checkpoint} is there already: --resume it, remove it, or give this run a name with --run")
    rendered = pairs_path(arguments.style, arguments.size)
    if not rendered.exists():
        sys.exit(f"{rendered} is missing: python -m training.data --style … --size … first")
    pairs = np.load(rendered, mmap_mode="r")
    run = Run.resumed(checkpoint) if arguments.resume else Run(_recipe(arguments, len(pairs)))
    if arguments.start_from and not arguments.resume:
        run.adopt(read_tensors(arguments.start_from))
    started, first, losses = monotonic(), run.step, []
    for step, loss in train(run, pairs, checkpoint):
        losses.append(loss)
        if step % 100 == 0 or step == run.recipe.steps:
            pace = (monotonic() - started) / (step - first)
            print(f"step {step}  loss {np.mean(losses):.4f}  {pace:.3f} s a step", flush=True)
            losses.clear()


if __name__ == "__main__":
    main()
