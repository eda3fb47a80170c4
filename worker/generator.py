"""The two generators: AnimeGANv2 (`full`) and a small U-Net of our own (`light`).

Both are plain `torch.nn` modules that map a float tensor of shape (N, 3, H, W), RGB in -1..1, to one of the same shape.
What they ask of a picture's size is in `worker.engines.base.GEOMETRY`; the pipeline pads and crops. Nothing here knows
about files, weights or jobs.
"""

from enum import StrEnum
from itertools import pairwise
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Upsample(StrEnum):
    """The upsampling mode that weights were trained with, recorded in their manifest."""

    ALIGN_CORNERS = "align_corners"
    HALF_PIXEL = "half_pixel"
    ASYMMETRIC = "asymmetric"


def double_size(features: Tensor, mode: Upsample) -> Tensor:
    """Enlarge (N, C, H, W) to (N, C, 2H, 2W) bilinearly.

    `asymmetric` is TensorFlow 1's resize: output pixel i samples the input at i / 2, clamped at the far edge.
    """
    height, width = features.shape[-2] * 2, features.shape[-1] * 2
    if mode is Upsample.ALIGN_CORNERS:
        return functional.interpolate(features, (height, width), mode="bilinear", align_corners=True)
    if mode is Upsample.HALF_PIXEL:
        return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
    following = functional.pad(features, (0, 1, 0, 1), mode="replicate")
    between_rows = (following[..., :-1, :] + following[..., 1:, :]) / 2
    rows = torch.stack((following[..., :-1, :], between_rows), dim=-2).flatten(-3, -2)
    between_columns = (rows[..., :-1] + rows[..., 1:]) / 2
    return torch.stack((rows[..., :-1], between_columns), dim=-1).flatten(-2)


def _conv_norm_act(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Reflect padding, convolution, whole-image GroupNorm, LeakyReLU, under upstream's parameter names."""
    padding = (kernel // 2,) * 4 if stride == 1 else (0, 1, 0, 1)
    return nn.Sequential(
        nn.ReflectionPad2d(padding),
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=bias),
        nn.GroupNorm(1, outputs, eps=1e-5),
        nn.LeakyReLU(0.2, inplace=True),
    )


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * 2
        self.residual = inputs == outputs
        self.layers = nn.Sequential(
            _conv_norm_act(inputs, wide, 1),
            _conv_norm_act(wide, wide, groups=wide, bias=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.GroupNorm(1, outputs, eps=1e-5),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(features)
        return features + out if self.residual else out


class AnimeGanV2(nn.Module):
    """The AnimeGANv2 generator, named like bryandlee/animegan2-pytorch so that its checkpoints load unchanged.

    77 tensors, 2,143,552 parameters, 401 kMAC per pixel. GroupNorm takes statistics over the whole picture, so a
    picture cannot be tiled. Source: Chen, Liu, Chen, "AnimeGAN" (2019), version 2.
    """

    def __init__(self, upsample: Upsample = Upsample.ALIGN_CORNERS) -> None:
        super().__init__()
        self.upsample = upsample
        self.block_a = nn.Sequential(_conv_norm_act(3, 32, 7), _conv_norm_act(32, 64, stride=2), _conv_norm_act(64, 64))
        self.block_b = nn.Sequential(_conv_norm_act(64, 128, stride=2), _conv_norm_act(128, 128))
        self.block_c = nn.Sequential(
            _conv_norm_act(128, 128),
            _InvertedResidual(128, 256),
            *(_InvertedResidual(256, 256) for _ in range(3)),
            _conv_norm_act(256, 128),
        )
        self.block_d = nn.Sequential(_conv_norm_act(128, 128), _conv_norm_act(128, 128))
        self.block_e = nn.Sequential(_conv_norm_act(128, 64), _conv_norm_act(64, 64), _conv_norm_act(64, 32, 7))
        self.out_layer = nn.Sequential(nn.Conv2d(32, 3, 1, bias=False), nn.Tanh())

    def forward(self, photo: Tensor) -> Tensor:
        features = self.block_c(self.block_b(self.block_a(photo)))
        features = self.block_d(double_size(features, self.upsample))
        features = self.block_e(double_size(features, self.upsample))
        out: Tensor = self.out_layer(features)
        return out


class _LightResidual(nn.Module):
    """Two dense 3x3 convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.second(functional.relu(self.first(features)))
        return features + out


class _ColourConv(nn.Conv2d):
    """A convolution whose every output is a colour of all four pixels that `pixel_shuffle` makes of one place."""

    def forward(self, features: Tensor) -> Tensor:
        kernel, bias = (None if one is None else one.repeat_interleave(4, 0) for one in (self.weight, self.bias))
        return functional.conv2d(features, cast("Tensor", kernel), bias, self.stride, self.padding)


class _MaskConv(nn.Conv2d):
    """A convolution whose outputs, four by four, are of the pixels of one place, and count for each of its colours.

    To compute an output three times costs less than to repeat it afterwards.
    """

    def forward(self, features: Tensor) -> Tensor:
        kernel, bias = _for_three(self.weight), _for_three(cast("Tensor", self.bias))
        return functional.conv2d(features, kernel, bias, self.stride, self.padding)


def _for_three(values: Tensor) -> Tensor:
    in_fours = values.view(-1, 1, 4, *values.shape[1:])
    return in_fours.repeat(1, 3, *[1] * values.ndim).flatten(0, 2)


class _Palette(nn.Module):
    """Colours every pixel from a few that its surroundings offer, so that areas are even and their borders crisp.

    A ground colour and the change that each of two layers makes of it are smooth fields at a quarter of the size. At
    half size it is decided for every pixel of a 2x2 place whether a layer covers it (0, 1 or, on a border, between)
    and whether the photo itself shows through. Channels are ordered by colour, then pixel, as `pixel_shuffle` expects.
    """

    layers: Final = 2

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.mean = _ColourConv(12, 3, 2, stride=2, bias=False)
        self.ground = _ColourConv(coarse, 3, 3, padding=1)
        self.changes = _ColourConv(coarse, 3 * self.layers, 3, padding=1)
        self.covered = _MaskConv(fine, 4 * self.layers, 3, padding=1)
        self.shown = _MaskConv(fine, 4, 3, padding=1)
        self.sum = nn.Conv2d(12 * self.layers, 12, 1, bias=False)
        self._start_from_the_photo()

    def forward(self, pixels: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map a photo in places of 2x2 pixels (N, 12, H, W) and features at its size and half of it to a picture."""
        ground = double_size(self.ground(coarse) + self.mean(pixels), Upsample.HALF_PIXEL)
        changes = double_size(self.changes(coarse), Upsample.HALF_PIXEL)
        below = ground + self._decided(self.shown(fine)) * pixels
        # In this order: engines add while they convolve.
        out: Tensor = self.sum(self._decided(self.covered(fine)) * changes) + below
        return out

    def _decided(self, logits: Tensor) -> Tensor:
        """A hard sigmoid of (N, C, H, W), and in training a straight-through estimator of it: a sigmoid's gradient.

        Source: Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons" (2013).
        """
        decided = (logits + 0.5).clamp(0, 1)
        if not self.training:
            return decided
        smooth = torch.sigmoid(4 * logits)
        return decided.detach() + (smooth - smooth.detach())

    @torch.no_grad()
    def _start_from_the_photo(self) -> None:
        """Start at the mean of every place, with a dark and a light layer that are undecided everywhere."""
        for layer in (self.ground, self.changes, self.covered, self.shown):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(cast("Tensor", layer.bias))
        cast("Tensor", self.changes.bias).view(self.layers, 3).copy_(torch.tensor([[-0.3], [0.3]]))
        nn.init.constant_(cast("Tensor", self.shown.bias), -0.5)
        self.mean.weight.copy_(torch.eye(3).repeat_interleave(4, 1)[..., None, None].expand(3, 12, 2, 2) / 16)
        # Fixed: were it learnt, four pixels that are decided alike would differ after all.
        self.sum.weight.copy_(torch.eye(12).repeat(1, self.layers)[..., None, None])
        self.sum.weight.requires_grad = False


class _SharpenAndInk(nn.Module):
    """Steepens the borders of areas, and draws lines along their dark sides. Fixed, and left out while learning.

    A generator that learns through it learns to undo it: borders so soft that they are no steeper afterwards.

    A pixel goes further from the middle of the least and the most around it, and no further than these. So borders
    become as steep as ink, while a ramp, whose every pixel is in the middle, stays a ramp; what nobody would see is
    evened out. Where black is beside white nothing is steepened: it is steep enough, and in small eyes nothing would be
    left between. Lines are where a difference of Gaussians says that a pixel is darker than what is around it, relative
    to its luma; in warm colours, as skin has, it must be darker for that. Sources: Kramer and Bruckner, "Iterations of
    a non-linear transformation for enhancement of digital images" (1975); Winnemöller, "XDoG" (2011).
    """

    steepness: Final = 2.4
    steep_enough: Final = (0.2, 0.45)  # half the range around: steepened fully up to the first, not from the second on
    unseen: Final = 0.008  # of a steepened difference, which is evened out: one level
    sigmas: Final = (0.9, 1.6)  # pixels, of the difference of Gaussians
    share: Final = 0.99  # of the wider one
    warmth: Final = 1.8  # times red less blue, added to the luma
    min_ink: Final = 0.012  # of relative difference, where a line begins
    slope: Final = 28.0  # of ink over the relative difference
    darkening: Final = 0.38  # by a full line

    def __init__(self) -> None:
        super().__init__()
        # The difference and the warmed luma, of four pixels each. A layer, since the 8-bit recipe names layers.
        self.lines = nn.Conv2d(12, 8, 5, padding=2, bias=False)
        with torch.no_grad():
            self.lines.weight.copy_(_line_kernel(self.sigmas, self.share, self.warmth))
        self.lines.weight.requires_grad = False

    def forward(self, picture: Tensor) -> Tensor:
        """Map a picture in places of 2x2 pixels, (N, 12, H, W) in -1..1."""
        count, _, height, width = picture.shape
        steep = self._steepened(picture.view(count, 3, 4, height, width))
        difference, luma = self.lines(steep.flatten(1, 2)).chunk(2, dim=1)
        lack = (difference + (1 - self.share)) / (luma + 1.4).clamp(min=0.3)
        ink = ((lack + self.min_ink) * -self.slope).clamp(0, 1) * self.darkening
        out: Tensor = steep - ink[:, None] * (steep + 1)
        return out.flatten(1, 2)

    def _steepened(self, colours: Tensor) -> Tensor:
        """Steepen the colours of the four pixels of every place, (N, 3, 4, H, W).

        The least and the most are found at half the size of the places: here memory is slower than arithmetic.
        """
        extremes = functional.max_pool2d(torch.cat((colours.amax(2), -colours.amin(2)), dim=1), 2)
        most, least = functional.max_pool2d(extremes, 3, stride=1, padding=1).chunk(2, dim=1)
        limits = double_size(torch.cat((most - least, most + least), dim=1) / 2, Upsample.HALF_PIXEL)
        middle, room = limits[:, :, None].chunk(2, dim=1)
        full, none = self.steep_enough
        gain = ((none - room) * ((self.steepness - 1) / (none - full)) + 1).clamp(1, self.steepness)
        away = torch.minimum(torch.maximum((colours - middle) * gain, -room), room)
        return middle + (away - away.clamp(-self.unseen, self.unseen))


def _line_kernel(sigmas: tuple[float, float], share: float, warmth: float) -> Tensor:
    """Kernels (8, 12, 5, 5) over places of 2x2 pixels: difference of Gaussians and warmed luma of each pixel."""
    at = torch.arange(-4, 5)
    near, far = (torch.exp(-(at**2) / (2 * sigma**2)) for sigma in sigmas)
    near, far = (functional.pad(weights / weights.sum(), (1, 1)) for weights in (near, far))
    difference = near[:, None] * near - share * far[:, None] * far
    red_green_blue = torch.tensor((0.299, 0.587, 0.114))
    kernel = torch.zeros(8, 3, 4, 5, 5)
    for pixel, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        for other, (v, u) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            kernel[pixel, :, other] = red_green_blue[:, None, None] * difference[_places(y, v)][:, _places(x, u)]
        kernel[4 + pixel, :, pixel, 2, 2] = red_green_blue + warmth * torch.tensor((1.0, 0.0, -1.0))
    return kernel.flatten(1, 2)


def _places(pixel: int, other: int) -> Tensor:
    """The indices, into 11 taps around a pixel of the middle block, of five 2x2 blocks' pixels; the end taps are 0."""
    return (2 * torch.arange(-2, 3) + other - pixel + 5).clamp(0, 10)


class LightGenerator(nn.Module):
    """A dense U-Net at 1/2 to 1/32 of the size that predicts a palette everywhere, and which pixel takes what of it.

    3.1 M parameters, 25 kMAC per pixel (6.5 GMAC at 512x512). It sees 440 pixels or more each way: only much of a
    picture tells what is sky, and how far above the horizon. Nothing happens at full size, nothing is depthwise: on a
    CPU that costs more than it computes. No normalisation, so no whole-image statistics: the picture can be cut into
    tiles that overlap by the receptive field. The output is not clipped.
    """

    widths: Final = (24, 48, 96, 128, 128)

    def __init__(self) -> None:
        super().__init__()
        finest, fine, coarse, coarser, coarsest = self.widths
        self.stem = nn.Conv2d(12, finest, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1) for inputs, outputs in pairwise(self.widths)
        )
        self.encoders = nn.ModuleList(
            (_residuals(finest, 0), _residuals(fine, 1), _residuals(coarse, 1), _residuals(coarser, 2))
        )
        self.middle = _residuals(coarsest, 4)
        self.ups = nn.ModuleList(nn.Conv2d(inputs, outputs, 1) for inputs, outputs in pairwise(reversed(self.widths)))
        self.decoders = nn.ModuleList(
            (_residuals(coarser, 2), _residuals(coarse, 1), _residuals(fine, 1), _residuals(finest, 1))
        )
        self.palette = _Palette(finest, fine)
        self.sharpen_and_ink = _SharpenAndInk()

    def forward(self, photo: Tensor) -> Tensor:
        pixels = functional.pixel_unshuffle(photo, 2)
        features = functional.relu(self.stem(pixels))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = functional.relu(down(skips[-1]))
        scales = [self.middle(features)]
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            enlarged = functional.interpolate(up(scales[-1]), scale_factor=2.0, mode="nearest")
            scales.append(decoder(enlarged + skip))
        picture = self.palette(pixels, fine=scales[-1], coarse=scales[-2])
        return functional.pixel_shuffle(picture if self.training else self.sharpen_and_ink(picture), 2)


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_LightResidual(channels) for _ in range(count)))
