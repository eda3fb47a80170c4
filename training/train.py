"""Train a generator to draw what the rendered target draws. CPU-only, seeded, resumable.

    python -m training.train --style hinata --size light
    python -m training.train --style hinata --size light --resume

A step is a function of the seed and its number (the batch, the learning rate), so a resumed run takes the same steps as
an uninterrupted one. Imported by `training` only.
"""

import argparse
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.styles import Size
from training.data import CACHE, batch
from worker.generator import LightGenerator, Upsample
from worker.weights import new_generator

RUNS = Path(__file__).resolve().parent / "runs"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `border` pixels on every side of a crop count for nothing: the generator's margin at inference."""

    steps: int
    size: Size = Size.LIGHT
    seed: int = 1
    batch_size: int = 4
    crop: int = 144
    border: int = LightGenerator.margin
    peak_rate: float = 2e-3
    weight_decay: float = 1e-4
    ema: float = 0.999
    bf16: bool = True


RECIPES = {
    Size.LIGHT: Recipe(steps=9000),
    Size.FULL: Recipe(steps=12_000, size=Size.FULL, batch_size=4, crop=128, border=8, peak_rate=6e-4),
}


class Checkpoint(TypedDict):
    """All that a run needs to go on."""

    step: int
    generator: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, object]


class Run:
    """A generator in training, its moving average (what is exported) and its optimiser."""

    def __init__(self, recipe: Recipe) -> None:
        """Initialise at random from the recipe's seed."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        generator = new_generator(recipe.size, Upsample.HALF_PIXEL)
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.generator.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
        )

    def advance(self, pairs: npt.NDArray[np.uint8]) -> float:
        """Take one step on (count, 2, side, side, 3) pairs and return its loss."""
        recipe = self.recipe
        photo, target = batch(pairs, seed=recipe.seed, step=self.step, size=recipe.batch_size, crop=recipe.crop)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.peak_rate * one_cycle(self.step / recipe.steps)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            drawn = self.generator(torch.from_numpy(photo).contiguous(memory_format=torch.channels_last))
        loss = drawing_loss(inside(drawn.float(), recipe.border), inside(torch.from_numpy(target), recipe.border))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step."""
        state: Checkpoint = {
            "step": self.step,
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = path.with_suffix(".new")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state: Checkpoint = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.generator.load_state_dict(state["generator"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])

    def adopt(self, path: Path) -> None:
        """Start a new run from the averaged weights of an earlier one of ours, when the target has changed a little."""
        state: Checkpoint = torch.load(path, weights_only=True)
        self.generator.load_state_dict(state["average"])
        self.average = state["average"]

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on the average follows quickly, or the random start would stay in it.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.generator.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)


def one_cycle(progress: float, warm_up: float = 0.05) -> float:
    """Share of the peak learning rate at `progress` 0..1: a linear rise, then half a cosine down to 1 %."""
    if progress < warm_up:
        return 0.05 + 0.95 * progress / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def inside(images: Tensor, border: int) -> Tensor:
    """Leave out `border` pixels on every side of (N, C, H, W)."""
    return images[..., border:-border, border:-border]


def drawing_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """L1 of the colours, of their differences between neighbours (lines, cel edges) and of both at half the size.

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


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a generator on rendered pairs.")
    parser.add_argument("--style", required=True, help="whose pairs in training/cache/ to learn")
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.LIGHT)
    parser.add_argument("--run", default="", help="name of the run, a folder in training/runs/; style-size by default")
    parser.add_argument("--pairs", type=int, default=None, help="use only so many pairs; all by default")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peak-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start-from", default="", help="another run of ours to take the averaged weights from")
    return parser.parse_args()


def main() -> None:
    """Train, and print the mean loss of every 100 steps."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    chosen = {"steps": arguments.steps, "seed": arguments.seed, "peak_rate": arguments.peak_rate}
    run = Run(replace(RECIPES[arguments.size], **{name: value for name, value in chosen.items() if value is not None}))
    checkpoint = RUNS / (arguments.run or f"{arguments.style}-{arguments.size}") / "checkpoint.pt"
    if arguments.resume:
        run.load(checkpoint)
    elif arguments.start_from:
        run.adopt(RUNS / arguments.start_from / "checkpoint.pt")
    pairs = np.load(CACHE / f"{arguments.style}.npy", mmap_mode="r")[: arguments.pairs]
    started, first, losses = monotonic(), run.step, []
    for step, loss in train(run, pairs, checkpoint):
        losses.append(loss)
        if step % 100 == 0 or step == run.recipe.steps:
            pace = (monotonic() - started) / (step - first)
            print(f"step {step}  loss {np.mean(losses):.4f}  {pace:.3f} s a step", flush=True)
            losses.clear()


if __name__ == "__main__":
    main()
