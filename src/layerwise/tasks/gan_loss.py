"""What generator and discriminator are trained by, from the logits of real and made images: (B,) each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from layerwise.tasks.gan_recipe import Loss


def discriminator_loss(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """Low where real images have high logits and made ones low logits; see `AdversarialRecipe`.

    Args:
        loss: which.
        real, fake: (B,) logits of real and of made images.

    Returns:
        ().

    Example:
        >>> discriminator_loss("hinge", torch.tensor([2.0]), torch.tensor([0.5])).item()
        1.5
    """
    if loss == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    total = F.softplus(-real).mean() + F.softplus(fake).mean()
    return total / 2 if loss == "bce" else total


def generator_loss(loss: Loss, fake: Tensor) -> Tensor:
    """Low where made images (B,) have high logits: ().

    Example:
        >>> round(generator_loss("bce", torch.zeros(4)).item(), 4)
        0.6931
    """
    return -fake.mean() if loss == "hinge" else F.softplus(-fake).mean()


def slope(images: Tensor, logits: Tensor) -> Tensor:
    """Mean squared norm of the gradient of the logits by the images: R1 (arXiv 1801.04406) at real ones.

    Args:
        images: (B, C, H, W), which require a gradient.
        logits: (B,) of these images.

    Returns:
        (), through which a gradient passes.

    Example:
        >>> images = torch.ones(2, 1, 2, 2, requires_grad=True)
        >>> slope(images, 3 * images.sum((1, 2, 3))).item()
        36.0
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)  # (B, C, H, W)
    return gradient.square().sum((1, 2, 3)).mean()
