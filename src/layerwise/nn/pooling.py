"""One vector for a whole sequence. Letters: B sequences, T steps, D features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inside(lengths: Tensor, steps: int) -> Tensor:
    """Which steps belong to their sequence: (B,) lengths -> (B, T) bool.

    Example:
        >>> inside(torch.tensor([1, 3]), 3).tolist()
        [[True, False, False], [True, True, True]]
    """
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def last_state(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The output at each sequence's last step.

    Args:
        outputs: (B, T, D).
        lengths: (B,) from 1 to T; none where all are T.

    Returns:
        (B, D).

    Example:
        >>> last_state(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    if lengths is None:
        return outputs[:, -1]
    B, T, D = outputs.shape
    place = (lengths - 1).clamp(0, T - 1)
    return outputs.gather(1, place[:, None, None].expand(B, 1, D)).squeeze(1)


def masked_mean(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The mean over each sequence's own steps.

    Args:
        outputs: (B, T, D).
        lengths: (B,) from 1 to T; none where all are T.

    Returns:
        (B, D).

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([2]))
        tensor([[1.5000]])
    """
    if lengths is None:
        return outputs.mean(1)
    valid = inside(lengths, outputs.shape[1])[:, :, None]  # (B, T, 1)
    return outputs.masked_fill(~valid, 0).sum(1) / lengths.clamp(min=1)[:, None]


def masked_max(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The largest value over each sequence's own steps.

    Args:
        outputs: (B, T, D).
        lengths: (B,) from 1 to T; none where all are T.

    Returns:
        (B, D).

    Example:
        >>> masked_max(torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([2]))
        tensor([[2.]])
    """
    if lengths is None:
        return outputs.amax(1)
    valid = inside(lengths, outputs.shape[1])[:, :, None]  # (B, T, 1)
    return outputs.masked_fill(~valid, -torch.inf).amax(1)


class AttentionPooling(nn.Module):
    """A weighted mean over time whose weights are learnt from the outputs themselves.

    Z. Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016, equations 5 to 7:
    u_t = tanh(W h_t + b), w = softmax over t of u_t . v, sum of w_t h_t. The vector v starts at zero: a new layer is
    the mean.

    Args:
        features: D.

    Shapes:
        outputs (B, T, D), lengths (B,) from 1 to T or none -> (B, D).

    Example:
        >>> AttentionPooling(4)(torch.zeros(2, 5, 4), torch.tensor([5, 3])).shape
        torch.Size([2, 4])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.score = nn.Parameter(torch.zeros(features))

    def forward(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, D), (B,) -> (B, D)."""
        return (self.weights(outputs, lengths)[:, :, None] * outputs).sum(1)

    def weights(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, D), (B,) -> (B, T): how much each step counts; 0 behind the end, and 1 in sum."""
        scores = torch.tanh(self.hidden(outputs)) @ self.score  # (B, T)
        if lengths is not None:
            scores = scores.masked_fill(~inside(lengths, outputs.shape[1]), -torch.inf)
        return scores.softmax(1)
