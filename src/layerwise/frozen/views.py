"""Views: the changed pictures of an image whose activations are kept and cycled.

What a frozen network gives for a picture can be kept only if the picture comes again. So an image has a few *views*,
numbered: view 0 is the picture itself, the others are drawn. An epoch shows one view of each image. Which one, and what
is drawn, is a function of (seed, image, number), and an image is known by its content, so that the views of a picture
are the same in every run, fold and trial with that seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from layerwise.data.augment import AugmentRecipe, augment, draws

PLAIN = 0  # the number of the picture itself
# Which of an image's draws says where its cycle begins, its side, and when a view is refreshed. The last is mixup's, of
# which no single picture is made: so that the time when a view is refreshed says nothing of what it shows.
_START, _SIDE, _PHASE = 0, 2, 9


def identities(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Content hashes in hex -> (N,) numbers that draws are made from; an image without a hash gets 0.

    Example:
        >>> identities(["00000000000000ff00", ""]).tolist()
        [255, 0]
    """
    return np.array([int(text[:16] or "0", 16) for text in hashes], dtype=np.uint64)


@final
@dataclass(frozen=True)
class Views:
    """The views of a run's training images.

    Args:
        recipe: what may change in a picture; its mixup is not looked at.
        count: views an image that are cycled over the epochs; 0 for a new one each epoch, which cannot be kept.
        refresh: share of the images that get a new drawn view each epoch, in place of the one shown, 0 to 1; from the
            epoch `count` on.
        seed: of the run.

    Example:
        >>> views = Views(AugmentRecipe(flip=True), count=2, refresh=0.0, seed=0)
        >>> image = np.array([7], np.uint64)
        >>> sorted(int(views.numbers(image, epoch)[0]) for epoch in (0, 1))
        [0, 1]
    """

    recipe: AugmentRecipe
    count: int
    refresh: float
    seed: int

    @property
    def flips_only(self) -> bool:
        """Whether the flipped picture is all there is beside the picture."""
        return self.recipe.flip and not self.recipe.model_copy(update={"flip": False}).changes

    def numbers(self, images: NDArray[np.uint64], epoch: int) -> NDArray[np.int64]:
        """Which view of each image an epoch shows: (B,) identities -> (B,) numbers."""
        if not self.recipe.changes:
            return np.zeros(len(images), np.int64)
        if self.count == 0:
            if self.flips_only:
                return (draws(images, seed=self.seed, epoch=epoch)[:, _SIDE] < 0.5).astype(np.int64)
            return np.full(len(images), 1 + epoch, np.int64)
        start = (draws(images, seed=self.seed, epoch=0)[:, _START] * self.count).astype(np.int64)
        return self._refreshed(images, (start + epoch) % self.count, epoch)

    def _refreshed(self, images: NDArray[np.uint64], slots: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Numbers of the views in the slots of the cycle, after the refreshments so far."""
        if not self.refresh or self.flips_only or epoch < self.count:
            return slots
        phase = draws(images, seed=self.seed, epoch=slots)[:, _PHASE]
        numbers = slots
        # A slot is shown every `count` epochs. It was due wherever the shares so far, added up, passed a whole number;
        # the latest of these times counts.
        for earlier in range(epoch % self.count + self.count, epoch + 1, self.count):
            time = earlier // self.count
            due = np.floor(phase + self.refresh * time) > np.floor(phase + self.refresh * (time - 1))
            numbers = np.where(due, self.count + earlier, numbers)
        return numbers

    def tag(self, number: int) -> str:
        """What names a view's activations beside the image: the same wherever the picture is the same."""
        if number == PLAIN:
            return "plain"
        if self.flips_only:
            return "flip"
        what = self.recipe.model_copy(update={"mixup": 0.0}).model_dump_json()
        return f"{hashlib.sha256(what.encode()).hexdigest()[:16]}-{self.seed}-{number}"

    def pictures(self, images: torch.Tensor, known: NDArray[np.uint64], numbers: NDArray[np.int64]) -> torch.Tensor:
        """Draw the views of a batch.

        Args:
            images: (B, C, H, W) float, values 0 to 255; changed in place.
            known: (B,) identities.
            numbers: (B,) views.

        Returns:
            (B, C, H, W) float, values 0 to 255.
        """
        drawn = np.flatnonzero(numbers != PLAIN)
        if not len(drawn):
            return images
        rows = torch.from_numpy(drawn).to(images.device)
        if self.flips_only:
            images[rows] = images[rows].flip(3)
        else:
            images[rows] = augment(images[rows], known[drawn], self.recipe, seed=self.seed, epoch=numbers[drawn])
        return images
