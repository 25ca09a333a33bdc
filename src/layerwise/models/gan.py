"""`gan`: residual generator and discriminator without batch normalisation, for sides of 16 to 128 pixels and more.

The generator draws its image from a small map of features by blocks that double the side, each with a shortcut (in the
line of T. Miyato et al., arXiv 1802.05957). The latent numbers enter once more at every block, as factors on its
channels: self-modulation (T. Chen et al., arXiv 1810.01365). The discriminator halves the side by such blocks; classes
enter it by a product (T. Miyato, M. Koyama, arXiv 1802.05637). Nothing looks at other images of the batch, so that an
image has one logit, and averaged weights need no statistics of their own.

B images, C channels, S pixels a side, Z latent numbers, F channels of a block, H x W its map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, final

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import Sizes
from layerwise.nn.spectral import SpectralConv2d
from layerwise.nn.to_few import ConvToFew

_SLOPE = 0.2  # of LeakyReLU below zero
_HALF = math.sqrt(0.5)  # the sum of two paths of like size keeps it
_START = 8  # largest side of the map that the generator begins with
_WIDEST = 8  # channels of a block, at most, in the network's width


class Options(config.Section):
    """Options of `gan`.

    `latent` numbers in; `width`: channels of the generator at the full side, and of the discriminator at half of it,
    which double each time the side is halved; `spectral_norm`: hold the largest singular value of the discriminator's
    convolutions where it began (after T. Miyato et al., arXiv 1802.05957); `embedding`: numbers that stand for a class,
    beside the latent ones.
    """

    latent: int = pydantic.Field(64, ge=1, le=4096)
    width: int = pydantic.Field(24, ge=1, le=1024)
    spectral_norm: bool = True
    embedding: int = pydantic.Field(32, ge=1, le=4096)


@final
class Gan(nn.Module):
    """Generator and discriminator; see their classes.

    Args:
        classes: that both are told of, 0 for none.
        channels: C.
        side: S.
        options: see `Options`.

    Example:
        >>> network = build(Sizes(inputs=3, outputs=0, length=32), {"width": 8})
        >>> images = network.generator(torch.zeros(2, network.latent))
        >>> images.shape, network.discriminator(images).shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2]))
    """

    def __init__(self, classes: int, channels: int, side: int, options: Options) -> None:
        super().__init__()
        self.latent = options.latent
        widths = _widths(side, options.width)
        self.generator = Generator(options.latent, classes, options.embedding, channels, side, widths)
        self.discriminator = Discriminator(classes, channels, widths[::-1], spectral=options.spectral_norm)


@final
class Generator(nn.Module):
    """Linear, blocks that double the side, a 3x3 convolution, tanh.

    Args:
        latent: Z.
        classes: that it is told of; 0 for none.
        embedding: numbers that stand for a class.
        channels: C.
        side: S; what the last block makes beyond it is cut off.
        widths: channels before the first block and after each.

    Shapes:
        latents (B, Z), labels (B,) or none -> (B, C, S, S) in [-1, 1].
    """

    def __init__(
        self, latent: int, classes: int, embedding: int, channels: int, side: int, widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        told = latent + embedding if classes else latent
        self.side, self.start = side, math.ceil(side / 2 ** (len(widths) - 1))
        self.of_class = nn.Embedding(classes, embedding) if classes else None
        self.dense = nn.Linear(told, widths[0] * self.start**2)
        self.blocks = nn.ModuleList(UpBlock(*pair, told) for pair in itertools.pairwise(widths))
        self.out = ConvToFew(widths[-1], channels, 3)
        _init(self.out)
        nn.init.zeros_(self.dense.bias)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> (B, C, S, S)."""
        if self.of_class is not None:
            assert labels is not None
            latents = torch.cat([latents, self.of_class(labels)], dim=1)  # (B, told)
        x = self.dense(latents).view(len(latents), self.start, self.start, -1).permute(0, 3, 1, 2)  # channels last
        for block in self.blocks:
            x = block(x, latents)  # (B, F, 2H, 2W)
        images = torch.tanh(self.out(F.leaky_relu(x, _SLOPE)))
        return images[:, :, : self.side, : self.side]


@final
class UpBlock(nn.Module):
    """A 3x3 convolution, then a transposed one that doubles the side; around both a 1x1 convolution, enlarged.

    Args:
        before: channels of the input.
        after: channels of the output, F.
        told: numbers that modulate it, Z.

    Shapes:
        x (B, before, H, W), latents (B, Z) -> (B, F, 2H, 2W).
    """

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        # Four by four with stride two: what enlarging and a 3x3 convolution can do, and more, for less than half the
        # work.
        self.up = nn.ConvTranspose2d(after, after, 4, stride=2, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)
        self.modulation = nn.Linear(told, before + after)
        self.sizes = [before, after]
        _init(self)
        # The factors begin as 1. Each output of a transposed convolution sees a quarter of its kernel.
        nn.init.zeros_(self.modulation.weight)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """(B, before, H, W), (B, Z) -> (B, F, 2H, 2W)."""
        first, second = (1 + self.modulation(latents))[:, :, None, None].split(self.sizes, dim=1)  # (B, ., 1, 1)
        # In place on fresh products, whose values no backward pass asks for.
        y = self.conv(F.leaky_relu_(x * first, _SLOPE))  # (B, F, H, W)
        y = self.up(F.leaky_relu_(y * second, _SLOPE))  # (B, F, 2H, 2W)
        out: Tensor = (F.interpolate(self.shortcut(x), scale_factor=2) + y) * _HALF
        return out


@final
class Discriminator(nn.Module):
    """A 4x4 convolution with stride 2, blocks that halve the side, the mean over places, a logit.

    Args:
        classes: that it is told of; 0 for none.
        channels: C.
        widths: channels after the first convolution and after each block.
        spectral: whether the largest singular value of every convolution is held where it began.

    Shapes:
        images (B, C, S, S) in [-1, 1], labels (B,) or none -> logits (B,).
    """

    def __init__(self, classes: int, channels: int, widths: tuple[int, ...], *, spectral: bool) -> None:
        super().__init__()
        self.stem = _conv(channels, widths[0], 4, stride=2, padding=1, spectral=spectral)
        self.blocks = nn.ModuleList(DownBlock(*pair, spectral) for pair in itertools.pairwise(widths))
        self.dense = nn.Linear(widths[-1], 1)
        self.of_class = nn.Embedding(classes, widths[-1]) if classes else None
        nn.init.zeros_(self.dense.bias)
        if self.of_class is not None:
            nn.init.zeros_(self.of_class.weight)  # classes begin alike

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, S, S), (B,) -> (B,)."""
        x = self.stem(images)  # (B, F, S / 2, S / 2)
        for block in self.blocks:
            x = block(x)  # (B, F, H / 2, W / 2)
        features = F.leaky_relu(x, _SLOPE).mean((2, 3)) * 2  # (B, F)
        logits: Tensor = self.dense(features).squeeze(1)
        if self.of_class is not None:
            assert labels is not None
            logits = logits + (self.of_class(labels) * features).sum(1)
        return logits


@final
class DownBlock(nn.Module):
    """A 3x3 convolution, then a 4x4 one with stride 2; around both the mean of 2x2 places and a 1x1 convolution.

    Args:
        before: channels of the input.
        after: channels of the output, F.
        spectral: whether the convolutions are normalised.

    Shapes:
        (B, before, H, W) -> (B, F, floor(H / 2), floor(W / 2)).
    """

    def __init__(self, before: int, after: int, spectral: bool) -> None:
        super().__init__()
        self.conv = _conv(before, before, 3, padding=1, spectral=spectral)
        self.down = _conv(before, after, 4, stride=2, padding=1, spectral=spectral)
        self.shortcut = _conv(before, after, 1, spectral=spectral)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, F, floor(H / 2), floor(W / 2))."""
        y = F.leaky_relu_(self.conv(F.leaky_relu(x, _SLOPE)), _SLOPE)  # (B, before, H, W)
        out: Tensor = (self.shortcut(F.avg_pool2d(x, 2)) + self.down(y)) * _HALF
        return out


def build(sizes: Sizes, options: Mapping[str, Any]) -> Gan:
    """Make `gan` for any side from 4 pixels, any number of channels and classes. Raises RecipeError for an option."""
    return Gan(sizes.outputs, sizes.inputs, sizes.length, config.build(Options, options))


def _widths(side: int, width: int) -> tuple[int, ...]:
    """Channels of the generator, from its first map to the full side.

    Example:
        >>> _widths(28, 24), _widths(128, 24)
        ((96, 48, 24), (192, 192, 96, 48, 24))
    """
    doublings = max(1, math.ceil(math.log2(side / _START)))
    return tuple(width * min(_WIDEST, 2**place) for place in range(doublings, -1, -1))


def _conv(before: int, after: int, kernel: int, *, stride: int = 1, padding: int = 0, spectral: bool) -> nn.Module:
    conv = nn.Conv2d(before, after, kernel, stride=stride, padding=padding)
    _init(conv)
    return SpectralConv2d(conv) if spectral else conv


def _init(network: nn.Module) -> None:
    """Normal kernels with the variance of K. He et al. (arXiv 1502.01852), and zero biases everywhere."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | ConvToFew):
            nn.init.kaiming_normal_(module.weight, _SLOPE)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
