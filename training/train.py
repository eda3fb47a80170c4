"""Train a generator to draw what the rendered target draws, on a CPU or a GPU. Seeded, resumable.

    python -m training.train --style hinata --size light
    python -m training.train --style hinata --size light --resume

At first the generator learns from the distance to the target alone; later a discriminator judges its pictures as well,
or hard decisions of the target would stay blurred. A step (the batch, the learning rate) depends only on the recipe and
its number, and a checkpoint contains the recipe, so a resumed run takes the same steps as an uninterrupted one.
"""

import argparse
import math
import os
import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypedDict

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from shared.files import write_atomically
from shared.styles import Size
from training.batches import Batch, batch
from training.discriminator import Discriminator, adversarial_gradient
from training.muon import Muon
from training.pairs import CHECKED, Pairs, pairs_path, read_pairs
from training.target import GRADES
from training.view import SIDE
from worker.engines.base import GEOMETRY
from worker.generator import Upsample
from worker.weights import new_generator, read_tensors

LUMA = torch.tensor((0.299, 0.587, 0.114))  # of red, green and blue; ITU-R BT.601
RUNS = Path(__file__).resolve().parent / "runs"
CHECKPOINT = "checkpoint.pt"  # in the folder of its run


@dataclass(frozen=True, slots=True)
class Phase:
    """The batches until a share 0..1 of the steps is done, and the weight of the discriminator.

    If `adversarial` is above 0, the gradient of the discriminator at the picture is made this many times as long as
    that of the distance to the target, so that the same number suits every style and generator.
    """

    until: float
    batch_size: int
    crop: int  # pixels of a side
    adversarial: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of a run: all that decides its result, besides the pairs.

    Raises:
        ValueError: the last phase does not reach the end, or the generator cannot take a crop.
    """

    size: Size
    steps: int
    phases: tuple[Phase, ...]
    border: int  # pixels on every side of a crop that do not count: their target depends on what was cut off
    peak_rate: float  # of learning, at its peak
    crispness: float = 2.0  # weight of `crispness_loss`
    discriminator_rate: float = 4e-4
    muon: bool = False  # for convolutions, with AdamW for the rest; else AdamW for all
    weight_decay: float = 1e-4  # by AdamW
    ema: float = 0.999
    seed: int = 1
    bf16: bool = True
    style: str = ""
    pairs: int = 0
    drawn_at: int = SIDE  # longest side, in pixels, of the photos in the pairs, and so of drawings
    start: str = "random initialisation"

    def __post_init__(self) -> None:
        multiple = GEOMETRY[self.size].multiple
        if self.phases[-1].until < 1:
            raise ValueError("the last phase must last until 1")
        if any(phase.crop % multiple for phase in self.phases):
            raise ValueError(f"crops for {self.size} must be multiples of {multiple} pixels")

    def phase(self, step: int) -> Phase:
        return next(phase for phase in self.phases if step < phase.until * self.steps)


STORED: TypeAdapter[Recipe] = TypeAdapter(Recipe)
RECIPES = {
    Size.LIGHT: Recipe(
        size=Size.LIGHT,
        # Crops that show much of a photo: small ones do not tell what is sky, nor how high in it a place is.
        steps=30_000,
        phases=(Phase(0.8, batch_size=1, crop=416), Phase(1.0, batch_size=1, crop=416, adversarial=0.5)),
        border=16,
        peak_rate=3e-4,
        muon=True,
    ),
    # Small batches learn most in a given time; later come crops so large that their statistics, by which the generator
    # normalises, are closer to those of a whole photo.
    Size.FULL: Recipe(
        size=Size.FULL,
        steps=11_000,
        phases=(Phase(0.6, batch_size=2, crop=128), Phase(1.0, batch_size=1, crop=320, adversarial=0.5)),
        border=4,
        peak_rate=2.5e-4,
        muon=True,
    ),
}


class Checkpoint(TypedDict):
    """All that a run needs to resume."""

    recipe: dict[str, Any]
    step: int
    generator: dict[str, Tensor]
    average: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    optimisers: list[dict[str, object]]  # of the generator, then of the discriminator


class Run:
    """A generator in training, its moving average (what is exported), its discriminator and their optimisers."""

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        """Initialise at random from the recipe's seed; the device affects only rounding and speed."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self._device = torch.device(device)
        generator = new_generator(recipe.size, Upsample.HALF_PIXEL)
        if recipe.size is Size.FULL:
            delta_orthogonal_(generator)
        self.generator, self.discriminator = (
            module.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for module in (generator, Discriminator())
        )
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self._optimisers = _optimisers(self.generator, recipe)
        self._discriminator_optimiser = torch.optim.AdamW(
            self.discriminator.parameters(), lr=recipe.discriminator_rate, betas=(0.9, 0.99), fused=True
        )

    def advance(self, pictures: Batch) -> float:
        """Take one step on a batch; return its weighted loss, without the discriminator's part."""
        recipe, adversarial = self.recipe, self.recipe.phase(self.step).adversarial
        for group in (group for optimiser in self._optimisers for group in optimiser.param_groups):
            group["lr"] = recipe.peak_rate * one_cycle(self.step / recipe.steps)
        photo, target, weight = (self._moved(images) for images in pictures)
        self.generator.zero_grad(set_to_none=True)
        with self._autocast():
            drawn = self.generator(photo)
        photo, drawn, target, weight = (
            crop_border(images, recipe.border) for images in (photo, drawn.float(), target, weight)
        )
        loss = drawing_loss(drawn, target, weight) + recipe.crispness * crispness_loss(drawn, target)
        (gradient,) = torch.autograd.grad(loss, drawn)
        if adversarial:
            push = self._adversarial_gradient(photo, drawn, target) * weight
            gradient = gradient + adversarial * gradient.norm() * push / (push.norm() + 1e-12)
        drawn.backward(gradient)  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        for optimiser in self._optimisers:
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
            "discriminator": self.discriminator.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._all_optimisers()],
        }
        stored = BytesIO()
        torch.save(state, stored)
        write_atomically(path, stored.getvalue())

    @classmethod
    def resumed(cls, path: Path, device: str = "cpu") -> Self:
        """Restore the run of a checkpoint, with its recipe, on any device."""
        state = read_checkpoint(path)
        run = cls(STORED.validate_python(state["recipe"]), device)
        run.step = state["step"]
        run.generator.load_state_dict(state["generator"])
        run.discriminator.load_state_dict(state["discriminator"])
        run._start_average(state["average"])
        for optimiser, its_state in zip(run._all_optimisers(), state["optimisers"], strict=True):
            optimiser.load_state_dict(its_state)
        return run

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Start from weights that were trained on a slightly different target."""
        self._start_average(weights)
        self.generator.load_state_dict(self.average)

    def _all_optimisers(self) -> list[torch.optim.Optimizer]:
        return [*self._optimisers, self._discriminator_optimiser]

    def _adversarial_gradient(self, photo: Tensor, drawn: Tensor, target: Tensor) -> Tensor:
        """Return the gradient that would deceive the discriminator, which then takes a step itself."""
        self.discriminator.zero_grad(set_to_none=True)
        with self._autocast():
            gradient = adversarial_gradient(self.discriminator, photo, drawn, target)
        self._discriminator_optimiser.step()
        return gradient

    @torch.no_grad()
    def _follow(self) -> None:
        # At first the average follows quickly, or the random start would stay in it.
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        now = self.generator.state_dict()
        follow = get_ema_multi_avg_fn(keep)  # type: ignore[no-untyped-call]
        follow([*self.average.values()], [now[name] for name in self.average], self.step)

    def _start_average(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.average[name].copy_(value)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.recipe.bf16)

    def _moved(self, images: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(images).to(self._device).contiguous(memory_format=torch.channels_last)


def checkpoint_path(style: str, size: Size, run: str = "") -> Path:
    """The file of a run, which is named `run`, or else after its style and size."""
    return RUNS / (run or f"{style}-{size}") / CHECKPOINT


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint as data alone, so that it cannot run code."""
    state: Checkpoint = torch.load(path, map_location="cpu", weights_only=True)
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


def drawing_loss(drawn: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 of the colours and of their differences between neighbours, at the whole, half and a quarter of the size.

    Takes (N, 3, H, W) in -1..1 and the weights of pixels (N, 1, H, W); a difference has the mean weight of its two
    pixels. Plain L1 hedges where the target makes hard decisions; the differences (lines, borders of areas) penalise
    a blurred edge.
    """
    error = drawn - target
    loss = (weight * error.abs()).mean()
    for share, shrink in ((1.0, 1), (0.5, 2), (0.5, 4)):
        small, its_weight = (
            functional.avg_pool2d(images, shrink) if shrink > 1 else images for images in (error, weight)
        )
        for difference, between in zip(_differences(small), _means(its_weight), strict=True):
            loss = loss + share * (between * difference.abs()).mean()
    return loss


def crispness_loss(drawn: Tensor, target: Tensor, window: int = 16) -> Tensor:
    """Compare the sorted steps of luma within every window: as many places should be even, and as many edges steep.

    The place of an edge is left to `drawing_loss`; here an edge that is a pixel off costs nothing and a blurred one
    does, so hard decisions pay off. Takes (N, 3, H, W) in -1..1.
    """
    steps, wanted = (
        _sorted_steps((images * LUMA.to(images).view(3, 1, 1)).sum(1), window) for images in (drawn, target)
    )
    return functional.l1_loss(steps, wanted)


def _sorted_steps(luma: Tensor, window: int) -> Tensor:
    """The steps to the right and down of (N, H, W), sorted within each whole window: (N, 2, rows, columns, window²)."""
    rows, columns = ((length - 1) // window for length in luma.shape[1:])
    corner = luma[:, : rows * window, : columns * window]
    right = luma[:, : rows * window, 1 : columns * window + 1] - corner
    down = luma[:, 1 : rows * window + 1, : columns * window] - corner
    steps = torch.stack((right, down), 1).abs().view(len(luma), 2, rows, window, columns, window)
    return _sorted(steps.transpose(3, 4).flatten(4))


def _sorted(values: Tensor) -> Tensor:
    """Sort along the last axis; on a CPU with NumPy, which takes a fifth of the time."""
    if values.device.type != "cpu":
        return values.sort(-1).values
    return values.gather(-1, torch.from_numpy(values.detach().numpy().argsort(-1)))


def batch_of(pairs: Pairs, recipe: Recipe, step: int) -> Batch:
    """The batch of a step."""
    phase = recipe.phase(step)
    return batch(pairs, seed=recipe.seed, step=step, size=phase.batch_size, crop=phase.crop)


def batches(pairs: Pairs, recipe: Recipe, first: int, loaders: int = 1) -> Generator[Batch, None, None]:
    """Yield the batches of all steps from `first` on; threads prepare them while earlier steps are taken."""
    ahead: deque[Future[Batch]] = deque()
    threads = ThreadPoolExecutor(loaders)
    try:
        for step in range(first, recipe.steps):
            ahead.append(threads.submit(batch_of, pairs, recipe, step))
            if len(ahead) > loaders:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def train(
    run: Run, pairs: Pairs, checkpoint: Path, *, every_s: float = 60.0, loaders: int = 1
) -> Generator[tuple[int, float], None, None]:
    """Take the remaining steps, saving every `every_s` seconds and at the end; yield each step and its loss."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    saved = monotonic()
    with closing(batches(pairs, run.recipe, run.step, loaders)) as prepared:
        for pictures in prepared:
            loss = run.advance(pictures)
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
    adam = torch.optim.AdamW(
        others, lr=recipe.peak_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True
    )
    return [Muon(matrices, lr=recipe.peak_rate), adam] if matrices else [adam]


def _means(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The means of neighbours, down and to the right: the weights of `_differences`."""
    return (weight[..., 1:, :] + weight[..., :-1, :]) / 2, (weight[..., 1:] + weight[..., :-1]) / 2


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """The differences between neighbours, down and to the right."""
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a generator on rendered pairs.")
    parser.add_argument("--style", required=True, choices=list(GRADES), help="of the pairs in training/cache/")
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.LIGHT)
    parser.add_argument("--run", default="", help="name of the run, a folder in training/runs/; style-size by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--batch-size", type=int, help="in every phase; a GPU can take far more than the recipe's")
    parser.add_argument("--crop", type=int, help="pixels of a side in every phase, instead of the recipe's")
    parser.add_argument("--adversarial", type=float, help="weight of the discriminator in its phases; 0 for none")
    parser.add_argument("--judged-from", type=float, help="share of the steps before the discriminator joins")
    parser.add_argument("--peak-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="1 by default")
    parser.add_argument("--start-from", type=Path, help="weights to start from, such as weights/NAME.safetensors")
    parser.add_argument("--resume", action="store_true", help="continue a run, with its own recipe")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--loaders", type=int, help="threads that prepare batches; by default 1, or 8 with a GPU")
    return parser.parse_args()


def _recipe(arguments: argparse.Namespace, pairs: int) -> Recipe:
    recipe = replace(RECIPES[arguments.size], style=arguments.style, pairs=pairs)
    chosen = {name: getattr(arguments, name) for name in ("steps", "peak_rate", "seed")}
    if arguments.start_from:
        chosen["start"] = arguments.start_from.stem
    before, judged = (_phase(phase, arguments) for phase in recipe.phases)
    if arguments.judged_from is not None:
        before = replace(before, until=arguments.judged_from)
    return replace(recipe, phases=(before, judged), **_given(chosen))


def _phase(phase: Phase, arguments: argparse.Namespace) -> Phase:
    chosen = {name: getattr(arguments, name) for name in ("batch_size", "crop")}
    if phase.adversarial:
        chosen["adversarial"] = arguments.adversarial
    return replace(phase, **_given(chosen))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """Train, and print the mean loss of every 100 steps."""
    arguments = _arguments()
    cv2.setNumThreads(1)  # batches are made by threads of their own
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    checkpoint = checkpoint_path(arguments.style, arguments.size, arguments.run)
    if checkpoint.exists() and not arguments.resume:
        sys.exit(f"{checkpoint} exists already: --resume it, remove it, or give this run a name with --run")
    rendered = pairs_path(arguments.style)
    if not (rendered / CHECKED).exists():
        sys.exit(f"there are no checked pairs in {rendered}: run python -m training.data first")
    pairs = read_pairs(rendered)
    device, loaders = arguments.device, arguments.loaders or (8 if arguments.device == "cuda" else 1)
    run = Run.resumed(checkpoint, device) if arguments.resume else Run(_recipe(arguments, len(pairs)), device)
    if arguments.start_from and not arguments.resume:
        run.adopt(read_tensors(arguments.start_from))
    _report(run, train(run, pairs, checkpoint, loaders=loaders))


def _report(run: Run, steps: Iterator[tuple[int, float]]) -> None:
    started, first, losses = monotonic(), run.step, []
    for step, loss in steps:
        losses.append(loss)
        if step % 100 == 0 or step == run.recipe.steps:
            pace = (monotonic() - started) / (step - first)
            print(f"step {step}  loss {np.mean(losses):.4f}  {pace:.3f} s a step", flush=True)
            losses.clear()


if __name__ == "__main__":
    main()
