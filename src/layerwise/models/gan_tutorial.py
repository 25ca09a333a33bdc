"""`gan-tutorial`: the course's generative adversarial network, weight for weight what Keras builds.

In the line of A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016 (arXiv 1511.06434). For 28x28 grey images the generator has 1,164,289
parameters and the discriminator 40,705.

B images, C channels, S pixels a side, Z latent numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.errors import RecipeError
from layerwise.models.by_task import Sizes
from layerwise.nn.byte_dropout import ByteDropout
from layerwise.nn.init import init_as_keras
from layerwise.nn.to_few import ConvToFew
from layerwise.nn.transposed import conv_transpose

_SLOPE = 0.2  # of LeakyReLU below zero
_WIDTH, _SEEN = 128, 64  # filters of the generator's layers, and of the discriminator's


class Options(config.Section):
    """The course's own numbers: `latent` numbers in, `dropout` in the discriminator."""

    latent: int = pydantic.Field(100, ge=1, le=4096)
    dropout: float = pydantic.Field(0.4, ge=0, lt=1)


@final
class Generator(nn.Module):
    """Dense, two transposed convolutions that double the side, a 7x7 convolution, tanh.

    Args:
        latent: Z.
        classes: that it is told of, as a one-hot vector beside the latent numbers; 0 for none.
        channels: C.
        side: S, divisible by 4.

    Shapes:
        latents (B, Z), labels (B,) or none -> (B, C, S, S) in [-1, 1].
    """

    def __init__(self, latent: int, classes: int, channels: int, side: int) -> None:
        super().__init__()
        self.classes, self.start = classes, side // 4
        self.dense = nn.Linear(latent + classes, _WIDTH * self.start**2)
        self.up1 = nn.ConvTranspose2d(_WIDTH, _WIDTH, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(_WIDTH, _WIDTH, 4, stride=2, padding=1)
        self.out = ConvToFew(_WIDTH, channels, 7)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> (B, C, S, S)."""
        if self.classes:
            assert labels is not None
            latents = torch.cat([latents, F.one_hot(labels, self.classes).to(latents.dtype)], dim=1)  # (B, Z + classes)
        x = self.dense(latents).view(-1, self.start, self.start, _WIDTH).permute(0, 3, 1, 2)  # (B, 128, S / 4, S / 4)
        # In place: a convolution's backward pass does not look at its answers.
        x = F.leaky_relu_(conv_transpose(self.up1, x), _SLOPE)  # (B, 128, S / 2, S / 2)
        x = F.leaky_relu_(conv_transpose(self.up2, x), _SLOPE)  # (B, 128, S, S)
        return torch.tanh(self.out(x))


@final
class Discriminator(nn.Module):
    """Two convolutions with stride 2, each with dropout, and one logit.

    Args:
        classes: that it is told of, by the product of a class's own vector with the features (T. Miyato, M. Koyama,
            arXiv 1802.05637); 0 for none.
        channels: C.
        side: S, divisible by 4.
        dropout: share dropped in training behind each convolution.

    Shapes:
        images (B, C, S, S) in [-1, 1], labels (B,) or none -> logits (B,).
    """

    def __init__(self, classes: int, channels: int, side: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _SEEN, 3, stride=2)
        self.conv2 = nn.Conv2d(_SEEN, _SEEN, 3, stride=2)
        self.dropout = ByteDropout(dropout)
        self.dense = nn.Linear(_SEEN * (side // 4) ** 2, 1)
        self.of_class = nn.Embedding(classes, _SEEN * (side // 4) ** 2) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, S, S), (B,) -> (B,)."""
        x = self.dropout(F.leaky_relu_(self.conv1(_padded(images)), _SLOPE))  # (B, 64, S / 2, S / 2)
        x = self.dropout(F.leaky_relu_(self.conv2(_padded(x)), _SLOPE))  # (B, 64, S / 4, S / 4)
        # Flattened with channels last, as Keras does it: for channels-last features that is a view, not a copy.
        features = x.permute(0, 2, 3, 1).flatten(1)  # (B, S / 4 * S / 4 * 64)
        logits: Tensor = self.dense(features).squeeze(1)
        if self.of_class is not None:
            assert labels is not None
            logits = logits + (self.of_class(labels) * features).sum(1)
        return logits


def _padded(x: Tensor) -> Tensor:
    """Keras's "same" for a 3x3 kernel with stride 2 on an even side: zeros below and on the right only."""
    return F.pad(x, (0, 1, 0, 1))


@final
class GanTutorial(nn.Module):
    """Generator and discriminator; see their classes.

    Args:
        latent: Z.
        classes: that both are told of, 0 for none.
        channels: C.
        side: S, divisible by 4.
        dropout: of the discriminator.

    Example:
        >>> network = GanTutorial(100, 0, 1, 28, 0.4)
        >>> images = network.generator(torch.zeros(2, network.latent))
        >>> images.shape, network.discriminator(images).shape
        (torch.Size([2, 1, 28, 28]), torch.Size([2]))
    """

    def __init__(self, latent: int, classes: int, channels: int, side: int, dropout: float) -> None:
        super().__init__()
        self.latent = latent
        self.generator = Generator(latent, classes, channels, side)
        self.discriminator = Discriminator(classes, channels, side, dropout)
        init_as_keras(self)


def build(sizes: Sizes, options: Mapping[str, Any]) -> GanTutorial:
    """Make `gan-tutorial`.

    Raises:
        RecipeError: an unknown option, or a side that is not divisible by 4.
    """
    chosen = config.build(Options, options)
    if sizes.length % 4:
        raise RecipeError(
            f"gan-tutorial cannot make images of {sizes.length} x {sizes.length} pixels.",
            expected="a side divisible by 4",
            fix="Set data.size to 28 or 32, or take the network gan.",
        )
    return GanTutorial(chosen.latent, sizes.outputs, sizes.inputs, sizes.length, chosen.dropout)
