from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.errors import RecipeError, UsageError
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model
from layerwise.nn.masked import ConvNormRelu, MaskedBatchNorm, channels_first, same

TASK = "sequence-classification"
NAMES = list(TASK_MODELS[TASK])
SMALL: dict[str, dict[str, Any]] = {
    "fcn": {"filters": [8, 12, 8]},
    "inception-time": {"filters": 4, "bottleneck": 3},
    "lstm-fcn": {"filters": [8, 12, 8]},
}
CASES = [
    *((name, SMALL.get(name, {})) for name in NAMES),
    ("lstm-stack", {"pool": "attention"}),
    ("bilstm-stack", {"pool": "mean"}),
    ("lstm-fcn", {**SMALL["lstm-fcn"], "shuffle": False}),
    ("inception-time", {**SMALL["inception-time"], "depth": 2}),
]


def network(name: str, options: dict[str, Any], *, channels: int = 3, length: int = 12) -> nn.Module:
    torch.manual_seed(0)
    net = build_task_model(TASK, name, Sizes(inputs=channels, outputs=4, length=length), options)
    for module in net.modules():  # as after training: means and scales that are not 0 and 1
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_an_example_changes_nothing(name: str, options: dict[str, Any]) -> None:
    net = network(name, options).eval()
    x = torch.randn(5, 9, 3)
    lengths = torch.tensor([9, 1, 4, 9, 7])
    alone = torch.cat([net(x[row : row + 1, :length], None) for row, length in enumerate(lengths.tolist())])
    behind = torch.randn(5, 3, 3)  # what lies behind an end is not even looked at
    padded = torch.cat([x, behind], dim=1)
    torch.testing.assert_close(net(padded, lengths), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_a_batch_changes_no_gradient_in_training(name: str, options: dict[str, Any]) -> None:
    net = network(name, {**options, "dropout": 0.0}).train()
    x, lengths = torch.randn(4, 9, 3), torch.tensor([9, 2, 4, 7])
    found = []
    for inputs in (x, torch.cat([x, torch.randn(4, 3, 3)], dim=1)):
        net.zero_grad()
        net(inputs, lengths).square().sum().backward()
        found.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert len(found[0]) == len(list(net.parameters()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "steps"), [(1, 1), (1, 30), (7, 5)])
def test_any_number_of_channels_and_steps(name: str, channels: int, steps: int) -> None:
    net = network(name, SMALL.get(name, {}), channels=channels, length=steps)
    net(torch.randn(2, steps, channels), torch.tensor([steps, 1])).sum().backward()
    assert net.eval()(torch.randn(2, steps + 40, channels), None).shape == (2, 4), "longer than any in training"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_near(name: str, training: bool) -> None:
    net = network(name, {**SMALL.get(name, {}), "dropout": 0.0}).train(training)
    x, lengths = torch.randn(4, 9, 3), torch.tensor([9, 2, 4, 7])
    whole = net(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(x, lengths)
    half.float().sum().backward()
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_named(name: str) -> None:
    with pytest.raises(RecipeError, match="dropuot"):
        network(name, {"dropuot": 0.5})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fcn", {"filters": [8], "kernels": [3, 3]}),
        ("fcn", {"filters": []}),
        ("fcn", {"kernels": [0, 1, 2]}),
        ("inception-time", {"depth": 0}),
        ("lstm-stack", {"pool": "middle"}),
        ("lstm-stack", {"units": []}),
        ("gru-stack", {"recurrent_dropout": 1.0}),
    ],
)
def test_an_unusable_option_is_an_error(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        network(name, options)


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(UsageError, match='"inception-time"'):
        network("inception", {})


def test_the_stacks_are_those_of_the_course() -> None:
    """Weights as Keras counts them; its GRU has two biases as ours."""
    expected = {
        "lstm-stack": 4 * ((3 + 64 + 1) * 64 + (64 + 64 + 1) * 64 + (64 + 32 + 1) * 32) + 33 * 4,
        "gru-stack": 3 * ((3 + 64 + 2) * 64 + (64 + 64 + 2) * 64) + 65 * 4,
        "bilstm-stack": 2 * 4 * ((3 + 64 + 1) * 64 + (128 + 32 + 1) * 32) + 65 * 4,
    }
    for name, count in expected.items():
        assert sum(p.numel() for p in network(name, {}).parameters()) == count, name


def test_the_last_state_is_classified_by_default() -> None:
    net = network("lstm-stack", {}).eval()
    x = torch.randn(2, 6, 3)
    outputs, last = net.recurrent(x, None)  # type: ignore[operator]
    torch.testing.assert_close(net(x, None), net.linear(outputs[:, -1]))  # type: ignore[operator]
    torch.testing.assert_close(last, outputs[:, -1])


def test_fcn_is_written_as_the_paper_has_it() -> None:
    net = network("fcn", {}).eval()
    x = torch.randn(2, 20, 3)
    y = x.transpose(1, 2)
    for layer in net.body.layers:  # type: ignore[union-attr]
        kernel = layer.conv.weight.shape[2]
        y = F.conv1d(F.pad(y, ((kernel - 1) // 2, kernel // 2)), layer.conv.weight)
        y = F.relu(layer.norm.norm(y))
    torch.testing.assert_close(net(x, None), net.linear(y.mean(2)))  # type: ignore[operator]
    assert [tuple(layer.conv.weight.shape) for layer in net.body.layers] == [  # type: ignore[union-attr]
        (128, 3, 8),
        (256, 128, 5),
        (128, 256, 3),
    ]


def test_an_even_kernel_looks_further_ahead_as_in_keras() -> None:
    conv = nn.Conv1d(1, 1, 8, bias=False)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 20)
    x[0, 0, 10] = 1
    assert same(conv, x)[0, 0].nonzero().squeeze(1).tolist() == list(range(6, 14))  # 3 before, 4 ahead of each step


def test_masked_normalisation_is_that_of_the_steps_alone() -> None:
    torch.manual_seed(1)
    ours, plain = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    x = torch.randn(4, 5, 7, requires_grad=True)
    lengths = torch.tensor([7, 1, 3, 5])
    valid = torch.arange(7) < lengths[:, None]
    steps = x.detach().transpose(1, 2)[valid].requires_grad_()  # (n, 5)
    weight = torch.randn(4, 5, 7)
    for _ in range(2):
        given: Tensor = ours(x, valid)
        wanted = plain(steps)
    torch.testing.assert_close(given.transpose(1, 2)[valid], wanted)
    assert not given.transpose(1, 2)[~valid].any()
    (given * weight).sum().backward()
    (wanted * weight.transpose(1, 2)[valid]).sum().backward()
    assert x.grad is not None and steps.grad is not None
    torch.testing.assert_close(x.grad.transpose(1, 2)[valid], steps.grad)
    assert not x.grad.transpose(1, 2)[~valid].any()
    torch.testing.assert_close(dict(ours.norm.state_dict()), dict(plain.state_dict()))
    torch.testing.assert_close(ours.eval()(x, valid).transpose(1, 2)[valid], plain.eval()(steps))


def test_a_block_gives_zeros_behind_an_end() -> None:
    block = ConvNormRelu(2, 3, 4)
    x, valid = channels_first(torch.randn(2, 6, 2), torch.tensor([6, 2]))
    for mode in (True, False):
        assert not block.train(mode)(x, valid)[1, :, 2:].any()


def test_full_lengths_need_no_mask() -> None:
    assert channels_first(torch.zeros(2, 6, 2), torch.tensor([6, 6]))[1] is None
    assert channels_first(torch.zeros(2, 6, 2), None)[1] is None
