"""DiffAugment: random changes of real and made images alike, through which the gradient passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor


def diff_augment(images: Tensor, policy: Sequence[str]) -> Tensor:
    """Change each image in its own way.

    S. Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020 (arXiv 2006.10738). Used
    on all that a discriminator sees, real and made, in both players' steps. Draws from torch's global generator.

    Args:
        images: (B, C, H, W) in [-1, 1].
        policy: of "colour" (brightness, saturation, contrast), "translation" (up to an eighth of each side, zeros from
            beyond the border) and "cutout" (a square of half the side becomes zero), in the order of use.

    Returns:
        (B, C, H, W); colours may leave [-1, 1].

    Example:
        >>> images = torch.rand(4, 1, 28, 28, requires_grad=True)
        >>> diff_augment(images, ("translation", "cutout")).shape
        torch.Size([4, 1, 28, 28])
    """
    for name in policy:
        images = POLICIES[name](images)
    return images


def _colour(images: Tensor) -> Tensor:
    draws = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + (draws[0] - 0.5)
    if images.shape[1] > 1:  # grey has no saturation
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (draws[1] * 2)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (draws[2] + 0.5)


def _translation(images: Tensor) -> Tensor:
    B, _, H, W = images.shape
    most_y, most_x = round(H / 8), round(W / 8)
    down = torch.randint(0, 2 * most_y + 1, (B, 1), device=images.device)
    right = torch.randint(0, 2 * most_x + 1, (B, 1), device=images.device)
    padded = F.pad(images, (most_x, most_x, most_y, most_y)).permute(0, 2, 3, 1)  # (B, H + 2my, W + 2mx, C)
    rows = down + torch.arange(H, device=images.device)  # (B, H)
    columns = right + torch.arange(W, device=images.device)  # (B, W)
    example = torch.arange(B, device=images.device)[:, None, None]
    return padded[example, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images: Tensor) -> Tensor:
    B, _, H, W = images.shape
    keep = ~(_within(B, H, images.device)[:, None, :, None] & _within(B, W, images.device)[:, None, None, :])
    return images * keep


def _within(count: int, side: int, device: torch.device) -> Tensor:
    """(count, side) bool: a run of half the side around a place drawn for each; it may hang over the border."""
    length = (side + 1) // 2
    first = torch.randint(0, side + 1 - length % 2, (count, 1), device=device) - length // 2
    places = torch.arange(side, device=device)
    return (places >= first) & (places < first + length)


POLICIES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"colour": _colour, "translation": _translation, "cutout": _cutout}
)
