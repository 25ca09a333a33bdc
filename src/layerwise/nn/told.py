"""What a generator is told of an image's class."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(labels: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """A row a label: 1 at its class, 0 elsewhere; all 0 where the class is unknown.

    Args:
        labels: (B,) class numbers, -1 for unknown; none where all are unknown.
        classes: K.
        like: (B, ...), whose first size, number format and device the answer has.

    Returns:
        (B, K).

    Example:
        >>> one_hot(torch.tensor([1, -1]), 2, torch.zeros(2)).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    if labels is None:
        return like.new_zeros(len(like), classes)
    return (labels[:, None] == torch.arange(classes, device=like.device)).to(like.dtype)
