"""Samples of a generator, as pixels.

B images, C channels, S pixels a side, Z latent numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.device import Device

# Made so many at a time, whatever their number: a product may round by the size of its batch, and the first of many
# samples are to be those of few, in every pixel.
_BLOCK = 64


@dataclass(frozen=True)
class Drawn:
    """Samples.

    Args:
        pixels: (n, S, S, C) uint8.
        broken: samples with a value that is no finite number; such pixels are grey.
    """

    pixels: np.ndarray
    broken: int


def drawn(generator: nn.Module, latents: Tensor, labels: Tensor | None, device: Device) -> Drawn:
    """What a generator makes of latents, in eval mode.

    Args:
        generator: latents (B, Z), labels (B,) or none -> (B, C, S, S) in [-1, 1].
        latents: (n, Z), n at least 1.
        labels: (n,) class numbers, or none.
        device: where the generator is.

    Example:
        >>> from layerwise.device import pick
        >>> class Grey(nn.Module):
        ...     def forward(self, latents, labels):
        ...         return latents.new_zeros(len(latents), 1, 8, 8)
        >>> drawn(Grey(), torch.zeros(3, 2), None, pick("cpu", "float32")).pixels.shape
        (3, 8, 8, 1)
    """
    generator.eval()
    parts, broken = [], 0
    for first in range(0, len(latents), _BLOCK):
        cut = slice(first, first + _BLOCK)
        count = len(latents[cut])
        z = F.pad(latents[cut], (0, 0, 0, _BLOCK - count)).to(device.place)
        told = None if labels is None else F.pad(labels[cut], (0, _BLOCK - count)).to(device.place)
        with torch.inference_mode(), device.precision():
            images = generator(z, told)[:count].float()  # (B, C, S, S)
        broken += int((~images.isfinite()).flatten(1).any(1).sum())
        levels = (images.nan_to_num(0.0, 0.0, 0.0) * 127.5 + 127.5).round().clamp(0, 255)
        parts.append(levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())  # (B, S, S, C)
    return Drawn(np.concatenate(parts), broken)
