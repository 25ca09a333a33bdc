"""`vae-tutorial`: the course's variational autoencoder, weight for weight what Keras builds.

D. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114), with convolutions as in the
example of keras.io. For 28x28 grey images the encoder has 69,076 and the decoder 65,089 parameters.

Of a stride of 2, TensorFlow's padding "same" adds zeros below and on the right, torch's above and on the left. To copy
edges around at each layer costs a quarter of a step; so the image is turned by 180 degrees on the way in and on the way
out instead, and what is turned twice is as it was. `load_keras` turns the weights of a Keras model to match.

B images, C channels, S pixels a side, Z latent numbers, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from layerwise import config
from layerwise.errors import RecipeError, UsageError
from layerwise.models.by_task import Sizes
from layerwise.nn.init import init_as_keras
from layerwise.nn.to_few import ConvToFew
from layerwise.nn.told import one_hot
from layerwise.nn.transposed import conv_transpose

_NARROW, _WIDE, _HIDDEN = 32, 64, 16


class Options(config.Section):
    """The course's own numbers: `latent` numbers that describe an image; `likelihood` of a pixel."""

    latent: int = pydantic.Field(2, ge=1, le=4096)
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"


@final
class Encoder(nn.Module):
    """Two convolutions with stride 2, a dense layer of 16, and two of Z.

    Args:
        sizes: channels, classes that it is told of (beside the flattened features), pixels of a side.
        latent: Z.

    Shapes:
        images (B, C, S, S), turned, labels (B,) or none -> means (B, Z), log variances (B, Z).
    """

    def __init__(self, sizes: Sizes, latent: int) -> None:
        super().__init__()
        self.classes = sizes.outputs
        self.conv1 = nn.Conv2d(sizes.inputs, _NARROW, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(_NARROW, _WIDE, 3, stride=2, padding=1)
        self.hidden = nn.Linear(_WIDE * (sizes.length // 4) ** 2 + self.classes, _HIDDEN)
        self.mean, self.log_variance = nn.Linear(_HIDDEN, latent), nn.Linear(_HIDDEN, latent)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, S, S), (B,) -> (B, Z), (B, Z)."""
        x = F.relu_(self.conv1(images))  # (B, 32, S / 2, S / 2)
        x = F.relu_(self.conv2(x))  # (B, 64, S / 4, S / 4)
        # Flattened with channels last, as Keras does it: for channels-last features that is a view, not a copy.
        x = x.permute(0, 2, 3, 1).flatten(1)  # (B, S / 4 * S / 4 * 64)
        if self.classes:
            x = torch.cat([x, one_hot(labels, self.classes, x)], dim=1)
        x = F.relu_(self.hidden(x))  # (B, 16)
        return self.mean(x), self.log_variance(x)


@final
class Decoder(nn.Module):
    """A dense layer, two transposed convolutions with stride 2, one more to the channels of the image.

    Args:
        sizes: channels, classes that it is told of (beside the latent numbers), pixels of a side.
        latent: Z.

    Shapes:
        latents (B, Z), labels (B,) or none -> (B, C, S, S), turned.
    """

    def __init__(self, sizes: Sizes, latent: int) -> None:
        super().__init__()
        self.classes, self.start = sizes.outputs, sizes.length // 4
        self.dense = nn.Linear(latent + self.classes, _WIDE * self.start**2)
        self.up1 = nn.ConvTranspose2d(_WIDE, _WIDE, 3, stride=2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(_WIDE, _NARROW, 3, stride=2, padding=1, output_padding=1)
        # Of stride 1, a transposed convolution is a convolution with its kernel turned.
        self.out = ConvToFew(_NARROW, sizes.inputs, 3)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> (B, C, S, S)."""
        if self.classes:
            latents = torch.cat([latents, one_hot(labels, self.classes, latents)], dim=1)  # (B, Z + K)
        x = F.relu_(self.dense(latents))
        x = x.view(-1, self.start, self.start, _WIDE).permute(0, 3, 1, 2)  # (B, 64, S / 4, S / 4)
        x = F.relu_(conv_transpose(self.up1, x))  # (B, 64, S / 2, S / 2)
        x = F.relu_(conv_transpose(self.up2, x))  # (B, 32, S, S)
        pixels: Tensor = self.out(x)
        return pixels


@final
class VaeTutorial(nn.Module):
    """Encoder and decoder; see their classes.

    Args:
        sizes: channels, classes that both are told of (0 for none), pixels of a side, divisible by 4.
        options: see `Options`.

    Shapes:
        images (B, C, S, S) in [0, 1], labels (B,) or none -> logits (Bernoulli) or means (Gaussian) (B, C, S, S).

    Example:
        >>> network = VaeTutorial(Sizes(inputs=1, outputs=0, length=28), Options())
        >>> mean, log_variance = network.encode(torch.zeros(3, 1, 28, 28))
        >>> mean.shape, network.decode(mean).shape
        (torch.Size([3, 2]), torch.Size([3, 1, 28, 28]))
    """

    def __init__(self, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.latent, self.likelihood = options.latent, options.likelihood
        self.encoder, self.decoder = Encoder(sizes, options.latent), Decoder(sizes, options.latent)
        # The logarithm of the standard deviation of a pixel around its mean, learnt, one for all (arXiv 2006.13202).
        self.log_scale = nn.Parameter(torch.tensor(-1.0)) if options.likelihood == "gaussian" else None
        init_as_keras(self)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, S, S), (B,) -> means (B, Z), log variances (B, Z)."""
        mean, log_variance = self.encoder(images.flip(2, 3), labels)
        return mean, log_variance

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, Z), (B,) -> logits or means (B, C, S, S)."""
        turned: Tensor = self.decoder(latents, labels)
        return turned.flip(2, 3)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the decoder makes of the means."""
        return self.decode(self.encode(images, labels)[0], labels)


def build(sizes: Sizes, options: Mapping[str, Any]) -> VaeTutorial:
    """Make `vae-tutorial`.

    Raises:
        RecipeError: an unknown option, or a side that is not divisible by 4.
    """
    chosen = config.build(Options, options)
    if sizes.length % 4:
        raise RecipeError(
            f"vae-tutorial cannot make images of {sizes.length} x {sizes.length} pixels.",
            expected="a side divisible by 4",
            fix="Set data.size to 28 or 32, or take the network vae.",
        )
    return VaeTutorial(sizes, chosen)


def load_keras(
    network: VaeTutorial, encoder: Sequence[NDArray[np.floating[Any]]], decoder: Sequence[NDArray[np.floating[Any]]]
) -> None:
    """Give the network the weights of the course's Keras models.

    Args:
        network: without classes.
        encoder: what `get_weights()` of the encoder gives: two kernels (3, 3, in, out) and three matrices (in, out),
            each followed by its bias (out,).
        decoder: the same of the decoder: a matrix and three kernels (3, 3, out, in).

    Raises:
        UsageError: arrays of another model, by their number or shapes.

    Example:
        >>> network = build(Sizes(inputs=1, outputs=0, length=28), {})
        >>> shapes = [(3, 3, 1, 32), 32, (3, 3, 32, 64), 64, (3136, 16), 16, (16, 2), 2, (16, 2), 2]
        >>> behind = [(2, 3136), 3136, (3, 3, 64, 64), 64, (3, 3, 32, 64), 32, (3, 3, 1, 32), 1]
        >>> load_keras(network, [np.ones(shape) for shape in shapes], [np.zeros(shape) for shape in behind])
        >>> float(network.encoder.conv1.weight.detach().sum())
        288.0
    """
    wanted = [*network.encoder.parameters(), *network.decoder.parameters()]
    given = [torch.from_numpy(np.array(array, dtype=np.float32)) for array in (*encoder, *decoder)]
    side = network.decoder.start
    turned = [_as_ours(tensor, place, side) for place, tensor in enumerate(given)]
    if [tensor.shape for tensor in turned] != [parameter.shape for parameter in wanted]:
        raise UsageError(
            f"The weights have the shapes {[tuple(tensor.shape) for tensor in given]}.",
            expected="those of the course's encoder (10 arrays) and decoder (8 arrays), for these images",
            fix="Pass encoder.get_weights() and decoder.get_weights().",
        )
    with torch.no_grad():
        for parameter, tensor in zip(wanted, turned, strict=True):
            parameter.copy_(tensor)


# Places in the list of all arrays: the matrix behind the encoder's features, and the matrix and bias before the
# decoder's, of which the features are turned with the image; and the last kernel, which is of a convolution here.
_HIDDEN_MATRIX, _DENSE_MATRIX, _DENSE_BIAS, _LAST_KERNEL = 4, 10, 11, 16


def _as_ours(tensor: Tensor, place: int, side: int) -> Tensor:
    """One array of Keras's, with the axes and the direction that they have here."""
    if place == _LAST_KERNEL and tensor.ndim == 4:
        return tensor.permute(2, 3, 0, 1)  # (out, in, 3, 3): turned for the convolution, and turned back
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).flip(2, 3)
    if place in (_HIDDEN_MATRIX, _DENSE_BIAS) and len(tensor) == side * side * _WIDE:
        tensor = tensor.view(side, side, -1).flip(0, 1).reshape(tensor.shape)
    if place == _DENSE_MATRIX and tensor.ndim == 2 and tensor.shape[1] == side * side * _WIDE:
        tensor = tensor.view(len(tensor), side, side, -1).flip(1, 2).reshape(tensor.shape)
    return tensor.T if tensor.ndim == 2 else tensor
