"""`vae`: a variational autoencoder of residual convolutions, for images of 8 pixels a side or more, grey or colour.

D. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114). The blocks are those of K. He et
al., "Identity Mappings in Deep Residual Networks", ECCV 2016 (arXiv 1603.05027), without normalisation: each block's
last convolution starts at zero (H. Zhang et al., "Fixup Initialization", ICLR 2019, arXiv 1901.09321). The first
convolution halves the side and the last one makes four pixels at each place (W. Shi et al., arXiv 1609.05158), so that
no layer works at full resolution.

B images, C channels, S pixels a side, Z latent numbers, K classes, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.errors import RecipeError
from layerwise.models.by_task import Sizes
from layerwise.nn.told import one_hot

_SMALLEST = 8  # halving ends at this side, or below


class Options(config.Section):
    """Options of `vae`.

    `latent` numbers that describe an image; `likelihood` of a pixel; `width`, channels at half the side, twice as many
    below; residual blocks a resolution in the encoder and in the decoder.
    """

    latent: int = pydantic.Field(16, ge=1, le=4096)
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    width: int = pydantic.Field(32, ge=1, le=1024)
    encoder_blocks: int = pydantic.Field(1, ge=0, le=16)
    decoder_blocks: int = pydantic.Field(2, ge=0, le=16)


@final
class PreactivatedBlock(nn.Module):
    """SiLU and 3x3 convolution, twice, added to the input; the identity at the start.

    Args:
        channels: C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change: Tensor = self.conv2(F.silu(self.conv1(F.silu(x))))
        return x + change


def halves(side: int) -> list[int]:
    """The sides that the network works at, largest first.

    Example:
        >>> halves(28), halves(64), halves(45)
        ([14, 7], [32, 16, 8], [23, 12, 6])
    """
    sides = [(side + 1) // 2]
    while sides[-1] > _SMALLEST:
        sides.append((sides[-1] + 1) // 2)
    return sides


def _widths(width: int, levels: int) -> list[int]:
    return [width if level == 0 else 2 * width for level in range(levels)]


@final
class Encoder(nn.Module):
    """Convolutions down to 8 pixels a side or fewer, and two linear layers.

    Args:
        sizes: channels, classes that it is told of, pixels of a side.
        options: see `Options`.

    Shapes:
        images (B, C, S, S), labels (B,) or none -> means (B, Z), log variances (B, Z).
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        sides = halves(sizes.length)
        widths = _widths(options.width, len(sides))
        self.classes = sizes.outputs
        self.stem = nn.Conv2d(sizes.inputs, widths[0], 3, stride=2, padding=1)
        self.told = nn.Linear(self.classes, widths[0], bias=False) if self.classes else None
        layers: list[nn.Module] = []
        for level, width in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            layers.extend(PreactivatedBlock(width) for _ in range(options.encoder_blocks))
        self.body = nn.Sequential(*layers)
        features = widths[-1] * sides[-1] ** 2
        self.mean = nn.Linear(features, options.latent)
        self.log_variance = nn.Linear(features, options.latent)
        # Variance 1 for every image at the start: a large one would make the first steps wild.
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, S, S), (B,) -> (B, Z), (B, Z)."""
        x = self.stem(images)  # (B, W, S / 2, S / 2)
        if self.told is not None:
            x = x + self.told(one_hot(labels, self.classes, x))[:, :, None, None]
        x = F.silu(self.body(x)).permute(0, 2, 3, 1).flatten(1)  # (B, features): a view of channels-last memory
        return self.mean(x), self.log_variance(x)


@final
class Decoder(nn.Module):
    """A linear layer, and convolutions up to half the side with four pixels at each place.

    Args:
        sizes: channels, classes that it is told of, pixels of a side.
        options: see `Options`.

    Shapes:
        latents (B, Z), labels (B,) or none -> (B, C, S, S).
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.side, self.sides = sizes.length, halves(sizes.length)[::-1]
        widths = _widths(options.width, len(self.sides))[::-1]
        self.classes, self.width = sizes.outputs, widths[0]
        self.dense = nn.Linear(options.latent + self.classes, widths[0] * self.sides[0] ** 2)
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            if level:
                self.up.append(nn.Conv2d(widths[level - 1], 4 * width, 1))
            self.blocks.append(nn.Sequential(*(PreactivatedBlock(width) for _ in range(options.decoder_blocks))))
        self.out = nn.Conv2d(widths[-1], 4 * sizes.inputs, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> (B, C, S, S)."""
        if self.classes:
            latents = torch.cat([latents, one_hot(labels, self.classes, latents)], dim=1)  # (B, Z + K)
        x = self.dense(latents).view(-1, self.sides[0], self.sides[0], self.width).permute(0, 3, 1, 2)
        x = self.blocks[0](x)
        for up, blocks, side in zip(self.up, self.blocks[1:], self.sides[1:], strict=True):
            x = blocks(
                F.pixel_shuffle(up(F.silu(x)), 2)[:, :, :side, :side]
            )  # twice the side, and at last (B, W, S / 2, S / 2)
        x = F.pixel_shuffle(self.out(F.silu(x)), 2)  # (B, C, S, S), one more where S is odd
        return x[:, :, : self.side, : self.side]


@final
class Vae(nn.Module):
    """Encoder and decoder.

    Args:
        sizes: channels, classes that it is told of (0 for none), pixels of a side.
        options: see `Options`.

    Shapes:
        images (B, C, S, S) in [0, 1], labels (B,) or none -> logits (Bernoulli) or means (Gaussian) (B, C, S, S).

    Example:
        >>> network = Vae(Sizes(inputs=1, outputs=0, length=28), Options())
        >>> mean, log_variance = network.encode(torch.zeros(2, 1, 28, 28))
        >>> mean.shape, network.decode(mean).shape
        (torch.Size([2, 16]), torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.latent, self.likelihood = options.latent, options.likelihood
        self.encoder, self.decoder = Encoder(sizes, options), Decoder(sizes, options)
        # The logarithm of the standard deviation of a pixel around its mean, one for all (arXiv 2006.13202).
        self.log_scale = nn.Parameter(torch.tensor(-1.0)) if options.likelihood == "gaussian" else None

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, S, S), (B,) -> means (B, Z), log variances (B, Z)."""
        mean, log_variance = self.encoder(images, labels)
        return mean, log_variance

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> logits or means (B, C, S, S)."""
        pixels: Tensor = self.decoder(latents, labels)
        return pixels

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the decoder makes of the means."""
        return self.decode(self.encode(images, labels)[0], labels)


def build(sizes: Sizes, options: Mapping[str, Any]) -> Vae:
    """Make `vae`.

    Raises:
        RecipeError: an unknown option, or images of fewer than 8 pixels a side.
    """
    chosen = config.build(Options, options)
    if sizes.length < _SMALLEST:
        raise RecipeError(
            f"vae cannot read images of {sizes.length} x {sizes.length} pixels.",
            expected=f"at least {_SMALLEST} pixels a side",
            fix="Set data.size to 28 or more.",
        )
    return Vae(sizes, chosen)
