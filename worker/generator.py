"""The two generators: AnimeGANv2 (`full`) and a small U-Net of our own (`light`).

Both are plain `torch.nn` modules that map a float tensor of shape (N, 3, H, W), RGB in -1..1, to one of the same shape.
What they ask of a picture's size is in `worker.engines.base.GEOMETRY`; the pipeline pads and crops. Nothing here knows
about files, weights or jobs.

Imported by `worker` and `training` only.
"""

from enum import StrEnum
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional


class Upsample(StrEnum):
    """How weights expect features to be enlarged twofold: a property of the weights, recorded in their manifest."""

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
    """Inverted residual without normalisation: 1x1 expand, 3x3 depthwise, 1x1 project, added to its input."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = nn.Conv2d(channels, wide, 1)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.project = nn.Conv2d(wide, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        wide = functional.relu(self.expand(features))
        out: Tensor = self.project(functional.relu(self.depthwise(wide)))
        return features + out


class LightGenerator(nn.Module):
    """A U-Net of 16/32/64/128 channels that predicts what to add to the photo.

    0.54 M parameters, 25 kMAC per pixel (6.6 GMAC at 512x512). No normalisation, so no whole-image statistics: the
    picture can be cut into tiles that overlap by the receptive field. The output is not clipped.
    """

    widths: Final = (16, 32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        finest, fine, coarse, coarsest = self.widths
        self.stem = nn.Conv2d(3, finest, 3, padding=1)
        self.encoders = nn.ModuleList(
            (
                nn.Sequential(_LightResidual(finest, 2)),
                nn.Sequential(_LightResidual(fine, 2), _LightResidual(fine, 2)),
                nn.Sequential(_LightResidual(coarse, 3), _LightResidual(coarse, 3)),
            )
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            for inputs, outputs in ((finest, fine), (fine, coarse), (coarse, coarsest))
        )
        self.middle = nn.Sequential(*(_LightResidual(coarsest, 3) for _ in range(3)))
        self.ups = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in ((coarsest, coarse), (coarse, fine), (fine, finest))
        )
        self.decoders = nn.ModuleList(
            (
                nn.Sequential(_LightResidual(coarse, 3), _LightResidual(coarse, 2)),
                nn.Sequential(_LightResidual(fine, 3), _LightResidual(fine, 2)),
                nn.Sequential(_LightResidual(finest, 3), _LightResidual(finest, 2)),
            )
        )
        self.head = nn.Conv2d(finest, 3, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # training starts from the photo itself

    def forward(self, photo: Tensor) -> Tensor:
        features = self.stem(photo)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = functional.relu(down(features))
        features = self.middle(features)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            enlarged = double_size(up(features), Upsample.HALF_PIXEL)
            features = decoder(enlarged + skip)
        out: Tensor = photo + self.head(features)
        return out
