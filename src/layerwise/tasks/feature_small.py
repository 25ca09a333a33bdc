"""A small network that learns features from the training images themselves, for judging images that a generator made.

It tells by how many quarter turns an image was turned (S. Gidaris, P. Singh, N. Komodakis, "Unsupervised Representation
Learning by Predicting Image Rotations", ICLR 2018, arXiv 1803.07728) and, where there are labels, which class it is of.
On Fashion-MNIST, features from labels alone did not see weak noise: it moved images less than chance did.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from layerwise.console import Show

# B images in a batch, C channels, S pixels a side, F features.

FEATURES: Final = 96
_LARGEST = 32  # pixels a side behind the first layer, so that cost hardly depends on the size of the images
_BATCH, _RATE, _DECAY = 128, 3e-3, 1e-2
_TURNS = 4


class SmallNetwork(nn.Module):
    """Four convolutions and a mean over positions.

    Args:
        channels: of the images, 1 or 3.
        side: of the images in pixels.

    Shapes:
        (B, C, S, S) values -1 to 1 -> (B, 96).

    Example:
        >>> SmallNetwork(1, 28).eval()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 96])
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        stride = math.ceil(side / _LARGEST)
        self.layers = nn.Sequential(
            *_layer(channels, 24, 2 * stride + 1, stride),
            *_layer(24, 48, 3, 2),
            *_layer(48, FEATURES, 3, 2),
            *_layer(FEATURES, FEATURES, 3, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, 96)."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features


def values(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, S, S, C) uint8 -> (n, C, S, S) float32 from -1 to 1, channels last in memory."""
    # The batch may be a view of memory that may only be read, which torch warns of.
    images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    return images.float() / 127.5 - 1


def trained(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    targets: NDArray[np.int64] | None,
    shape: tuple[int, int],
    count: int,
    steps: int,
    show: Show,
) -> SmallNetwork:
    """A network that was trained on images, in eval mode; equal images give equal weights.

    It trains on the CPU, where the order of sums does not change from run to run. The global generators are left as
    they were.

    Args:
        read: (B,) numbers below `count` -> (B, S, S, C) pixels.
        targets: (count,) class numbers, -1 where there is none; none for no labels at all.
        shape: (S, C) of the images.
        count: training images.
        steps: of training, each on 128 images.
        show: tells a person how far it is.

    Example:
        >>> from layerwise.console import Silent
        >>> images = np.zeros((8, 8, 8, 1), np.uint8)
        >>> trained(lambda ids: images[ids], None, (8, 1), 8, 2, Silent()).training
        False
    """
    side, channels = shape
    classes = 0 if targets is None else int(targets.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # not the GPU's, which are not set back
        network = SmallNetwork(channels, side).to(memory_format=torch.channels_last)
        heads = nn.Linear(FEATURES, _TURNS + classes)
    parameters = [*network.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    random = np.random.Generator(np.random.Philox(0))
    with show.bar("training the network that judges", steps) as advance:
        for _ in range(steps):
            ids = random.integers(0, count, size=_BATCH)
            turns = random.integers(0, _TURNS, size=_BATCH)
            labels = None if targets is None else torch.from_numpy(targets[ids])
            loss = _loss(heads(network(_turned(values(read(ids)), turns))), torch.from_numpy(turns), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1)
    return network.eval().requires_grad_(False)


def _loss(logits: Tensor, turns: Tensor, labels: Tensor | None) -> Tensor:
    """(B, 4 + classes) -> scalar."""
    lost = nn.functional.cross_entropy(logits[:, :_TURNS], turns)
    if labels is None or not (labels >= 0).any():
        return lost
    return lost + nn.functional.cross_entropy(logits[:, _TURNS:], labels, ignore_index=-1)


def _turned(images: Tensor, turns: NDArray[np.int64]) -> Tensor:
    """Each image by its number of quarter turns."""
    turned = images.clone(memory_format=torch.channels_last)
    for turn in range(1, _TURNS):
        rows = torch.from_numpy(np.flatnonzero(turns == turn))
        turned[rows] = torch.rot90(images[rows], turn, (2, 3))
    return turned


def _layer(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
