"""What a trained variational autoencoder draws, and the pictures of a run: images between images, and along latents.

Z latent numbers; images are (n, H, W, C) uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import nn

from layerwise.device import Device
from layerwise.report.grids import TRAVERSED, grid_png
from layerwise.tasks.vae_bound import as_vae, decoded_pixels, encoded

_COLUMNS, _STEPS, _ROWS, _SIDE = 8, 9, 8, 20
_REACH = 3.0

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64] | None


@dataclass(frozen=True)
class Drawing:
    """A trained network, and what it can draw.

    Args:
        network: a `VaeNetwork`, on the device.
        device: where it computes.
        conditional: whether it is told the class of an image.
    """

    network: nn.Module
    device: Device
    conditional: bool

    def decoded(self, latents: NDArray[np.float32], labels: Labels) -> Pixels:
        """(n, Z), (n,) -> (n, H, W, C); labels do not matter where the network is told of none."""
        return decoded_pixels(self.network, self.device, latents, labels if self.conditional else None)

    def encoded(self, pixels: Pixels, labels: Labels) -> NDArray[np.float32]:
        """(n, H, W, C), (n,) -> (n, Z) means."""
        return encoded(self.network, self.device, pixels, labels if self.conditional else None)

    def reconstructed(self, pixels: Pixels, labels: Labels) -> Pixels:
        """(n, H, W, C) -> the same, encoded and decoded from the means of their latents."""
        return self.decoded(self.encoded(pixels, labels), labels)

    def between(self, pair: Pixels, labels: Labels, steps: int) -> Pixels:
        """Two images (2, H, W, C) -> (steps, H, W, C), evenly spaced on the line between their latents.

        With classes, each image is of the class of the nearer end.
        """
        ends, share = self.encoded(pair, labels), np.linspace(0, 1, steps, dtype=np.float32)[:, None]  # (steps, 1)
        told = None if labels is None else labels[(share[:, 0] > 0.5).astype(np.int64)]
        return self.decoded((1 - share) * ends[0] + share * ends[1], told)

    def along(self, origin: NDArray[np.float32], label: int, reach: float, steps: int) -> Pixels:
        """One latent at a time from -reach to reach, the others as in (Z,) `origin`: (Z, steps, H, W, C)."""
        latents = np.tile(origin, (len(origin), steps, 1))  # (Z, steps, Z)
        places = np.arange(len(origin))
        latents[places, :, places] = np.linspace(-reach, reach, steps, dtype=np.float32)
        images = self.decoded(latents.reshape(-1, len(origin)), np.full(len(origin) * steps, label))
        return images.reshape(len(origin), steps, *images.shape[1:])

    def plane(self, label: int, side: int = _SIDE) -> Pixels:
        """Of two latents: (side * side, H, W, C), row by row from the top, at evenly spaced quantiles of N(0, 1).

        The first latent grows to the right, the second upwards.
        """
        at = ndtri((np.arange(side) + 0.5) / side).astype(np.float32)
        across, up = np.meshgrid(at, at[::-1])
        return self.decoded(np.stack([across.ravel(), up.ravel()], 1), np.full(side * side, label))


def pictures(
    drawing: Drawing, pixels: Pixels, labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> dict[str, bytes]:
    """The pictures of a run's end, by name in the run folder.

    Args:
        drawing: of the kept network.
        pixels: of the reported part.
        labels: (n,) class numbers, -1 where there are none.
        scores: (n,) negative ELBO.
    """
    latent = as_vae(drawing.network).latent
    shown = _spread(len(pixels), _COLUMNS * 4)
    rows = _spread(len(pixels), 2 * _ROWS)
    pairs = rows[: len(rows) // 2 * 2].reshape(-1, 2) if len(rows) > 1 else np.zeros((1, 2), np.int64)
    between = [drawing.between(pixels[pair], labels[pair], _STEPS) for pair in pairs]
    along = drawing.along(np.zeros(latent, np.float32), 0, _REACH, _STEPS)[:TRAVERSED]
    files = {
        "reconstructions": _alternating(pixels[shown], drawing.reconstructed(pixels[shown], labels[shown])),
        "interpolation": grid_png(np.concatenate(between), _STEPS),
        "traversal": grid_png(along.reshape(-1, *along.shape[2:]), _STEPS),
        "outliers": grid_png(pixels[np.argsort(-scores, kind="stable")[: _COLUMNS * 4]], _COLUMNS),
    }
    if latent == 2:
        files["plane"] = grid_png(drawing.plane(0), _SIDE)
    return {f"pictures/{name}.png": content for name, content in files.items()}


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many row numbers, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _alternating(originals: Pixels, others: Pixels) -> bytes:
    """A row of originals, below it the same images reconstructed, and so on."""
    columns = min(_COLUMNS, len(originals))
    rest = np.zeros((-len(originals) % columns, *originals.shape[1:]), np.uint8)
    both = [np.concatenate([images, rest]).reshape(-1, columns, *rest.shape[1:]) for images in (originals, others)]
    return grid_png(np.stack(both, axis=1).reshape(-1, *rest.shape[1:]), columns)
