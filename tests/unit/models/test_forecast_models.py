"""Forecasting networks: what they start as, what they count, and that each sees the whole window."""

from __future__ import annotations

import pytest
import torch

from layerwise.errors import RecipeError
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model
from layerwise.models.forecast_levels import LEVELS
from layerwise.models.forecast_linear import ForecastLinear
from layerwise.models.forecast_mean import ForecastMean
from layerwise.models.forecast_recurrent import ForecastRecurrent
from layerwise.models.forecast_tutorial import ForecastTutorial

SIZES = Sizes(inputs=1, outputs=5, length=12)


def windows(count: int = 3, length: int = 12) -> torch.Tensor:
    return torch.randn(count, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list(TASK_MODELS["forecast"]))
def test_every_network_gives_all_steps(name: str) -> None:
    network = build_task_model("forecast", name, SIZES, {})
    answer = network.eval()(windows())
    assert answer.shape == (3, 5, 1 if name == "lstm-tutorial" else len(LEVELS))
    assert torch.isfinite(answer).all()


@pytest.mark.parametrize("name", list(TASK_MODELS["forecast"]))
def test_an_option_that_no_network_knows_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="uints"):
        build_task_model("forecast", name, SIZES, {"uints": [8]})


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("season", "horizon"), [(4, 3), (4, 4), (4, 9), (12, 5)])
def test_an_untrained_recurrent_network_is_the_seasonal_naive_forecast(kind: str, season: int, horizon: int) -> None:
    network = build_task_model("forecast", kind, Sizes(1, horizon, 12), {"season": season})
    x = windows()
    last = x[:, -season:]
    expected = torch.cat([last] * 3, dim=1)[:, :horizon]
    answer = network.eval()(x)
    assert all(torch.equal(answer[..., place], expected) for place in range(len(LEVELS)))


def test_a_season_longer_than_the_window_repeats_the_last_value() -> None:
    network = build_task_model("forecast", "lstm", SIZES, {"season": 24})
    x = windows()
    assert torch.equal(network.eval()(x)[..., 4], x[:, -1:].expand(-1, 5))


def test_the_quantiles_of_a_trained_network_do_not_cross() -> None:
    network = ForecastRecurrent("gru", (8,), season=4, segment=4, dropout=0.0, length=12, horizon=5)
    torch.nn.init.normal_(network.head.weight)
    answer = network.eval()(windows(50))
    assert (answer.diff(dim=-1) >= 0).all() and (answer.diff(dim=-1) > 0).any()


@pytest.mark.parametrize("segment", [1, 4, 5, 12, 40])
def test_every_step_of_the_window_counts_whatever_the_segment(segment: int) -> None:
    torch.manual_seed(1)
    network = ForecastRecurrent("lstm", (8,), season=4, segment=segment, dropout=0.0, length=12, horizon=5).double()
    torch.nn.init.normal_(network.head.weight)
    x = windows(1).double().requires_grad_()
    network.eval()(x).square().sum().backward()
    assert x.grad is not None and (x.grad != 0).all()


def test_the_tutorial_counts_what_keras_counts() -> None:
    network = build_task_model("forecast", "lstm-tutorial", SIZES, {})
    assert isinstance(network, ForecastTutorial) and network.window == 10
    assert sum(p.numel() for p in network.parameters()) == 4 * (50 * (1 + 50) + 50) + 51


def test_the_tutorial_reads_its_own_answers_and_the_last_ten_values() -> None:
    torch.manual_seed(0)
    network = ForecastTutorial(50, 10, 3).eval()
    x = windows()
    first = network(x, steps=1)[..., 0]  # (B, 1)
    second = network(torch.cat([x, first], dim=1), steps=1)[..., 0]
    torch.testing.assert_close(network(x)[:, :2, 0], torch.cat([first, second], dim=1))
    torch.testing.assert_close(network(x[:, 2:]), network(x))


def test_the_linear_network_is_its_equation() -> None:
    network = ForecastLinear(12, 5)
    for tensor in (network.weight, network.bias, network.offsets):
        torch.nn.init.normal_(tensor)
    x = windows()
    last = x[:, -1:]
    point = last + (x - last) @ network.weight + network.bias
    torch.testing.assert_close(network(x), point[..., None] + network.offsets)
    assert not any(tensor.requires_grad for tensor in network.parameters())  # found, not trained


def test_a_mean_is_the_mean_also_with_a_network_of_one_value() -> None:
    torch.manual_seed(0)
    linear, tutorial = ForecastLinear(12, 5), ForecastTutorial(4, 10, 5)
    torch.nn.init.normal_(linear.offsets)
    mean = ForecastMean({"linear": linear, "lstm-tutorial": tutorial}).eval()
    x = windows()
    torch.testing.assert_close(mean(x), (linear(x) + tutorial(x)) / 2)
    assert "networks.linear.weight" in mean.state_dict()
