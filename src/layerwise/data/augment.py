"""Augmentation of whole batches, as tensors.

Every draw is a function of (seed, epoch, example), made by a counter-based generator: the order of the examples, the
size of the batches and what ran before change nothing. All the geometry (rotation, shifts, zoom, flip) is one affine
map, so an image is resampled once.
"""

from __future__ import annotations

import math

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import betaincinv

from layerwise.config import Section


class AugmentRecipe(Section):
    """What may change in a training image; the defaults change nothing."""

    rotation: float = pydantic.Field(0.0, ge=0.0, le=180.0)  # degrees, drawn from -rotation to +rotation
    width_shift: float = pydantic.Field(0.0, ge=0.0, le=1.0)  # share of the width, to either side
    height_shift: float = pydantic.Field(0.0, ge=0.0, le=1.0)  # share of the height, up or down
    zoom: float = pydantic.Field(0.0, ge=0.0, lt=1.0)  # scale drawn from 1 - zoom to 1 + zoom
    flip: bool = False  # left and right, one time in two
    brightness: float = pydantic.Field(0.0, ge=0.0, le=1.0)  # share of the full range, added
    contrast: float = pydantic.Field(0.0, ge=0.0, le=1.0)  # factor from 1 - contrast to 1 + contrast
    cutout: float = pydantic.Field(0.0, ge=0.0, le=1.0)  # side of a grey square, as a share of the image's side
    mixup: float = pydantic.Field(0.0, ge=0.0)  # alpha of the Beta distribution; 0 is off

    @property
    def changes(self) -> bool:
        """Whether anything of a single image can change; mixup needs two."""
        return self.moves or bool(self.brightness or self.contrast or self.cutout)

    @property
    def moves(self) -> bool:
        """Whether any part of the geometry can change."""
        return bool(self.rotation or self.width_shift or self.height_shift or self.zoom or self.flip)


_DRAWS = 10
_ROTATION, _WIDTH, _HEIGHT, _ZOOM, _FLIP, _BRIGHTNESS, _CONTRAST, _CUT_X, _CUT_Y, _MIXUP = range(_DRAWS)


def draws(ids: np.ndarray, *, seed: int, epoch: int | np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1) for each example: (B,) ids -> (B, 10) float64; `epoch` may be (B,), one an example.

    SplitMix64 (Steele, Lea, Flood 2014) over (seed, epoch, example, draw).

    Example:
        >>> together = draws(np.array([3, 4]), seed=1, epoch=0)
        >>> bool((together[1] == draws(np.array([4]), seed=1, epoch=0)[0]).all())
        True
    """
    state: NDArray[np.uint64] | np.uint64 = np.uint64(seed % 2**64)
    with np.errstate(over="ignore"):
        for number in (_column(epoch), _column(ids), np.arange(_DRAWS, dtype=np.uint64)):
            state = (state ^ number) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
            state = state ^ state >> np.uint64(31)
    return np.asarray(state >> np.uint64(11), dtype=np.float64) * 2.0**-53


def _column(numbers: int | np.ndarray) -> NDArray[np.uint64]:
    return np.asarray(numbers).astype(np.uint64).reshape(-1, 1)


def augment(
    images: torch.Tensor, ids: np.ndarray, recipe: AugmentRecipe, *, seed: int, epoch: int | np.ndarray
) -> torch.Tensor:
    """Change a batch of images, each by its own draws.

    Args:
        images: (B, C, H, W) float, values 0 to 255.
        ids: (B,) the examples' numbers.
        recipe: what may change.
        seed: of the run.
        epoch: counted over the whole run; (B,) where each example has its own.

    Returns:
        (B, C, H, W) float, values 0 to 255, in the memory format of the input.

    Example:
        >>> batch = torch.zeros(2, 3, 8, 8)
        >>> augment(batch, np.array([0, 1]), AugmentRecipe(flip=True), seed=0, epoch=0).shape
        torch.Size([2, 3, 8, 8])
    """
    uniform = torch.from_numpy(draws(ids, seed=seed, epoch=epoch)).to(images.device, torch.float32)  # (B, 10)
    if recipe.moves:
        grid = F.affine_grid(_affine(uniform, recipe, images.shape), list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if recipe.brightness or recipe.contrast:
        images = _tone(images, uniform, recipe)
    if recipe.cutout:
        images = _cutout(images, uniform, recipe.cutout)
    return images


def _affine(uniform: torch.Tensor, recipe: AugmentRecipe, shape: torch.Size) -> torch.Tensor:
    """Maps from output to input positions, in the -1 to 1 coordinates of `affine_grid`: (B, 2, 3)."""
    height, width = shape[-2:]
    angle = (2 * uniform[:, _ROTATION] - 1) * math.radians(recipe.rotation)
    scale = 1 + (2 * uniform[:, _ZOOM] - 1) * recipe.zoom
    mirror = 1 - 2 * recipe.flip * (uniform[:, _FLIP] < 0.5).float()
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.empty(len(uniform), 2, 3, device=uniform.device)
    # A rotation of pixels is one of the unit square only after the sides' ratio is taken out and put back.
    theta[:, 0, 0] = mirror * cos
    theta[:, 0, 1] = mirror * -sin * (height / width)
    theta[:, 1, 0] = sin * (width / height)
    theta[:, 1, 1] = cos
    theta[:, 0, 2] = (2 * uniform[:, _WIDTH] - 1) * recipe.width_shift * 2
    theta[:, 1, 2] = (2 * uniform[:, _HEIGHT] - 1) * recipe.height_shift * 2
    return theta


def _tone(images: torch.Tensor, uniform: torch.Tensor, recipe: AugmentRecipe) -> torch.Tensor:
    """Contrast about each image's own mean, then brightness."""
    factor = (1 + (2 * uniform[:, _CONTRAST] - 1) * recipe.contrast).view(-1, 1, 1, 1)
    shift = ((2 * uniform[:, _BRIGHTNESS] - 1) * recipe.brightness * 255).view(-1, 1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return ((images - mean) * factor + mean + shift).clamp_(0, 255)


def _cutout(images: torch.Tensor, uniform: torch.Tensor, share: float) -> torch.Tensor:
    """A grey square at a drawn place (DeVries and Taylor, 2017); its centre may lie anywhere in the image."""
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(side, device=images.device) + 0.5 for side in (height, width))
    near_y = (rows - (uniform[:, _CUT_Y : _CUT_Y + 1] * height).floor()).abs() * 2 < share * height  # (B, H)
    near_x = (columns - (uniform[:, _CUT_X : _CUT_X + 1] * width).floor()).abs() * 2 < share * width  # (B, W)
    hole = near_y[:, None, :, None] & near_x[:, None, None, :]  # (B, 1, H, W)
    return images.masked_fill(hole, 127.5)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, ids: np.ndarray, *, alpha: float, seed: int, epoch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every example with another of its batch (Zhang et al., 2018).

    The partner is the example at the mirrored place of the batch, the weight a draw of Beta(alpha, alpha) folded to
    0.5..1, so that an example stays the greater part of its own mixture.

    Args:
        images: (B, C, H, W), or activations of any shape (B, ...).
        targets: (B, classes) float, rows sum to 1.
        ids: (B,) the examples' numbers.
        alpha: of the Beta distribution, above 0.
        seed: of the run.
        epoch: counted over the whole run.

    Returns:
        Mixed images and mixed targets, of the shapes given.
    """
    uniform = draws(ids, seed=seed, epoch=epoch)[:, _MIXUP]
    drawn = betaincinv(alpha, alpha, uniform)
    weight = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(images.device, images.dtype)
    share = weight.view(-1, *[1] * (images.ndim - 1))
    mixed = images * share + images.flip(0) * (1 - share)
    return mixed, targets * weight[:, None] + targets.flip(0) * (1 - weight)[:, None]
