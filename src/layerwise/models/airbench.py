"""`airbench` and `airbench-small`: convolutional networks that learn small images in seconds to minutes.

K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498), the network of airbench94: a 2x2
convolution whose fixed filters whiten patches, three groups of two convolutions, and logits divided by 9. Set its
filters from the training images with `whiten` before the first step.

What belongs to the paper's training and not to the network: SGD with Nesterov momentum 0.85, biases of the
normalisation at 64 times the learning rate, label smoothing 0.2, and the whitening bias fixed after 3 epochs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise import config
from layerwise.errors import UsageError
from layerwise.models.table import Entry, Request

_WIDTHS = {"airbench": (64, 256, 256), "airbench-small": (32, 64, 64)}
_KERNEL = 2


class AirbenchOptions(config.Section):
    """`airbench` and `airbench-small` have no options."""


class ConvGroup(nn.Module):
    """Convolution, pooling, normalisation, GELU; convolution, normalisation, GELU.

    Shapes:
        (B, C, H, W) -> (B, F, H // 2, W // 2).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels)
        self.norm1 = _norm(out_channels)
        self.conv2 = _conv(out_channels, out_channels)
        self.norm2 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H // 2, W // 2)."""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """Whitening, three groups, the maximum over what is left of the image, and a linear classifier.

    Args:
        classes: number of logits.
        channels: of the images, C.
        widths: channels of the three groups.

    Shapes:
        (B, C, H, W) -> features (B, widths[2], (H - 1) // 8, (W - 1) // 8) -> logits (B, classes). From 32 pixels 3 are
        left, and the paper pools 3x3; other sizes are pooled whole as well.
    """

    def __init__(self, classes: int, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        patch = channels * _KERNEL**2
        self.whitening = nn.Conv2d(channels, 2 * patch, _KERNEL)
        # Its filters are a property of the data, found by `whiten`; its bias is trained.
        self.whitening.weight.requires_grad = False
        assert self.whitening.bias is not None
        nn.init.zeros_(self.whitening.bias)
        self.group1 = ConvGroup(2 * patch, widths[0])
        self.group2 = ConvGroup(widths[0], widths[1])
        self.group3 = ConvGroup(widths[1], widths[2])
        self.linear = nn.Linear(widths[2], classes, bias=False)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[2], H', W')."""
        x = F.gelu(self.whitening(x))
        out: Tensor = self.group3(self.group2(self.group1(x)))
        return out

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, widths[2], H', W') -> (B, classes)."""
        logits: Tensor = self.linear(features.amax((2, 3))) / 9
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))


def build(entry: Entry, request: Request) -> Airbench:
    """Make `airbench` or `airbench-small`; its whitening filters are random until `whiten` sets them."""
    config.build(AirbenchOptions, request.options)
    return Airbench(request.classes, request.channels, _WIDTHS[entry.name])


@torch.no_grad()
def whiten(net: Airbench, images: Tensor, *, eps: float = 5e-4) -> None:
    """Set the first filters so that 2x2 patches of the images come out uncorrelated, with variance near 1.

    The filters are the eigenvectors of the patches' second moments, each divided by the root of its eigenvalue, and
    the negatives of all of them (relu-like units keep one sign only). Changes `net` in place.

    Args:
        net: the network.
        images: (n, C, H, W) float, normalised as in training; the paper takes 5,000 training images.
        eps: added to the eigenvalues, so that directions in which patches do not vary are not blown up.

    Raises:
        UsageError: images of another shape than the network takes, or none.
    """
    weight = net.whitening.weight
    if images.ndim != 4 or images.shape[1] != weight.shape[1] or not len(images) or min(images.shape[2:]) < _KERNEL:
        raise UsageError(
            f"Images of shape {tuple(images.shape)} were given to whiten a network.",
            expected=f"(n, {weight.shape[1]}, height, width), with n at least 1",
        )
    values, vectors = torch.linalg.eigh(_second_moments(images))
    filters = (vectors / torch.sqrt(values.clamp(min=0) + eps)).T.flip(0)  # largest eigenvalue first
    # An eigenvector's sign is arbitrary and differs between machines: the largest component is made positive.
    largest = filters.gather(1, filters.abs().argmax(1, keepdim=True))
    filters = filters * torch.sign(largest)
    weight.copy_(torch.cat((filters, -filters)).reshape(weight.shape))


def _second_moments(images: Tensor) -> Tensor:
    """E[p p^T] over all 2x2 patches p: (n, C, H, W) -> (4 C, 4 C), in double precision."""
    total, count = torch.zeros((), dtype=torch.float64, device=images.device), 0
    for part in torch.split(images, 256):  # a part at a time: the patches are four times the images
        patches = F.unfold(part.double(), _KERNEL).transpose(1, 2).flatten(0, 1)  # (n * positions, 4 C)
        total, count = total + patches.T @ patches, count + len(patches)
    return total / count


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that starts by passing its input through, as far as there are outputs for it."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:in_channels])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with a bias but no scale; torch's momentum is one minus the paper's 0.6."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad = False
    return norm
