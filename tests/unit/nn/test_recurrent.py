from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.nn.recurrent import Recurrent
from layerwise.nn.recurrent_cells import Activation, Kind, Weights, run

B, T, F, H = 6, 9, 5, 4
LENGTHS = torch.tensor([9, 1, 4, 7, 9, 2])  # not sorted, as a batch comes


def torchs(kind: Kind, ours: Recurrent, units: int, **words: Any) -> nn.LSTM | nn.GRU:
    """torch's layer with our weights."""
    layer = (nn.LSTM if kind == "lstm" else nn.GRU)(F, units, batch_first=True, dtype=torch.float64, **words)
    state = layer.state_dict()
    for number, directions in enumerate(ours.layers):
        for suffix, direction in zip(("", "_reverse"), directions, strict=False):
            for name, value in direction.state_dict().items():
                state[f"{name}_l{number}{suffix}"].copy_(value)
            if kind == "lstm":
                state[f"bias_hh_l{number}{suffix}"].zero_()
    return layer


def randomised(layer: Recurrent) -> Recurrent:
    """Biases are drawn too, so that none of them can be forgotten."""
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    return layer


def close(ours: Tensor | None, theirs: Tensor | None, share: float) -> None:
    """The largest difference as a share of the largest value."""
    assert ours is not None and theirs is not None
    torch.testing.assert_close(
        ours.double(), theirs.double(), rtol=0, atol=share * max(1.0, float(theirs.detach().abs().max()))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_padding_with_a_mask_is_a_packed_sequence(
    kind: Kind, bidirectional: bool, layers: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    ours = randomised(Recurrent(kind, F, [H] * layers, bidirectional=bidirectional)).to(dtype)
    theirs = torchs(kind, ours, H, num_layers=layers, bidirectional=bidirectional)
    x = torch.randn(B, T, F, dtype=dtype, requires_grad=True)
    y = x.detach().double().requires_grad_()

    outputs, last = ours(x, LENGTHS)
    packed = nn.utils.rnn.pack_padded_sequence(y, LENGTHS, batch_first=True, enforce_sorted=False)
    packed, state = theirs(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    final = (state[0] if kind == "lstm" else state)[-(2 if bidirectional else 1) :].transpose(0, 1).flatten(1)
    close(outputs, expected, 1e-6)
    close(last, final, 1e-6)

    d_outputs, d_last = torch.randn_like(expected), torch.randn_like(final)
    ((outputs * d_outputs).sum() + (last * d_last).sum()).backward()
    ((expected * d_outputs).sum() + (final * d_last).sum()).backward()
    close(x.grad, y.grad, 1e-6)
    for number, directions in enumerate(ours.layers):
        for suffix, direction in zip(("", "_reverse"), directions, strict=False):
            for name, parameter in direction.named_parameters():
                close(parameter.grad, theirs.get_parameter(f"{name}_l{number}{suffix}").grad, 1e-6)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_units_differ_by_layer_and_directions_are_joined(kind: Kind) -> None:
    torch.manual_seed(0)
    layer = Recurrent(kind, F, (8, 6, 3), bidirectional=True)
    outputs, last = layer(torch.randn(B, T, F))
    assert outputs.shape == (B, T, 6) and last.shape == (B, 6) and layer.features == 6
    torch.testing.assert_close(last, torch.cat([outputs[:, -1, :3], outputs[:, 0, 3:]], dim=1))


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_what_lies_behind_an_end_changes_nothing_and_gets_no_gradient(
    kind: Kind, activation: Activation, bidirectional: bool
) -> None:
    torch.manual_seed(0)
    layer = Recurrent(kind, F, (H, 3), bidirectional=bidirectional, activation=activation)
    behind = torch.arange(T) >= LENGTHS[:, None]
    x = torch.randn(B, T, F)
    other = x.clone()
    other[behind] = 50.0
    other.requires_grad_()
    (outputs, last), (same, same_last) = layer(x, LENGTHS), layer(other, LENGTHS)
    assert torch.equal(outputs, same) and torch.equal(last, same_last)
    assert not outputs[behind].any() and outputs[~behind].any()
    (same.sum() + same_last.sum()).backward()
    assert other.grad is not None and not other.grad[behind].any() and other.grad[~behind].any()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_state_that_grows_without_bound_over_padding_harms_nothing(kind: Kind) -> None:
    torch.manual_seed(0)
    layer = Recurrent(kind, 1, (2,), activation="relu")
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 3.0)
    outputs, last = layer(torch.ones(2, 600, 1), torch.tensor([3, 1]))
    (outputs.sum() + last.sum()).backward()
    assert torch.isfinite(outputs).all() and all(
        p.grad is not None and p.grad.isfinite().all() for p in layer.parameters()
    )


def drawn(kind: Kind, dtype: torch.dtype = torch.float64, units: int = H) -> Weights:
    rows = (4 if kind == "lstm" else 3) * units
    draw = [
        torch.randn(shape, dtype=dtype).mul(0.7).requires_grad_() for shape in ((rows, F), (rows, units), rows, rows)
    ]
    return Weights(draw[0], draw[1], draw[2], draw[3] if kind == "gru" else None)


def written_out(kind: Kind, x: np.ndarray, weights: Weights, mask: np.ndarray, relu: bool) -> np.ndarray:
    """The formulas, step by step; recurrent dropout as Keras applies it, to the state before its product."""

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    def act(a: np.ndarray) -> np.ndarray:
        return np.maximum(a, 0) if relu else np.tanh(a)

    W, U, b = (weight.detach().numpy() for weight in (weights.inputs, weights.hidden, weights.bias))
    h = c = np.zeros(mask.shape)
    found = []
    for x_t in x:
        if kind == "lstm":
            i, f, g, o = np.split(x_t @ W.T + b + (h * mask) @ U.T, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * act(g)
            h = sigmoid(o) * act(c)
        else:
            assert weights.hidden_bias is not None
            r, z, n = np.split(x_t @ W.T + b, 3, axis=1)
            r_h, z_h, n_h = np.split((h * mask) @ U.T + weights.hidden_bias.detach().numpy(), 3, axis=1)
            r, z = sigmoid(r + r_h), sigmoid(z + z_h)
            h = z * h + (1 - z) * act(n + r * n_h)
        found.append(h)
    return np.stack(found)


WAYS = list(itertools.product(["lstm", "gru"], ["tanh", "relu"], [False, True]))


@pytest.mark.parametrize(("kind", "activation", "masked"), WAYS)
def test_every_way_of_reading_is_the_written_out_formula(kind: Kind, activation: Activation, masked: bool) -> None:
    torch.manual_seed(1)
    x, weights = torch.randn(T, B, F, dtype=torch.float64), drawn(kind)
    mask = torch.bernoulli(torch.full((B, H), 0.6, dtype=torch.float64)) / 0.6
    found = run(kind, x, weights, mask=mask if masked else None, activation=activation, valid=None)
    factor = mask.numpy() if masked else np.ones((B, H))
    expected = written_out(kind, x.numpy(), weights, factor, activation == "relu")
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kind", "activation", "masked"), WAYS)
@pytest.mark.parametrize("steps", [1, 4])
def test_gradients_are_the_numerical_ones(kind: Kind, activation: Activation, masked: bool, steps: int) -> None:
    torch.manual_seed(2)
    weights = drawn(kind, units=3)
    x = torch.randn(steps, 2, F, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[0.0, 1.5, 1.5], [1.5, 1.5, 0.0]], dtype=torch.float64) if masked else None
    valid = torch.tensor([[True, True], *[[True, False]] * (steps - 1)])[:, :, None]
    given = [weights.inputs, weights.hidden, weights.bias]
    given += [] if weights.hidden_bias is None else [weights.hidden_bias]

    def read(x: Tensor, *weights: Tensor) -> Tensor:
        outputs = run(kind, x, Weights(*weights), mask=mask, activation=activation, valid=valid)
        return outputs.masked_fill(~valid, 0)

    assert torch.autograd.gradcheck(read, (x, *given))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_shared_mask_is_the_same_mask_for_every_example(kind: Kind) -> None:
    torch.manual_seed(3)
    x, weights, mask = torch.randn(T, B, F), drawn(kind, torch.float32), torch.tensor([0.0, 1.25, 1.25, 1.25])
    scaled = Weights(weights.inputs, weights.hidden * mask, weights.bias, weights.hidden_bias)
    shared = run(kind, x, scaled, mask=None, activation="tanh", valid=None)
    each = run(kind, x, weights, mask=mask.expand(B, H), activation="tanh", valid=None)
    torch.testing.assert_close(shared, each, rtol=0, atol=1e-6)


def test_inputs_are_dropped_by_one_mask_a_sequence_and_only_in_training() -> None:
    torch.manual_seed(4)
    layer = Recurrent("gru", 40, (H,), dropout=0.5)
    x = torch.randn(B, T, 40, requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad is not None
    dropped = x.grad == 0  # (B, T, 40)
    assert torch.equal(dropped.any(1), dropped.all(1)), "the same inputs at every step"
    assert not torch.equal(dropped[0], dropped[1]), "not the same inputs in every sequence"
    assert 0.4 < float(dropped[:, 0].float().mean()) < 0.6
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("mode", ["shared", "per_example"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_dropout_drops_states_before_their_product(kind: Kind, mode: Any) -> None:
    torch.manual_seed(5)
    layer = Recurrent(kind, F, (60,), recurrent_dropout=0.25, recurrent_mask=mode)
    [[direction]] = layer.layers  # type: ignore[misc]
    x = torch.randn(1, T, F)
    layer(x)[0].sum().backward()
    unused = (direction.weight_hh.grad == 0).all(0)  # with one sequence, a dropped unit's column has no gradient
    assert 4 < int(unused.sum()) < 26
    outputs = layer(torch.randn(1, T, F).expand(2, T, F))[0]
    assert torch.equal(outputs[0], outputs[1]) == (mode == "shared")
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_dropout_keeps_the_mean_of_what_is_dropped() -> None:
    torch.manual_seed(6)
    layer = Recurrent("lstm", F, (H,), dropout=0.2)
    mask = layer._mask(torch.zeros(1), 0.2, (100, 1000))
    assert mask is not None and sorted(mask.unique().tolist()) == pytest.approx([0, 1.25])
    assert float(mask.mean()) == pytest.approx(1, abs=0.01)


def test_weights_start_as_keras_starts_them() -> None:
    torch.manual_seed(7)
    layer = Recurrent("lstm", 20, (8,))
    [[direction]] = layer.layers  # type: ignore[misc]
    assert direction.bias_ih.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    torch.testing.assert_close(direction.weight_hh.T @ direction.weight_hh, torch.eye(8), rtol=0, atol=1e-5)
    limit = math.sqrt(6 / (20 + 32))
    assert limit * 0.9 < float(direction.weight_ih.detach().abs().max()) <= limit


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradients_of_a_network_that_is_evaluated(kind: Kind) -> None:
    torch.manual_seed(8)
    layer = Recurrent(kind, F, (H,), dropout=0.5, recurrent_dropout=0.5).eval()
    x = torch.randn(B, T, F, requires_grad=True)
    layer(x)[1].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    with torch.inference_mode():
        torch.testing.assert_close(layer(x)[1], layer(x.detach())[1])


@pytest.mark.parametrize("mode", ["shared", "per_example"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_bfloat16_products_stay_close(kind: Kind, mode: Any) -> None:
    torch.manual_seed(9)
    layer = Recurrent(
        kind, F, (H, H), bidirectional=True, dropout=0.2, recurrent_dropout=0.2, recurrent_mask=mode
    ).eval()
    x = torch.randn(B, T, F)
    expected = layer(x, LENGTHS)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x, LENGTHS)[0].float(), expected, rtol=0, atol=0.03)
        _, last = layer.train()(x, LENGTHS)
    last.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_time_first_and_batch_first_inputs_give_the_same() -> None:
    torch.manual_seed(10)
    layer = Recurrent("gru", F, (H,))
    x = torch.randn(B, T, F)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(layer(x, LENGTHS)[0], layer(turned, LENGTHS)[0])


def numbers(*shape: int) -> np.ndarray:
    """Fixed values between -1 and 1."""
    return ((np.arange(math.prod(shape)) * 7 % 11 - 5) / 5).reshape(shape).astype(np.float32)


def ours_from_keras(kind: Kind, values: list[np.ndarray]) -> Weights:
    """Keras's kernel (I, G * H), recurrent kernel (H, G * H) and bias, whose GRU has z before r."""
    width = values[1].shape[0]
    order = np.arange(len(values[1][0]))
    if kind == "gru":
        order = np.concatenate([order[width : 2 * width], order[:width], order[2 * width :]])
    kernel, recurrent, bias = (torch.from_numpy(np.ascontiguousarray(value.T[order])) for value in values)
    return Weights(kernel, recurrent, *([bias] if kind == "lstm" else [bias[:, 0], bias[:, 1]]))


# What Keras 3.15.1 gives for the numbers above with the mask below, B = T = I = H = 2.
KERAS = {
    "lstm": [[0.039897, -0.046053], [0.096027, -0.235662], [0.0, -0.109133], [0.033784, -0.294526]],
    "gru": [[-0.03161, -0.399974], [-0.055204, -0.623795], [0.204609, -0.278995], [0.325078, -0.47145]],
}
MASK = np.array([[0, 2], [2, 2]], np.float32)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_dropout_with_a_fixed_mask_is_what_keras_gave(kind: Kind) -> None:
    gates = 4 if kind == "lstm" else 3
    bias = numbers(gates * 2) if kind == "lstm" else numbers(2, gates * 2)
    weights = ours_from_keras(kind, [numbers(2, gates * 2), numbers(2, gates * 2), bias])
    x = torch.from_numpy(numbers(2, 2, 2)).transpose(0, 1)
    found = run(kind, x, weights, mask=torch.from_numpy(MASK), activation="tanh", valid=None).transpose(0, 1)
    np.testing.assert_allclose(found.numpy().reshape(4, 2), KERAS[kind], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_dropout_with_a_fixed_mask_is_that_of_keras(
    kind: Kind, activation: Activation, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed: its stored figures above stand in for it")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = importlib.import_module("keras")
    gates, words = (4, {}) if kind == "lstm" else (3, {"reset_after": True})
    made = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[kind]
    layer = made(H, recurrent_dropout=0.4, return_sequences=True, activation=activation, **words)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(B, T, F)).astype(np.float32)
    layer.build(x.shape)
    values = [draw.normal(size=value.shape).astype(np.float32) * 0.3 for value in layer.get_weights()]
    layer.set_weights(values)
    mask = torch.bernoulli(torch.full((B, H), 0.6)) / 0.6
    # Keras draws a mask for each gate; ours are the same for all.
    monkeypatch.setattr(layer.cell, "get_recurrent_dropout_mask", lambda state: [mask] * gates)
    expected = layer(x, training=True).detach()
    weights = ours_from_keras(kind, values)
    found = run(kind, torch.from_numpy(x).transpose(0, 1), weights, mask=mask, activation=activation, valid=None)
    torch.testing.assert_close(found.transpose(0, 1), expected.cpu(), rtol=0, atol=1e-5)
