"""A network that tells drawn pictures from rendered targets, patch by patch, and so teaches a generator to decide.

Where the target makes a hard decision, the mean of all possible ones looks airbrushed, and a plain loss asks for that
mean. The discriminator sees the photo beside the picture, so it asks for a crisp edge in the right place.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS: Final = (24, 48, 96, 96)


class Discriminator(nn.Module):
    """Scores patches of 48 pixels of (photo, picture) pairs, one every 8 pixels; higher is more like a target.

    0.14 M parameters, 3 kMAC per pixel. Spectral norms bound how steep its scores are. Sources: Isola et al.,
    "Image-to-image translation with conditional adversarial networks" (2017); Miyato et al., "Spectral normalization
    for generative adversarial networks" (2018).
    """

    def __init__(self) -> None:
        super().__init__()
        finest, fine, coarse, coarsest = WIDTHS
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(6, finest, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(finest, fine, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(fine, coarse, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(coarse, coarsest, 3, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(coarsest, 1, 3, padding=1),
        )

    def forward(self, photo: Tensor, picture: Tensor) -> Tensor:
        """Score (N, 3, H, W) in -1..1."""
        scores: Tensor = self.layers(torch.cat((photo, picture), dim=1))
        return scores.float()


def adversarial_gradient(discriminator: Discriminator, photo: Tensor, drawn: Tensor, target: Tensor) -> Tensor:
    """Let the discriminator's gradients point to telling `target` from `drawn`; return what would deceive it.

    That is the gradient at the drawn picture of the loss that the generator has by being found out.
    """
    shown = drawn.detach().requires_grad_()
    of_target, of_drawn = discriminator(photo, target), discriminator(photo, shown)
    (deceiving,) = torch.autograd.grad(relativistic_loss(of_drawn, of_target), shown, retain_graph=True)
    torch.autograd.backward(relativistic_loss(of_target, of_drawn), inputs=list(discriminator.parameters()))
    return deceiving


def relativistic_loss(liked: Tensor, other: Tensor) -> Tensor:
    """The loss of whoever wants `liked` to score above `other` in every place.

    Source: Jolicoeur-Martineau, "The relativistic discriminator" (2018). Both show the same place of the same photo, so
    what is scored is how it is drawn, never what is there.
    """
    return functional.softplus(other - liked).mean()
