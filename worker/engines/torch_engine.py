"""The reference engine: the torch module itself, fp32, channels last. Imported by `worker.model_loader`."""

import numpy as np
import torch

from shared.errors import PictureTooLargeError, UnavailableError
from shared.pipeline import Tensor, Told
from worker.generator import AnimeGanV2, LightGenerator

STRIP_PIXELS = 1 << 20  # drawn at a time where a generator allows; more would take memory and save nothing
LOWEST_STRIP = 64  # rows; below, nearly all work would go into the overlap
RESIDENT_BYTES = 400 << 20  # interpreter, torch and weights
PICTURE_BYTES = 64  # per pixel of a whole picture: the photo, the tensors in and out


class TorchEngine:
    """Runs a generator in the process that made it; make one per process, after the fork."""

    def __init__(self, generator: AnimeGanV2 | LightGenerator, *, memory: int) -> None:
        """Take over `generator`, which is turned to channels last; the process is to stay within `memory` bytes."""
        self.multiple = generator.multiple
        self.margin = generator.margin
        self._halo = generator.halo
        self._memory = memory - RESIDENT_BYTES
        self._activation_bytes = generator.activation_bytes
        self._generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def generate(self, photo: Tensor, tell: Told = lambda _: None) -> Tensor:
        """Run the network on (1, 3, H, W) in -1..1; H and W are multiples of `multiple`.

        `tell` hears the share that is done between the strips of a large picture, and may raise to stop.

        Raises:
            PictureTooLargeError: the memory of this process can never do it.
            UnavailableError: there is not enough memory now; another try may have it.
        """
        try:
            if self._halo is None:
                return self._run_whole(photo)
            return self._run_in_strips(photo, self._halo, tell)
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            raise UnavailableError("There is not enough memory for a picture of this size now.") from error

    def _run_whole(self, photo: Tensor) -> Tensor:
        most = self._memory / (self._activation_bytes + PICTURE_BYTES)
        if photo[0, 0].size > most:
            raise PictureTooLargeError(
                f"There is memory for pictures of up to {max(most, 0) / 1e6:.2f} megapixels in this style; "
                "choose a smaller max_side or a light style."
            )
        return self._run(photo)

    def _run_in_strips(self, photo: Tensor, halo: int, tell: Told) -> Tensor:
        """Draw strips of rows that overlap by what they depend on: the same picture in memory that does not grow."""
        height, width = photo.shape[2:]
        rows = self._strip_rows(height, width, halo)
        strips = []
        for top in range(0, height, rows):
            if top:
                tell(top / height)
            start, end = max(0, top - halo), min(height, top + rows + halo)
            drawn = self._run(photo[:, :, start:end])
            strips.append(drawn[:, :, top - start : top - start + rows])
        return np.concatenate(strips, axis=2) if len(strips) > 1 else strips[0]

    def _strip_rows(self, height: int, width: int, halo: int) -> int:
        """As many rows as fit the memory with the halo on both sides; the whole picture where that fits."""
        fitting = int((self._memory - PICTURE_BYTES * height * width) / self._activation_bytes / width)
        if height <= fitting and height * width <= STRIP_PIXELS:
            return height
        rows = max(LOWEST_STRIP, min(STRIP_PIXELS // width, fitting - 2 * halo))
        return rows // self.multiple * self.multiple

    def _run(self, photo: Tensor) -> Tensor:
        tensor = torch.from_numpy(photo).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._generator(tensor).numpy()  # type: ignore[no-any-return]

    def warm(self, side: int) -> None:
        """Run once at the usual size, so that the first photo does not pay for what is made on first use."""
        whole = -(-(side + 2 * self.margin) // self.multiple) * self.multiple
        self.generate(np.zeros((1, 3, whole, whole), np.float32))
