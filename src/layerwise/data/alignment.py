"""Laying one picture over another: which shift and stretch, and how much differs then, and where.

P pairs, C channels, S the side of the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

_STEPS = ((16, 3), (32, 3), (64, 2))  # side and Gauss-Newton steps: coarse first, so that larger shifts are found
_FARTHEST = 0.13  # stretch and shift at most, in halves of a side: 5 % off every side is a stretch of 0.1
_GAINS = (0.75, 1.33)  # contrast of a copy
_DAMPING = 1e-4
_NOISE = 3.0  # grey levels that compression leaves after the blur
_PLACES = 8  # along each side
_PLAIN = 2.0  # grey levels a pixel, below which a place shows nothing


@dataclass(frozen=True)
class Fit:
    """What is left when the second picture is laid over the first.

    Args:
        worst: (P,) the largest difference of any place, as a multiple of what resampling and compression explain.
        share: (P,) the difference as a share of the first picture's contrast: 0 for the same, about 1 for strangers.
        plain: (P,) whether the pictures show too little for the question.
    """

    worst: torch.Tensor
    share: torch.Tensor
    plain: torch.Tensor


def fit(first: torch.Tensor, second: torch.Tensor, stretch: torch.Tensor, *, slack: float) -> Fit:
    """Aligns pairs of pictures and compares them.

    Args:
        first, second: (P, C, S, S) in 0..255.
        stretch: (P,) by how much the second is thought to be larger, to begin with; 0.1 where it shows 10 % less.
        slack: how far, in pixels, edges of a copy may lie apart after alignment.

    Example:
        >>> one = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
        >>> float(fit(one, one, torch.zeros(1), slack=0.2).worst) < 0.01
        True
    """
    moved = _align(_grey(first), _grey(second), stretch)  # (P, 4)
    laid, inside = _warp(second, moved)
    a, b = _blur(first), _blur(laid)
    weight = functional.avg_pool2d(inside[:, None], 3, 1, 1, count_include_pad=False)[:, 0].floor()  # (P, S, S)
    gain, offset = _contrast(a, b, weight)
    squares = ((gain * a + offset - b) ** 2).mean(1) * weight  # (P, S, S)
    across, down = _slopes(a)
    slopes = (across**2 + down**2).mean(1) * weight
    worst = _worst(squares, slopes, weight, slack)
    centre = a - (a * weight[:, None]).sum((1, 2, 3), keepdim=True) / (a.shape[1] * _total(weight)).view(-1, 1, 1, 1)
    contrast = (centre**2).mean(1) * weight
    share = (squares.sum((1, 2)) / contrast.sum((1, 2)).clamp(min=1e-6)).sqrt()
    odd = (moved.abs().amax(1) > _FARTHEST) | (gain.flatten() < _GAINS[0]) | (gain.flatten() > _GAINS[1])
    worst = torch.where(odd, torch.inf, worst)
    return Fit(worst, share, _plain(slopes, weight))


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    """(P, C, S, S) -> (P, 1, S, S)."""
    return pixels.mean(1, keepdim=True)


def _total(weight: torch.Tensor) -> torch.Tensor:
    return weight.sum((1, 2)).clamp(min=1.0)


def _blur(pixels: torch.Tensor) -> torch.Tensor:
    """Takes away what resampling adds or loses."""
    return functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)


def _slopes(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey levels a pixel, across and down, each (P, C, S, S)."""
    wide = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
    return (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2, (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2


def _grid(side: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of pixel centres in -1..1: x (1, S, S) and y (1, S, S)."""
    line = (torch.arange(side, dtype=like.dtype) * 2 + 1) / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x[None], y[None]


def _warp(pixels: torch.Tensor, moved: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture (P, C, S, S) at (1 + moved[0]) x + moved[1], (1 + moved[2]) y + moved[3]; and where it has any."""
    x, y = _grid(pixels.shape[-1], pixels)
    stretch_x, shift_x, stretch_y, shift_y = moved.T[:, :, None, None]
    u, v = (1 + stretch_x) * x + shift_x, (1 + stretch_y) * y + shift_y  # (P, S, S)
    places = torch.stack((u, v), -1)
    laid = functional.grid_sample(pixels, places, mode="bilinear", padding_mode="border", align_corners=False)
    return laid, ((u.abs() <= 1) & (v.abs() <= 1)).to(pixels.dtype)


def _align(first: torch.Tensor, second: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
    """Stretch and shift (P, 4) that lay the second over the first; both (P, 1, S, S)."""
    none = torch.zeros_like(stretch)
    moved = torch.stack((stretch, none, stretch, none), 1)
    whole = first.shape[-1]
    for side, steps in _STEPS:
        if side > whole and side != _STEPS[0][0]:
            break
        a = functional.interpolate(first, (side, side), mode="area") if side != whole else first
        b = functional.interpolate(second, (side, side), mode="area") if side != whole else second
        for _ in range(steps):
            moved = (moved + _step(a, b, moved)).clamp(-0.2, 0.2)
    return moved


def _step(first: torch.Tensor, second: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """One Gauss-Newton step in stretch and shift, with contrast and brightness solved for beside them."""
    side = first.shape[-1]
    laid, inside = _warp(second, moved)
    across, down = (each[:, 0] * side / 2 for each in _slopes(laid))  # (P, S, S) a unit of -1..1
    x, y = _grid(side, first)
    ones = torch.ones_like(across)
    columns = [across * x, across, down * y, down, -first[:, 0], -ones]
    system = torch.stack([each.flatten(1) for each in columns], -1) * inside.flatten(1)[..., None]  # (P, S * S, 6)
    normal = system.mT @ system  # (P, 6, 6)
    scale = normal.diagonal(dim1=1, dim2=2).sqrt().clamp(min=1e-3)  # (P, 6): columns of length 1 are damped alike
    normal = normal / (scale[:, :, None] * scale[:, None]) + _DAMPING * torch.eye(6, dtype=first.dtype)
    wanted = system.mT @ (-laid[:, 0] * inside).flatten(1)[..., None]
    solved: torch.Tensor = torch.linalg.solve(normal, wanted / scale[..., None])[..., 0] / scale
    return solved[:, :4]


def _contrast(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gain and offset, one for all channels, that bring a to b; each (P, 1, 1, 1)."""
    weights = weight[:, None]
    count = (weights.sum((1, 2, 3), keepdim=True) * a.shape[1]).clamp(min=1.0)
    mean_a = (a * weights).sum((1, 2, 3), keepdim=True) / count
    mean_b = (b * weights).sum((1, 2, 3), keepdim=True) / count
    both = ((a - mean_a) * (b - mean_b) * weights).sum((1, 2, 3), keepdim=True)
    own = ((a - mean_a) ** 2 * weights).sum((1, 2, 3), keepdim=True)
    gain = both / own.clamp(min=1e-6)
    return gain, mean_b - gain * mean_a


def _worst(squares: torch.Tensor, slopes: torch.Tensor, weight: torch.Tensor, slack: float) -> torch.Tensor:
    """The largest ratio of difference to what is allowed, over 8 x 8 places: (P,)."""
    pooled = [functional.adaptive_avg_pool2d(each[:, None], _PLACES)[:, 0] for each in (squares, slopes, weight)]
    differs, slope, seen = pooled
    seen_enough = seen > 0.5
    seen = seen.clamp(min=1e-3)
    ratio = (differs / seen) / (_NOISE**2 + slack**2 * slope / seen)
    return torch.where(seen_enough, ratio, 0.0).flatten(1).amax(1).sqrt()


def _plain(slopes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    places = functional.adaptive_avg_pool2d(slopes[:, None], _PLACES)[:, 0].flatten(1)
    return (places > _PLAIN**2).sum(1) < _PLACES * _PLACES // 8
