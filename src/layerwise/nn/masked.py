"""Convolution and normalisation over time for sequences of unequal length, padded on the right with zeros.

What lies behind a sequence's end changes nothing: it is zero before each convolution, as the border is, and no
statistics are taken of it. Letters: B sequences, C channels, T steps.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.nn.pooling import inside


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over each sequence's own steps; zero behind its end.

    S. Ioffe, C. Szegedy, arXiv 1502.03167. The same numbers as normalising the steps of all sequences one after
    another.

    Args:
        channels: C.

    Shapes:
        x (B, C, T), valid (B, T) bool or none where all are -> (B, C, T).

    Example:
        >>> import torch
        >>> norm = MaskedBatchNorm(1).train()
        >>> norm(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([[True, True, False]])).round().tolist()
        [[[-1.0, 1.0, 0.0]]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, C, T), (B, T) -> (B, C, T)."""
        if valid is None or not self.training:
            normal: Tensor = self.norm(x)
            return normal if valid is None else normal.masked_fill(~valid[:, None], 0)
        B, C, T = x.shape
        places = valid.flatten().nonzero().squeeze(1)  # (n,), the rows that count
        steps: Tensor = self.norm(x.transpose(1, 2).reshape(B * T, C).index_select(0, places))  # (n, C)
        return steps.new_zeros(B * T, C).index_copy(0, places, steps).view(B, T, C).transpose(1, 2)


class ConvNormRelu(nn.Module):
    """Convolution over time that keeps the length, batch normalisation, rectifier.

    Args:
        channels: of the input.
        filters: of the output, C.
        kernel: steps that one output sees.

    Shapes:
        x (B, channels, T), zero behind each end; valid (B, T) bool or none -> (B, filters, T).
    """

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        # Without a bias: the normalisation takes off what it would add.
        self.conv = nn.Conv1d(channels, filters, kernel, bias=False)
        self.norm = MaskedBatchNorm(filters)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, channels, T), (B, T) -> (B, filters, T)."""
        return F.relu(self.norm(same(self.conv, x), valid))


def same(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution that keeps the length: of an even kernel, the longer half lies ahead, as in Keras."""
    kernel = conv.kernel_size[0]
    before = (kernel - 1) // 2
    if kernel % 2:  # the convolution's own padding needs no copy
        return F.conv1d(x, conv.weight, conv.bias, padding=before)
    result: Tensor = conv(F.pad(x, (before, kernel - 1 - before)))
    return result


def channels_first(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """(B, T, C), (B,) -> (B, C, T), zero behind each end, and which steps are a sequence's own (B, T), none for all."""
    # On a GPU this look waits for it, once a batch; without it each normalisation would gather steps, and wait too.
    if lengths is None or bool((lengths == x.shape[1]).all()):
        return x.transpose(1, 2), None
    valid = inside(lengths, x.shape[1])
    return x.masked_fill(~valid[:, :, None], 0).transpose(1, 2), valid
