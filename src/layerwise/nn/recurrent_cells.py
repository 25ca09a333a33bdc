"""LSTM and GRU over a whole sequence, one direction, one layer: the fused kernels and the time loops behind one call.

Letters: T steps, B sequences, I inputs, H units, K steps of a chunk. Everything here is time first, (T, B, ...), as the
values of a step then lie together. Rows of the weights are torch's: i, f, g, o for an LSTM; r, z, n for a GRU.

The loops are written for a CPU, where a step's arithmetic takes hardly longer than starting its operations. A chunk of
steps is small enough for a core's cache: its product with the input, its derivatives and its share of the weights'
gradients are computed at once, and what is left in a step is five to eight operations forward and four to seven back,
in buffers that are allocated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Kind = Literal["lstm", "gru"]
Activation = Literal["tanh", "relu"]

# What autograd computes from a function's output y in one pass: d * y * (1 - y), d * (1 - y * y), d * (y > 0).
_through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input
_through_tanh = torch.ops.aten.tanh_backward.grad_input
_through_relu = torch.ops.aten.threshold_backward.grad_input


@dataclass(frozen=True)
class Weights:
    """The weights of one direction of one layer; G is 4 for an LSTM and 3 for a GRU.

    Args:
        inputs: (G * H, I).
        hidden: (G * H, H).
        bias: (G * H,), beside the input's product.
        hidden_bias: (G * H,), beside the state's product, of a GRU; an LSTM's would only add to `bias`.
    """

    inputs: Tensor
    hidden: Tensor
    bias: Tensor
    hidden_bias: Tensor | None = None


def run(
    kind: Kind, x: Tensor, weights: Weights, *, mask: Tensor | None, activation: Activation, valid: Tensor | None
) -> Tensor:
    """Read a sequence forwards, from a state of zeros.

    LSTM (S. Hochreiter, J. Schmidhuber, 1997, with the forget gate of F. Gers et al., 2000), a = activation:
    i, f, o = sigmoid(.), g = a(.) of W x + b + U (m * h);  c = f * c + i * g;  h = o * a(c).

    GRU (K. Cho et al., arXiv 1406.1078, in the form of cuDNN, which Keras calls `reset_after`):
    r, z = sigmoid(W x + b + U (m * h) + b');  n = a(W x + b + r * (U (m * h) + b'));  h = (1 - z) * n + z * h.

    Args:
        kind: lstm or gru.
        x: (T, B, I).
        weights: of this direction.
        mask: m, (B, H), what the state is multiplied by before its product; none for ones.
        activation: a, of the candidate and, in an LSTM, of the cell's output.
        valid: (T, B, 1) bool, which steps are a sequence's own; all others come behind them. None: all.

    Returns:
        (T, B, H), h after every step; finite, and of no meaning, where a step is not valid.
    """
    if mask is None and activation == "tanh" and (kind == "lstm" or x.is_cuda):
        return _fused(kind, x, weights)
    relu = activation == "relu"
    # Only relu sets no bound to h: over padding it could grow past the largest number, whose gradient is not even 0.
    how = _How(mask, relu, valid if relu else None)
    outputs: Tensor
    if weights.hidden_bias is None:
        outputs = _LSTM.apply(x, weights.inputs, weights.hidden, weights.bias, how)
    else:
        outputs = _GRU.apply(x, weights.inputs, weights.hidden, weights.bias, weights.hidden_bias, how)
    return outputs


def _fused(kind: Kind, x: Tensor, weights: Weights) -> Tensor:
    """oneDNN's kernel for an LSTM on a CPU, cuDNN's on a GPU."""
    second = torch.zeros_like(weights.bias) if weights.hidden_bias is None else weights.hidden_bias
    flat = [weights.inputs, weights.hidden, weights.bias, second]
    if x.is_cuda:
        # cuDNN wants its weights in one piece, and would copy them there at every call, with a warning.
        piece = torch.cat([weight.flatten() for weight in flat])
        pieces = torch.split_with_sizes(piece, [weight.numel() for weight in flat])
        flat = [piece.view_as(weight) for piece, weight in zip(pieces, flat, strict=True)]
    state = x.new_zeros(1, x.shape[1], weights.hidden.shape[1])
    # "train" keeps what a backward pass needs, also in a network that is evaluated (attributions ask for gradients).
    train = torch.is_grad_enabled()
    if kind == "lstm":
        return torch.lstm(x, (state, state), flat, True, 1, 0.0, train, False, False)[0]
    return torch.gru(x, state, flat, True, 1, 0.0, train, False, False)[0]


@dataclass(frozen=True)
class _How:
    mask: Tensor | None  # (B, H)
    relu: bool
    valid: Tensor | None  # (T, B, 1)

    def masked(self, states: Tensor) -> Tensor:
        """m * h of (..., B, H)."""
        return states if self.mask is None else torch.mul(states, self.mask)

    def activate(self, x: Tensor, out: Tensor) -> None:
        """a(x)."""
        if self.relu:
            torch.clamp_min(x, 0, out=out)
        else:
            torch.tanh(x, out=out)

    def through(self, d: Tensor, y: Tensor, out: Tensor) -> None:
        """d * a'(x) where y = a(x)."""
        if self.relu:
            _through_relu(d, y, 0, grad_input=out)
        else:
            _through_tanh(d, y, grad_input=out)

    def start(self, x: Tensor, weight: Tensor, bias: Tensor, rest: Tensor, *, steps: slice, out: Tensor) -> None:
        """W x + b of some steps into `out` (T, B, G * H); `rest` (G * H,) behind a sequence's end."""
        some = out[steps]
        torch.addmm(bias, x[steps].flatten(0, 1), weight.t(), out=some.flatten(0, 1))
        if self.valid is not None:
            torch.where(self.valid[steps], some, rest, out=some)


class _Gradients:
    """Gradients of what takes part in matrix products, summed over the chunks.

    Args:
        x: (T, B, I).
        inputs: (G * H, I).
        hidden: (G * H, H).
        wanted: whether the gradient of x is.
    """

    def __init__(self, x: Tensor, inputs: Tensor, hidden: Tensor, *, wanted: bool) -> None:
        self._x, self._weight = x, inputs
        self.x = torch.empty_like(x) if wanted else None
        self.inputs, self.hidden = torch.zeros_like(inputs), torch.zeros_like(hidden)

    def add(self, steps: slice, d_sums: Tensor, d_hidden: Tensor, states: Tensor) -> None:
        """A chunk's: of the sums (K * B, G * H) by the input and by the state, and m * h before each step (K, B, H)."""
        self.hidden.addmm_(d_hidden.t(), states.flatten(0, 1))
        self.inputs.addmm_(d_sums.t(), self._x[steps].flatten(0, 1))
        if self.x is not None:
            torch.mm(d_sums, self._weight, out=self.x[steps].flatten(0, 1))


def _chunk(T: int, B: int, H: int) -> int:
    """K: rows enough that a matrix product is worth its start, values enough for two threads (a grain is 32,768)."""
    return min(T, max(512 // B, 65_536 // (B * H), 1))


def _parts(rows: Tensor, count: int) -> tuple[Tensor, ...]:
    """(..., count * H) -> count views (..., H)."""
    return rows.view(*rows.shape[:-1], count, -1).unbind(-2)


class _LSTM(torch.autograd.Function):
    """x (T, B, I), weights (4H, I), (4H, H), (4H,) -> h (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inputs: Tensor, hidden: Tensor, bias: Tensor, how: _How) -> Tensor:
        x = x.to(hidden.dtype).contiguous()
        (T, B, _), H = x.shape, hidden.shape[1]
        gates = x.new_empty(T, B, 4 * H)  # W x + b, then i, f, (unused), o
        candidates, squashed = x.new_empty(2, T, B, H).unbind()  # g; a(c)
        cells, outputs = x.new_zeros(2, T + 1, B, H).unbind()  # row 0: the state before the first step
        rest = x.new_full((4 * H,), -torch.inf)  # i, f and o of 0 clear the state
        rest[2 * H : 3 * H] = 0
        across = hidden.t().contiguous()  # a quarter faster in small products than the view
        gate, kept = x.new_empty(B, 4 * H), x.new_zeros(B, H)  # a step's sums; m * h
        i, f, g, o = _parts(gate, 4)
        steps = list(zip(gates, candidates, squashed, strict=True))
        c, h, chunk = cells.unbind(), outputs.unbind(), _chunk(T, B, H)
        for t, (first, candidate, a_c) in enumerate(steps):
            if t % chunk == 0:
                how.start(x, inputs, bias, rest, steps=slice(t, t + chunk), out=gates)
            torch.addmm(first, kept, across, out=gate)
            how.activate(g, out=candidate)
            gate.sigmoid_()  # one pass over the whole row is cheaper than two that leave g out
            torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, candidate)
            how.activate(c[t + 1], out=a_c)
            torch.mul(o, a_c, out=h[t + 1])
            kept = h[t + 1] if how.mask is None else torch.mul(h[t + 1], how.mask, out=kept)
            first.copy_(gate)
        ctx.how = how
        ctx.save_for_backward(x, inputs, hidden, gates, candidates, cells, squashed, outputs)
        return outputs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None]:
        x, inputs, hidden, gates, candidates, cells, squashed, outputs = ctx.saved_tensors
        how: _How = ctx.how
        (T, B, H), chunk = squashed.shape, _chunk(*squashed.shape)
        i, f, _, o = _parts(gates, 4)
        found = _Gradients(x, inputs, hidden, wanted=ctx.needs_input_grad[0])
        d_bias = torch.zeros_like(hidden[:, 0])
        # Of a chunk: what the gradients of h and of c are multiplied by, and the gradients of the sums.
        by_h, by_c, d = x.new_empty(chunk, B, 2, H), x.new_empty(chunk, B, 3, H), x.new_empty(chunk, B, 4, H)
        to_o, to_c, to_three = by_h[:, :, 0].unbind(), by_h[:, :, 1].unbind(), by_c.unbind()
        sums, d_three, d_o = d.flatten(2).unbind(), d[:, :, :3].unbind(), d[:, :, 3].unbind()
        d_h, d_c, back, later = x.new_empty(B, H), x.new_zeros(B, H), x.new_empty(B, H), torch.zeros_like(gates[0])
        d_c_wide, forget, outer = d_c.unsqueeze(1), f.unbind(), d_outputs.unbind()
        for end in range(T, 0, -chunk):
            some = slice(max(0, end - chunk), end)
            first, count = some.start, end - some.start
            kept = [part[some] for part in (i, f, o, candidates, cells, squashed)]
            _lstm_derivatives(how, kept, by_h[:count], by_c[:count])
            for t in range(end - 1, first - 1, -1):
                k = t - first
                if how.mask is None:
                    torch.addmm(outer[t], later, hidden, out=d_h)
                else:
                    torch.addcmul(outer[t], torch.mm(later, hidden, out=back), how.mask, out=d_h)
                torch.mul(d_h, to_o[k], out=d_o[k])
                d_c.addcmul_(d_h, to_c[k])
                torch.mul(d_c_wide, to_three[k], out=d_three[k])
                d_c.mul_(forget[t])
                later = sums[k]
            rows = d[:count].view(count * B, 4 * H)
            found.add(some, rows, rows, how.masked(outputs[some]))
            d_bias += rows.sum(0)
        return found.x, found.inputs, found.hidden, d_bias, None


def _lstm_derivatives(how: _How, kept: Sequence[Tensor], by_h: Tensor, by_c: Tensor) -> None:
    """Of a chunk: by h of o's sum and of c, (K, B, 2, H); by c of the sums of i, f and g, (K, B, 3, H)."""
    i, f, o, candidates, cells, squashed = kept
    _through_sigmoid(squashed, o, grad_input=by_h[:, :, 0])
    how.through(o, squashed, out=by_h[:, :, 1])
    _through_sigmoid(candidates, i, grad_input=by_c[:, :, 0])
    _through_sigmoid(cells, f, grad_input=by_c[:, :, 1])
    how.through(i, candidates, out=by_c[:, :, 2])


class _GRU(torch.autograd.Function):
    """x (T, B, I), weights (3H, I), (3H, H), biases (3H,), (3H,) -> h (T, B, H).

    With s = W x + b + U (m * h) + b' and v = W x + b of n's rows, n = a(v + r * (s - v)): one sum for all gates.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, inputs: Tensor, hidden: Tensor, bias: Tensor, hidden_bias: Tensor, how: _How
    ) -> Tensor:
        x = x.to(hidden.dtype).contiguous()
        (T, B, _), H = x.shape, hidden.shape[1]
        gates = x.new_empty(T, B, 3 * H)  # W x + b + b', then r, z, s
        plain, candidates = x.new_empty(2, T, B, H).unbind()  # v; n
        outputs = x.new_zeros(T + 1, B, H)  # row 0: the state before the first step
        rest = x.new_zeros(3 * H)
        rest[H : 2 * H] = torch.inf  # z of 1 keeps the state
        across, both = hidden.t().contiguous(), bias + hidden_bias
        gate, kept = x.new_empty(B, 3 * H), x.new_zeros(B, H)  # a step's sums; m * h
        (r, z, s), r_z = _parts(gate, 3), gate[:, : 2 * H]
        steps = list(zip(gates, plain, candidates, strict=True))
        h, chunk = outputs.unbind(), _chunk(T, B, H)
        for t, (first, v, n) in enumerate(steps):
            if t % chunk == 0:
                some = slice(t, t + chunk)
                how.start(x, inputs, both, rest, steps=some, out=gates)
                torch.sub(gates[some, :, 2 * H :], hidden_bias[2 * H :], out=plain[some])
            torch.addmm(first, kept, across, out=gate)
            r_z.sigmoid_()
            how.activate(torch.lerp(v, s, r, out=n), out=n)
            torch.lerp(n, h[t], z, out=h[t + 1])
            kept = h[t + 1] if how.mask is None else torch.mul(h[t + 1], how.mask, out=kept)
            first.copy_(gate)
        ctx.how = how
        ctx.save_for_backward(x, inputs, hidden, gates, plain, candidates, outputs)
        return outputs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, None]:
        x, inputs, hidden, gates, plain, candidates, outputs = ctx.saved_tensors
        how: _How = ctx.how
        (T, B, H), chunk = candidates.shape, _chunk(*candidates.shape)
        r, z, s = _parts(gates, 3)
        # Four blocks of sums: U_n's, r's, z's, v's. The first three go through U, whose rows are turned to n, r, z for
        # it, and the last three through W.
        turned = hidden.roll(H, 0)
        found = _Gradients(x, inputs, hidden, wanted=ctx.needs_input_grad[0])
        d_bias = x.new_zeros(4 * H)
        by_h, d, d_h = x.new_empty(chunk, B, 4, H), x.new_empty(chunk, B, 4, H), x.new_zeros(chunk, B, H)
        to_three, d_three, sums = by_h[:, :, :3].unbind(), d[:, :, :3].unbind(), d[:, :, :3].flatten(2).unbind()
        state, wide, update, outer = d_h.unbind(), d_h.unsqueeze(2).unbind(), z.unbind(), d_outputs.unbind()
        d_next, later, z_next, back = state[0], x.new_zeros(B, 3 * H), update[0], x.new_empty(B, H)
        for end in range(T, 0, -chunk):
            some = slice(max(0, end - chunk), end)
            first, count = some.start, end - some.start
            _gru_derivatives(how, [part[some] for part in (r, z, s, plain, candidates, outputs)], by_h[:count])
            for t in range(end - 1, first - 1, -1):
                k = t - first
                torch.addcmul(outer[t], d_next, z_next, out=state[k])
                if how.mask is None:
                    state[k].addmm_(later, turned)
                else:
                    state[k].addcmul_(torch.mm(later, turned, out=back), how.mask)
                torch.mul(wide[k], to_three[k], out=d_three[k])
                d_next, later, z_next = state[k], sums[k], update[t]
            torch.mul(d_h[:count], by_h[:count, :, 3], out=d[:count, :, 3])
            rows = d[:count].view(count * B, 4 * H)
            found.add(some, rows[:, H:], rows[:, : 3 * H], how.masked(outputs[some]))
            d_bias += rows.sum(0)
        return found.x, found.inputs, found.hidden.roll(-H, 0), d_bias[H:], d_bias[: 3 * H].roll(-H, 0), None


def _gru_derivatives(how: _How, kept: Sequence[Tensor], by_h: Tensor) -> None:
    """Of a chunk, by h of the four blocks of sums: (K, B, 4, H)."""
    r, z, s, plain, candidates, before = kept
    u_n, to_r, to_z, to_v = by_h.unbind(2)
    how.through(1 - z, candidates, out=to_v)
    torch.mul(to_v, r, out=u_n)
    _through_sigmoid((s - plain).mul_(to_v), r, grad_input=to_r)
    _through_sigmoid(before - candidates, z, grad_input=to_z)
