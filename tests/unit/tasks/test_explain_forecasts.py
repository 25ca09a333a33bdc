"""Why a forecast is as high as it is: parts that add up, in the unit of the data."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from layerwise.console import Silent
from layerwise.data.windows import Values
from layerwise.device import pick
from layerwise.errors import UsageError
from layerwise.models.forecast_linear import ForecastLinear
from layerwise.tasks import forecast_data
from layerwise.tasks.cards import new_card
from layerwise.tasks.explanation import ExplainRecipe
from layerwise.tasks.forecast_explain import EXACT, INTEGRATED, explain, explain_examples
from layerwise.tasks.forecast_model import ForecastModel, restore
from layerwise.tasks.forecast_run import build_networks
from layerwise_tests.explained import fingerprint

HORIZON = 3


def wave(length: int, level: float = 20.0) -> Values:
    steps = np.arange(length)
    noise = np.random.default_rng(0).normal(size=length)
    wavy: Values = level + 5 * np.sin(steps * np.pi / 6) + 0.2 * noise
    return wavy


def model_of(name: str, **look: object) -> ForecastModel:
    """A forecaster with random weights of monthly waves."""
    found = forecast_data.read({"a": wave(120), "b": wave(120, 50.0)}, {"season": 12, "horizon": HORIZON}, Silent())
    seen = found.look.model_copy(update={"margins": (0.0,) * HORIZON, **look})
    torch.manual_seed(0)
    network = build_networks((name,), seen, {}, None)[name]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    card = new_card(
        "forecast", name, pick("cpu", "float32"),
        network={"classes": HORIZON, "channels": 1, "size": seen.window, "options": {}},
        preprocess=seen.model_dump(mode="json"),
    )  # fmt: skip
    return restore(card, network.state_dict(), None, "cpu")


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm-tutorial", "linear", "gru+linear"])
def test_steps_add_up_to_the_mean_of_the_forecast_in_the_unit_of_the_data(name: str) -> None:
    model, values = model_of(name), wave(90)
    item = explain(model, {"a": values}, ExplainRecipe(), Silent()).items[0]
    found = item.numbers
    weights = sum(each["weight"] for each in found["weights"])
    change = found["score"] - found["base_score"]
    assert weights - change == pytest.approx(found["delta"], abs=1e-4)
    assert abs(found["delta"]) < 0.03 * max(abs(change), 0.2)
    said = model.predict({"a": values}, Silent())["forecast"].to_list()
    assert found["forecast"] == pytest.approx(said, rel=1e-5)
    assert found["score"] == pytest.approx(np.mean(said), rel=1e-5)
    assert [each["value"] for each in found["weights"]] == values[-len(found["weights"]) :].tolist()


def test_the_weights_of_a_linear_network_are_its_coefficients_times_the_values() -> None:
    model, values = model_of("linear"), wave(90)
    found = explain(model, {"a": values}, ExplainRecipe(), Silent())
    network = model.task.network
    assert found.method == EXACT and isinstance(network, ForecastLinear)
    window = values[-model.look.window :]
    expected = network.weight.mean(1).numpy() * (window - window[-1])
    weights = [each["weight"] for each in found.items[0].numbers["weights"]]
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_steps_before_a_series_began_count_for_its_first() -> None:
    model = model_of("linear", least=5)
    values = wave(30)
    numbers = explain_examples(model, {2: values}).items[0].numbers
    assert [each["value"] for each in numbers["weights"]] == values.tolist()
    weights = sum(each["weight"] for each in numbers["weights"])
    assert weights == pytest.approx(numbers["score"] - numbers["base_score"], abs=1e-4)
    assert numbers["weights"][-1]["ds"] == "−1"


def test_logarithms_are_said_and_the_forecast_stays_in_its_unit() -> None:
    model, values = model_of("gru", transform="log", floor=1.0), wave(90)
    found = explain(model, {"a": values}, ExplainRecipe(), Silent())
    assert found.method == INTEGRATED and "in logarithms" in found.about
    assert found.items[0].numbers["forecast"] == pytest.approx(
        model.predict({"a": values}, Silent())["forecast"].to_list(), rel=1e-5
    )


def test_short_series_are_named_and_the_rest_is_explained_by_stamps() -> None:
    model = model_of("gru")
    before = fingerprint(model.task.network)
    found = explain(model, {"a": wave(90), "short": wave(3), "c": wave(90)}, ExplainRecipe(most=2), Silent())
    assert [item.problem is None for item in found.items] == [True, False] and found.left_out == 1
    assert found.items[0].numbers["weights"][-1]["ds"] == "89" and "of the weight" in found.items[0].words
    assert ElementTree.fromstring(found.items[0].picture.decode()).tag.endswith("svg")
    assert fingerprint(model.task.network) == before


def test_a_class_cannot_be_asked_about() -> None:
    with pytest.raises(UsageError, match="a forecast has none"):
        explain(model_of("linear"), {"a": wave(90)}, ExplainRecipe(label="up"), Silent())
