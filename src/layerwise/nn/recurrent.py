"""Recurrent layers: stacked, in one or both directions, over sequences of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from layerwise.nn.recurrent_cells import Activation, Kind, Weights, run


class Recurrent(nn.Module):
    """LSTM or GRU layers.

    The formulas are those of `torch.nn.LSTM` and `torch.nn.GRU`, and so Keras's (its GRU with `reset_after`). Weights
    start as Keras's do: Glorot for inputs, orthogonal for states, zero biases but 1 for an LSTM's forget gate (R.
    Jozefowicz et al., ICML 2015).

    Sequences are padded on the right and never packed: what lies behind an end cannot reach what is before it, so the
    outputs are exact, and whole batches go through one kernel. The other direction reads each sequence's own steps
    turned around, and is turned back.

    Dropout is variational: one mask for all steps (Y. Gal, Z. Ghahramani, arXiv 1512.05287), and for all gates (the
    paper's tied weights; Keras draws one for each gate).

    Args:
        kind: lstm or gru.
        inputs: width of the input, I.
        units: width of each layer, in order.
        bidirectional: each layer has two directions, whose outputs are joined.
        dropout: share of each layer's inputs dropped in training, a mask a sequence, the same for both directions.
        recurrent_dropout: share of the state dropped before its product in training.
        recurrent_mask: "shared": one mask for the batch, by which the weights are multiplied once a step, so that the
            fused kernel stays. "per_example": a mask a sequence, as Keras; another regulariser, and slow on a GPU.
        activation: of the candidate and, in an LSTM, of the cell's output; gates keep their sigmoid.

    Shapes:
        x (B, T, I), lengths (B,) from 1 to T or none -> outputs (B, T, D), zero behind a sequence's end, and last
        (B, D), the state after each direction has read the whole sequence; D = units[-1], twice that in two directions.
        x that is contiguous time first, (T, B, I) transposed, saves a copy.

    Example:
        >>> layer = Recurrent("lstm", 8, (16, 4), bidirectional=True, dropout=0.2)
        >>> outputs, last = layer(torch.zeros(2, 5, 8), torch.tensor([5, 3]))
        >>> outputs.shape, last.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        kind: Kind,
        inputs: int,
        units: Sequence[int],
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        recurrent_mask: Literal["shared", "per_example"] = "shared",
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        assert units, "at least one layer"
        assert 0 <= dropout < 1 and 0 <= recurrent_dropout < 1
        self.kind, self.activation = kind, activation
        self.dropout, self.recurrent_dropout, self.recurrent_mask = dropout, recurrent_dropout, recurrent_mask
        directions = 2 if bidirectional else 1
        widths = [inputs, *(width * directions for width in units)]
        self.layers = nn.ModuleList(
            nn.ModuleList(Direction(kind, before, width) for _ in range(directions))
            for before, width in zip(widths, units, strict=False)
        )
        self.features = widths[-1]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, I), (B,) -> (B, T, D), (B, D)."""
        x = x.transpose(0, 1)  # (T, B, I)
        padding = _padding(lengths, x.shape[0])
        read: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            x = torch.cat(read, dim=-1) if read else x
            x = x if (mask := self._mask(x, self.dropout, x.shape[1:])) is None else x * mask
            read = [self._read(layer[0], x, padding)]
            if len(layer) == 2:
                read.append(_turned(self._read(layer[1], _turned(x, padding), padding), padding))
        # A direction is through with a sequence at the sequence's end, the other one at its start.
        last = torch.cat([_last(read[0], padding), *(each[0] for each in read[1:])], dim=-1)  # (B, D)
        outputs = torch.cat(read, dim=-1)  # (T, B, D)
        if padding is not None:
            outputs = outputs.masked_fill(~padding.valid, 0)
        return outputs.transpose(0, 1), last

    def _read(self, direction: nn.Module, x: Tensor, padding: _Padding | None) -> Tensor:
        assert isinstance(direction, Direction)
        weights, valid = direction.weights(), None if padding is None else padding.valid
        shape = (x.shape[1] if self.recurrent_mask == "per_example" else 1, weights.hidden.shape[1])
        mask = self._mask(weights.hidden, self.recurrent_dropout, shape)
        if mask is not None and self.recurrent_mask == "shared":
            # (h * m) U = h (diag(m) U), once for all steps.
            weights, mask = replace(weights, hidden=weights.hidden * mask), None
        return run(self.kind, x, weights, mask=mask, activation=self.activation, valid=valid)

    def _mask(self, like: Tensor, share: float, shape: Sequence[int]) -> Tensor | None:
        """0 for the dropped share, and the others so that the mean stays 1."""
        if not self.training or share == 0:
            return None
        return like.new_empty(shape).bernoulli_(1 - share).div_(1 - share)


class Direction(nn.Module):
    """The weights of one direction of one layer, in torch's names, layout and order of rows.

    `weight_ih` (G * H, I), `weight_hh` (G * H, H), `bias_ih` (G * H,), and for a GRU `bias_hh` (G * H,); G is 4 for an
    LSTM and 3 for a GRU. An LSTM's second bias would only add to the first, and Keras has one too.

    Args:
        kind: lstm or gru.
        inputs: I.
        units: H.

    Example:
        >>> Direction("lstm", 3, 2).bias_ih.tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, kind: Kind, inputs: int, units: int) -> None:
        super().__init__()
        rows = (4 if kind == "lstm" else 3) * units
        self.weight_ih = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, inputs)))
        self.weight_hh = nn.Parameter(nn.init.orthogonal_(torch.empty(rows, units)))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows)) if kind == "gru" else None
        if kind == "lstm":
            nn.init.ones_(self.bias_ih.data[units : 2 * units])

    def weights(self) -> Weights:
        """As `run` takes them."""
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


@dataclass(frozen=True)
class _Padding:
    valid: Tensor  # (T, B, 1) bool, whether a step is its sequence's own
    ends: Tensor  # (B,) of the T * B rows, each sequence's last step
    turned: Tensor  # (T * B,) for each row, which row stands there when own steps are turned around; its own inverse


def _padding(lengths: Tensor | None, steps: int) -> _Padding | None:
    # On a GPU, looking at the lengths would wait for it.
    if lengths is None or (lengths.device.type == "cpu" and bool((lengths == steps).all())):
        return None
    sequences = torch.arange(len(lengths), device=lengths.device)
    time = torch.arange(steps, device=lengths.device)[:, None]  # (T, 1)
    valid = time < lengths  # (T, B)
    turned = torch.where(valid, lengths - 1 - time, time) * len(lengths) + sequences
    return _Padding(valid[:, :, None], (lengths - 1) * len(lengths) + sequences, turned.flatten())


def _last(outputs: Tensor, padding: _Padding | None) -> Tensor:
    """(T, B, H) -> (B, H)."""
    return outputs[-1] if padding is None else outputs.flatten(0, 1).index_select(0, padding.ends)


def _turned(x: Tensor, padding: _Padding | None) -> Tensor:
    """(T, B, F), each sequence's own steps in the other order."""
    if padding is None:
        return x.flip(0)
    turned: Tensor = _Permute.apply(x, padding.turned)
    return turned


class _Permute(torch.autograd.Function):
    """Rows in an order that is its own inverse: the gradient is ordered the same way, where autograd would scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return _ordered(x, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return _ordered(d, order), None


def _ordered(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, order).view_as(x)
