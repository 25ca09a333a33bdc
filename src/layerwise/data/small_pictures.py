"""Pictures in small: what one is searched by, and how it changes when it is moved a little."""

from __future__ import annotations

import torch
from torch.nn import functional

SIDE = 64  # pixels that pictures are compared at, at most
COARSE = 16  # side of the small luminance
_COLOUR = 8


def shrunk(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) uint8 -> (B, C, S, S) float in 0..255, S at most 64."""
    side = min(SIDE, *pixels.shape[1:3])
    planes = pixels.permute(0, 3, 1, 2).float()
    if planes.shape[2:] == (side, side):
        return planes
    small: torch.Tensor = functional.interpolate(planes, (side, side), mode="area")
    return small


def unit(values: torch.Tensor) -> torch.Tensor:
    """Of length 1 an example."""
    length: torch.Tensor = values.flatten(1).norm(dim=1).clamp(min=1e-6)
    return values / length.view(-1, *[1] * (values.ndim - 1))


def luminance(pictures: torch.Tensor, margin: float) -> torch.Tensor:
    """(n, C, S, S) -> (n, 16, 16) luminance less its mean."""
    window = _window(COARSE, pictures.shape[-1], margin)
    small: torch.Tensor = window @ pictures.mean(1) @ window.T
    return small - small.mean((1, 2), keepdim=True)


def width(channels: int) -> int:
    """Numbers of a `vector`."""
    return COARSE**2 + (2 * _COLOUR**2 if channels == 3 else 0)


def vector(grey: torch.Tensor, pictures: torch.Tensor, margin: float) -> torch.Tensor:
    """(n, D) to search by."""
    parts = [grey.flatten(1)] + ([_colours(pictures, margin).flatten(1)] if pictures.shape[1] == 3 else [])
    return torch.cat(parts, 1)


def tangents(grey: torch.Tensor) -> torch.Tensor:
    """(n, 16, 16) -> (n, 256, 6): an orthonormal basis of the picture and its small changes."""
    wide = functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across, down = (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]) / 2, (wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]) / 2
    line = (torch.arange(COARSE) * 2 + 1) / COARSE - 1
    changes = [grey, across, across * line, down, down * line[:, None], torch.ones_like(grey)]
    columns = torch.stack([unit(each).flatten(1) for each in changes], -1)
    basis: torch.Tensor = torch.linalg.qr(columns)[0]
    return basis


def _window(size: int, side: int, margin: float) -> torch.Tensor:
    """(size, side): mean values of `size` equal pieces of what the margins leave."""
    edges = torch.linspace(margin * side, (1 - margin) * side, size + 1, dtype=torch.float64)
    places = torch.arange(side, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], places + 1) - torch.maximum(edges[:-1, None], places)
    covered = covered.clamp(min=0)
    return (covered / covered.sum(1, keepdim=True)).float()


def _colours(pictures: torch.Tensor, margin: float) -> torch.Tensor:
    """(n, 3, S, S) -> (n, 2, 8, 8): red and blue against green, at the weight of luminance a place."""
    window = _window(_COLOUR, pictures.shape[-1], margin)
    small = window @ pictures @ window.T
    colours: torch.Tensor = (small[:, ::2] - small[:, 1:2]) * (COARSE / _COLOUR) / 2
    return colours
