"""The parts of a forecast: look, ridge, split, scores, recipe; and that nothing behind an origin has a say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import Ridge

from layerwise.console import Silent
from layerwise.data.panel import PROBLEMS
from layerwise.data.series import find_series
from layerwise.data.windows import Values
from layerwise.device import pick
from layerwise.engine import loop
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import DataError, Diverged, RecipeError, UsageError
from layerwise.models.forecast_levels import LEVELS
from layerwise.store.checkpoint import Checkpoints
from layerwise.tasks import forecast_data, forecast_fit, forecast_run, forecast_score
from layerwise.tasks.forecast_batches import FitBatch, WindowBatches
from layerwise.tasks.forecast_look import Look, Scaling, Transform
from layerwise.tasks.forecast_recipe import ForecastRecipe, ForecastStage, defaults, stages
from layerwise.tasks.forecast_ridge import PENALTIES, Sums, prior_weight, solutions
from layerwise.tasks.forecasting import Answers, Forecasting, measured, pinball


def seasonal(length: int, *, season: int = 12, noise: float = 0.1, level: float = 20.0, seed: int = 0) -> Values:
    """A season, a slight trend and noise, all above 0."""
    random = np.random.default_rng(seed)
    steps = np.arange(length)
    return level + 0.02 * steps + 5 * np.sin(2 * np.pi * steps / season) + noise * random.normal(size=length)


def panel(series: int = 4, length: int = 120, **changes: Any) -> dict[str, Values]:
    return {f"s{each}": seasonal(length, seed=each, level=20.0 * (each + 1), **changes) for each in range(series)}


def read(data: Any, **values: Any) -> forecast_data.ForecastData:
    return forecast_data.read(data, {"season": 12, **values}, Silent())


# Look


@pytest.mark.parametrize("scaling", ["season", "last-deviation", "mean"])
def test_scaled_windows_do_not_know_the_unit(scaling: Scaling) -> None:
    look = Look(horizon=3, window=36, season=12, scaling=scaling)
    inputs = np.stack([seasonal(36, seed=each) for each in range(5)])
    one, other = look.scaled(inputs)[0], look.scaled(inputs * 1000 - 7)[0]
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_the_scale_of_a_season_is_that_of_mase() -> None:
    inputs = np.stack([seasonal(36, seed=each) for each in range(5)])
    _, shift, factor = Look(horizon=3, window=36, season=12).scaled(inputs)
    np.testing.assert_allclose(factor[:, 0], np.abs(inputs[:, 12:] - inputs[:, :-12]).mean(axis=1))
    np.testing.assert_array_equal(shift[:, 0], inputs[:, -1])


def test_a_window_that_never_changes_has_a_usable_scale() -> None:
    for level in (0.0, 5.0, 1e12):
        scaled, _, factor = Look(horizon=3, window=36, season=12).scaled(np.full((1, 36), level))
        assert factor[0, 0] > 0 and (scaled == 0).all()


def test_what_comes_before_a_series_began_is_its_first_value_and_not_part_of_its_scale() -> None:
    look = Look(horizon=3, window=36, season=12, least=24)
    short = seasonal(30)
    inputs = look.windows([short]).inputs(np.array([[0, 30]]))
    scaled, shift, factor = look.scaled(inputs)
    np.testing.assert_allclose(factor[0, 0], np.abs(short[12:] - short[:-12]).mean())
    np.testing.assert_allclose(scaled[0, :6] * factor[0, 0] + shift[0, 0], short[0])


@pytest.mark.parametrize("transform", ["none", "log"])
def test_a_transform_is_undone(transform: Transform) -> None:
    look = Look(horizon=3, window=36, transform=transform, floor=0.1)
    values = np.array([0.1, 1.0, 1e9, np.nan])
    np.testing.assert_allclose(look.original(look.transformed(values)), values)
    assert np.isfinite(look.original(np.array([1e9])))  # a network may say anything


# Ridge


@pytest.mark.parametrize("prior", ["last", "season", "seasons"])
def test_the_ridge_is_scikit_learns_around_its_prior(prior: Any) -> None:
    random = torch.Generator().manual_seed(0)
    windows, targets = torch.randn(200, 12, generator=random), torch.randn(200, 5, generator=random)
    sums = Sums(12, 5)
    sums.add(windows[:120], targets[:120])
    sums.add(windows[120:], targets[120:])
    x, y = (windows - windows[:, -1:]).double().numpy(), (targets - windows[:, -1:]).double().numpy()
    start = prior_weight(prior, 12, 5, 4).numpy()
    size = ((x - x.mean(0)) ** 2).sum(axis=0).mean()
    found = list(solutions(sums, 4, (prior,)))
    assert [each.penalty for each in found] == list(PENALTIES)
    for each in found:
        expected = Ridge(alpha=each.penalty * size).fit(x, y - x @ start)
        np.testing.assert_allclose(each.weight.numpy(), expected.coef_.T + start, atol=2e-4)
        np.testing.assert_allclose(each.bias.numpy(), expected.intercept_, atol=2e-4)


@pytest.mark.parametrize(
    ("prior", "expected"),
    [("last", [6.0] * 3), ("season", [5.0, 6.0, 5.0]), ("seasons", [3.0, 4.0, 3.0])],
)
def test_a_prior_is_the_simple_method_that_it_is_named_after(prior: Any, expected: list[float]) -> None:
    window = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).double()  # whole seasons of 2: 1-2, 3-4, 5-6
    weight = prior_weight(prior, 7, 3, 2)
    np.testing.assert_allclose((window[-1] + (window - window[-1]) @ weight).numpy(), expected)


def test_a_prior_that_the_window_does_not_hold_is_left_out() -> None:
    sums = Sums(4, 3)
    sums.add(torch.randn(30, 4), torch.randn(30, 3))
    assert {each.prior for each in solutions(sums, 12)} == {"last"}
    assert {each.prior for each in solutions(sums, 1)} == {"last", "seasons"}


def test_windows_that_never_change_can_be_fitted() -> None:
    sums = Sums(4, 3)
    sums.add(torch.ones(30, 4), torch.ones(30, 3))
    assert all(torch.isfinite(each.weight).all() for each in solutions(sums, 2))


# Data


def test_the_parts_lie_one_behind_the_other() -> None:
    found = read(panel(), horizon=12, window=24, split={"valid": 24, "test": 24, "stride": 5})
    index, last = found.parts, {name: each[:, 1] + 12 for name, each in found.parts.items()}
    assert last["train"].max() <= 120 - 48 and index["train"][:, 1].min() == 24
    assert index["valid"][:, 1].min() >= 120 - 48 and last["valid"].max() == 120 - 24
    assert index["test"][:, 1].min() >= 120 - 24 and last["test"].max() == 120
    assert last["refit"].max() == 120 - 24
    assert sorted(set(index["test"][:, 1].tolist())) == [98, 103, 108]


def test_a_held_out_table_is_what_is_reported_on() -> None:
    data = panel()
    parts = {"train": {k: v[:100] for k, v in data.items()}, "test": {k: v[100:] for k, v in data.items()}}
    found = read(parts, window=24)
    assert found.recipe.horizon == 20 and found.begin.tolist() == [100] * 4 and found.held_out == "test"
    assert found.parts["test"].tolist() == [[each, 100] for each in range(4)]
    longer = read(parts, window=24, horizon=24)  # what the table lacks is not known
    targets = longer.windows.targets(longer.parts["test"])
    assert np.isfinite(targets[:, :20]).all() and np.isnan(targets[:, 20:]).all()


def test_horizon_and_validation_follow_from_the_series() -> None:
    found = read(panel())
    assert (found.recipe.horizon, found.recipe.split.valid, found.recipe.split.test) == (12, 24, 12)
    assert read(panel(length=90)).recipe.split.valid == 12  # fewer than eight horizons are left
    assert forecast_data.read({"a": np.random.default_rng(0).normal(size=100)}, {}, Silent()).recipe.horizon == 8


def test_logarithms_are_chosen_where_the_season_grows_with_the_level() -> None:
    steps = np.arange(144)
    grown = np.exp(0.02 * steps + 0.3 * np.sin(2 * np.pi * steps / 12) + np.random.default_rng(0).normal(0, 0.01, 144))
    assert read({"a": 100 * grown}).look.transform == "log"
    assert read({"a": 100 * grown - 500}).look.transform == "none"  # there is no logarithm of what is below 0
    with pytest.raises(RecipeError, match="transform is log"):
        read({"a": 100 * grown - 500}, transform="log")


def test_the_window_is_chosen_by_validation_among_those_that_leave_enough_to_train_on() -> None:
    found = read(panel(), horizon=12)
    assert found.look.window in (24, 36) and "chosen by validation" in " ".join(found.notes)
    assert read(panel(length=60), horizon=12, split={"valid": 12}).look.window in (24, 36)
    assert read(panel(), window=17).look.window == 17


def test_series_that_are_too_short_are_problems_and_the_others_train() -> None:
    found = read({**panel(), "short": seasonal(14)}, horizon=12, window=24)
    problems = dict(found.examples.select("path", "problem").iter_rows())
    assert "too short" in problems["short"] and problems["s0"] is None
    assert found.examples.columns == ["id", "path", "label", "split", "hash", "problem"]
    with pytest.raises(DataError, match="No series has a window"):
        read({"a": seasonal(20)}, horizon=12)


class Counted(tuple[str, ...]):
    """Names that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        type(self).times += 1
        return super().__iter__()


def test_series_that_are_lost_are_looked_up_without_going_through_all_names_for_each() -> None:
    found = read(panel(), window=24)

    def gone_through(lost: int) -> int:
        rows = [(None, None, f"lost {each}", "no values") for each in range(lost)]
        ids = Counted(found.panel.ids)
        changed = replace(found.panel, ids=ids, problems=pl.DataFrame(rows, schema=PROBLEMS, orient="row"))
        Counted.times = 0
        table = forecast_data._examples(changed, found.values, found.parts, found.look)
        assert table["problem"].count() == lost
        return Counted.times

    assert gone_through(50) == gone_through(1)


@pytest.mark.parametrize("period", [5, 7, 12, 13, 24, 48, 52, 96, 168])
@pytest.mark.parametrize("times", [1.01, 2, 3, 4, 6, 12, 13, 24])
def test_windows_that_are_left_out_leave_every_place_of_a_season_alike(period: int, times: float) -> None:
    count = int(12_000 * times)
    index = np.stack([np.zeros(count, dtype=np.int64), np.arange(count)], axis=1)
    kept = forecast_fit.thinned(index, 12_000)
    assert 6_000 < len(kept) <= 12_000
    places = np.bincount(kept[:, 1] % period, minlength=period)
    assert places.min() > places.max() / 2


def test_few_windows_are_all_kept() -> None:
    index = np.arange(20).reshape(10, 2)
    assert forecast_fit.thinned(index, 10) is index and len(forecast_fit.thinned(index[:0], 10)) == 0


def test_as_many_windows_validate_as_may_of_however_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_data, "_VALIDATE", 10)
    found = read(panel(series=16, length=60), horizon=12, window=24, split={"valid": 12})  # one origin each
    assert 5 < len(found.parts["valid"]) <= 10
    assert len(set(found.parts["valid"][:, 0].tolist())) == len(found.parts["valid"])


def test_gaps_are_filled_from_the_past_and_are_no_targets() -> None:
    values = seasonal(120)
    values[60:63] = np.nan
    found = read({"a": values}, window=24, transform="none")
    after = np.array([[0, 63]])
    np.testing.assert_array_equal(found.windows.inputs(after)[0, -3:], values[48:51])
    across = WindowBatches(found.windows, found.look, {}, 8, 0, torch.device("cpu")).batch(np.array([[0, 55]]))
    assert torch.isnan(across.targets[0, 5:8]).all() and torch.isfinite(across.targets[0, :5]).all()


# No look-ahead


@pytest.mark.slow
def test_nothing_behind_an_origin_reaches_features_scale_or_forecast() -> None:
    """1,000 random cases: values from the origin on are changed, and all that a network sees and says stays equal."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    cases = 0
    for season in (1, 4, 12):
        for transform in ("none", "log"):
            for scaling in ("season", "last-deviation", "mean"):
                look = Look(
                    horizon=7, window=30, season=season, least=13, transform=transform, floor=0.01, scaling=scaling,
                    margins=(0.1,) * 7,
                )  # fmt: skip
                networks = forecast_run.build_networks(
                    ("linear", "lstm", "linear+lstm"), look, {"lstm": {"units": [4]}}, None
                )
                for tensor in (*networks["lstm"].parameters(), *networks["linear"].parameters()):
                    torch.nn.init.normal_(tensor, std=0.3)
                task = Forecasting(networks, look, np.ones(1), OptimizerRecipe(), "mase", pick("cpu", "float32"))
                task.name = "linear+lstm"
                for _ in range(56):
                    values = np.exp(random.normal(size=80))
                    values[random.random(80) < 0.1] = np.nan
                    values[0] = 1.0
                    origin = int(random.integers(13, 80))
                    changed = values.copy()
                    changed[origin:] = np.exp(random.normal(0, 5, 80 - origin))
                    changed[origin:][random.random(80 - origin) < 0.3] = np.nan
                    found = [forecast(task, look, each, origin) for each in (values, changed)]
                    for one, other in zip(*found, strict=True):
                        np.testing.assert_array_equal(one, other)
                    cases += 1
                    before = values.copy()
                    before[origin - 1] = 50.0  # what is known has a say: the comparison above can fail
                    assert not np.array_equal(forecast(task, look, before, origin)[4], found[0][4])
    assert cases >= 1000


def forecast(task: Forecasting, look: Look, values: Values, origin: int) -> list[Any]:
    windows = look.windows([values])
    batch = WindowBatches(windows, look, {}, 8, 0, torch.device("cpu")).batch(np.array([[0, origin]]))
    said = forecast_score.in_units(
        task.predict([batch]), look, look.model_copy(update={"transform": "none"}).windows([values])
    )
    rivals = forecast_score.rival_forecasts(windows, np.array([[0, origin]]), look.season)
    return [batch.inputs, batch.shift, batch.factor, said.low, said.middle, said.high, *rivals.values()]


@pytest.mark.parametrize("seed", range(5))
def test_the_reported_part_has_no_say_in_what_is_learnt(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    data = {f"s{each}": seasonal(100, seed=10 * seed + each) for each in range(3)}
    changed = {name: np.concatenate([each[:-10], np.exp(random.normal(0, 3, 10))]) for name, each in data.items()}
    found = [learnt(each, tmp_path / f"{place}") for place, each in enumerate((data, changed))]
    for one, other in zip(*found, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def learnt(data: dict[str, Values], folder: Path) -> list[dict[str, Any]]:
    values = {"horizon": 10, "model": "linear", "data_path": None}
    job = forecast_run.prepare(data, values, None, Silent())
    run(job, folder)
    outcome = job.finish({}, {})
    look = {name: np.asarray(value) for name, value in outcome.card.preprocess.items() if name != "columns"}
    table = {name: outcome.predictions[name].to_numpy() for name in ("forecast", "low", "high")}
    return [look, {name: tensor.numpy() for name, tensor in job.task.tensors().items()}, table]


def run(job: Any, folder: Path) -> loop.Position:
    """What a session does."""
    position, checkpoints = loop.Position(seed=0), Checkpoints(folder)
    for number, stage in enumerate(job.stages):
        batches = job.enter(stage, Silent(), False)
        position.begin_stage(number)
        list(loop.train(job.task, batches, loop.Pace(stage.name, stage.epochs), position, checkpoints))
        assert position.best is not None
        job.task.load_weights(checkpoints.load_weights(position.best))
    return position


# Training


def small(**changes: Any) -> dict[str, Any]:
    quick = [{"name": "linear"}, {"name": "lstm", "epochs": 2, "windows": 64}, {"name": "linear+lstm"}]
    return {"horizon": 12, "season": 12, "window": 24, "transform": "none", "network": {"lstm": {"units": [8]}}} | {
        "stages": quick, "batch_size": 16, **changes
    }  # fmt: skip


def test_the_best_network_is_kept_and_its_log_tells_what_it_scores(tmp_path: Path) -> None:
    job = forecast_run.prepare(panel(noise=1.0), small(), None, Silent())
    position = run(job, tmp_path)
    best = max(position.history, key=lambda line: job.task.score(line["valid"]))
    kept = [line for line in position.history if line["best"]][-1]
    assert kept == best and job.task.name == kept["stage"]
    again = (
        job.task.evaluate(job.enter(job.stages[0], Silent(), False).part("valid"))
        if job.task.name == "linear"
        else None
    )
    assert again is None or again == kept["valid"]


def test_a_mean_is_made_of_the_best_epoch_of_each_network(tmp_path: Path) -> None:
    job = forecast_run.prepare(panel(noise=1.0), small(), None, Silent())
    task: Any = job.task
    position, checkpoints = loop.Position(seed=0), Checkpoints(tmp_path)
    best: dict[str, Any] = {}
    for number, stage in enumerate(job.stages):
        batches = job.enter(stage, Silent(), False)
        position.begin_stage(number)
        for report in loop.train(task, batches, loop.Pace(stage.name, stage.epochs), position, checkpoints):
            if isinstance(report, loop.Epoch) and (
                stage.name not in best or report.line["valid"]["mase"] < best[stage.name][0]
            ):
                best[stage.name] = (report.line["valid"]["mase"], task.tensors())
    held = {name.split(".", 2)[1:][0]: tensor for name, tensor in task.tensors().items() if name.endswith("head.bias")}
    assert torch.equal(held["lstm"], best["lstm"][1]["head.bias"])


def test_a_network_by_itself_may_be_asked_for() -> None:
    assert [
        stage.name
        for stage in forecast_run.prepare(panel(), small(stages=[], model="gru", network={}), None, Silent()).stages
    ] == ["gru"]
    assert [stage.name for stage in stages(ForecastRecipe(model="linear+gru"))] == ["linear", "gru", "linear+gru"]
    with pytest.raises(UsageError, match="lstn"):
        defaults("lstn")
    with pytest.raises(RecipeError, match="none before it trains"):
        stages(ForecastRecipe(stages=(ForecastStage(name="linear+gru"),)))
    with pytest.raises(RecipeError, match="Two stages"):
        stages(ForecastRecipe(stages=(ForecastStage(name="gru"), ForecastStage(name="gru"))))


def test_the_tutorial_trains_as_in_the_course() -> None:
    job = forecast_run.prepare(panel(1), {"model": "lstm-tutorial"}, None, Silent())
    recipe: Any = job.recipe
    (stage,) = job.stages
    assert (recipe.window, recipe.batch_size, recipe.optimizer.name) == (10, 32, "adam")
    assert (stage.epochs, stage.learning_rate, stage.windows) == (50, 1e-3, 0)
    batches = job.enter(stage, Silent(), False)
    # 120 steps, less 12 reported, 24 that validate, 10 of the window and 11 of the horizon: each window once
    assert sum(len(batch.ids) for batch in batches.train(0)) == 120 - 12 - 24 - 10 - 11
    batch = next(batches.train(0))
    network = job.task.network  # type: ignore[attr-defined]
    network.train()
    expected = torch.nn.functional.mse_loss(network(batch.inputs, steps=1)[..., 0], batch.targets[:, :1]).item()
    assert job.task.train_step(batch)[0]["loss"] == pytest.approx(expected)


def test_an_epoch_of_few_windows_goes_through_them_again_and_again() -> None:
    found = read(panel(1), window=24)
    count = len(found.parts["train"])
    batches = WindowBatches(found.windows, found.look, found.parts, 8, 0, torch.device("cpu"), drawn=400)
    seen = np.concatenate([batch.origins for batch in batches.train(0)])
    assert len(seen) == 400 and batches.steps == 50
    times = np.bincount(seen - seen.min())
    assert len(times) == count and times.min() >= 1 and times.max() <= -(-400 // count)
    tail = np.concatenate([batch.origins for batch in batches.train(0, start=40)])
    np.testing.assert_array_equal(tail, seen[40 * 8 :])
    other = np.concatenate([batch.origins for batch in batches.train(1)])
    assert not np.array_equal(seen, other)


def test_refit_takes_the_validation_part_as_well_and_keeps_prior_and_penalty() -> None:
    found = read(panel(noise=1.0), window=24, model="linear")
    batches = WindowBatches(found.windows, found.look, found.parts, 8, 0, torch.device("cpu"), whole=True)
    networks = forecast_run.build_networks(("linear",), found.look, {}, None)
    task = Forecasting(networks, found.look, found.scales, OptimizerRecipe(), "mase", pick("cpu", "float32"))
    task.begin(ForecastStage(name="linear"), steps=1)
    (batch,) = batches.train(0)
    assert isinstance(batch, FitBatch)
    task.train_step(batch)
    chosen, _ = forecast_fit.choose(
        forecast_fit.gather(batches, found.parts["train"]), batches.part("valid"), found.look, found.scales
    )
    before = task.tensors()["weight"]
    torch.testing.assert_close(before, chosen.weight.float())
    task.refit(batches, found.parts["refit"])
    expected = forecast_fit.again(forecast_fit.gather(batches, found.parts["refit"]), 12, chosen)
    torch.testing.assert_close(task.tensors()["weight"], expected.weight.float())
    assert not torch.equal(task.tensors()["weight"], before)


def test_a_forecast_that_is_no_number_ends_the_run() -> None:
    empty = np.zeros((2, 3))
    ids = np.arange(2)
    answers = Answers(ids, ids, empty, empty * np.nan, empty, empty, empty[:, :1], empty[:, :1] + 1, 0.0)
    with pytest.raises(Diverged, match="2 of 2 validation windows"):
        measured(answers, Look(horizon=3, window=4), np.ones(2))


def test_pinball_is_its_formula_and_leaves_gaps_out() -> None:
    quantiles = torch.arange(9.0).repeat(2, 1)[:, None]  # (2, 1, 9)
    targets = torch.tensor([[3.5], [torch.nan]])
    expected = np.mean([max(q * (3.5 - x), (q - 1) * (3.5 - x)) for q, x in zip(LEVELS, range(9), strict=True)])
    assert pinball(quantiles, targets).item() == pytest.approx(expected)


def test_options_of_several_networks_stand_below_their_names() -> None:
    with pytest.raises(UsageError, match="network.units"):
        forecast_run.prepare(panel(), small(network={"units": [8]}), None, Silent())
    job = forecast_run.prepare(panel(), small(stages=[{"name": "lstm"}], network={"units": [8]}), None, Silent())
    assert job.task.network.recurrent.features == 8  # type: ignore[attr-defined]


class Own(torch.nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(24, outputs)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.linear(window)
        return answer


def test_a_network_of_the_users_own_trains_and_a_misfit_is_named(tmp_path: Path) -> None:
    values = small(stages=[], epochs=1, network={})
    job = forecast_run.prepare(panel(), {**values, "model": "custom"}, Own(12), Silent())
    run(job, tmp_path)
    assert job.finish({}, {}).card.model == "custom"
    with pytest.raises(UsageError, match=r"shape \(2, 13\)"):
        forecast_run.prepare(panel(), values, Own(13), Silent())
    with pytest.raises(UsageError, match="was not given"):
        forecast_run.prepare(panel(), {**values, "model": "custom"}, None, Silent())


# Scores


def test_intervals_hold_as_much_of_new_values_as_they_say() -> None:
    random = np.random.default_rng(0)

    def answers(count: int) -> Answers:
        targets = random.standard_t(3, (count, 4))
        zero, ids = np.zeros((count, 4)), np.arange(count)
        return Answers(ids, ids, zero - 0.2, zero, zero + 0.2, targets, zero[:, :1], zero[:, :1] + 1, 0.0)

    for level in (0.5, 0.8, 0.95):
        look = Look(horizon=4, window=4, level=level, margins=forecast_score.margins(answers(4000), level))
        new = answers(4000)
        low, high = new.low - np.array(look.margins), new.high + np.array(look.margins)
        assert abs(((low <= new.targets) & (new.targets <= high)).mean() - level) < 0.02


@pytest.mark.parametrize("count", [1, 3, 20])
def test_intervals_of_few_windows_are_finite(count: int) -> None:
    random = np.random.default_rng(0)
    zero, ids = np.zeros((count, 4)), np.arange(count)
    found = Answers(ids, ids, zero, zero, zero, random.normal(size=(count, 4)), zero[:, :1], zero[:, :1] + 1, 0.0)
    margins = forecast_score.margins(found, 0.8)
    assert len(margins) == 4 and len(set(margins)) == 1 and np.isfinite(margins).all()


def test_of_white_noise_no_forecast_is_called_better(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    job = forecast_run.prepare(
        {f"s{each}": random.normal(size=120) for each in range(25)}, {"model": "linear"}, None, Silent()
    )
    run(job, tmp_path)
    metrics = job.finish({}, {}).metrics
    assert metrics["verdict"].startswith("Not better than mean: MASE")
    assert metrics["baseline"]["name"] == "mean" and metrics["season"] == 1
    assert {each["name"] for each in metrics["baselines"]} == set(forecast_score.RIVALS)


def test_of_a_season_that_is_only_noisy_the_mean_of_seasons_is_better_than_the_last(tmp_path: Path) -> None:
    job = forecast_run.prepare(panel(25, noise=2.0), {"model": "linear", "season": 12}, None, Silent())
    run(job, tmp_path)
    metrics = job.finish({}, {}).metrics
    assert metrics["verdict"].startswith("Better than seasonal naive")
    assert metrics["n"] == 25 and metrics["interval_over"] == "25 series"
    assert 0.6 < metrics["metrics"]["coverage"]["value"] < 0.95


def test_a_table_of_predictions_names_every_step() -> None:
    monthly = pl.DataFrame(
        {"Date": [f"{1949 + step // 12}-{step % 12 + 1:02d}" for step in range(120)], "y": seasonal(120)}
    )
    panel_of = find_series(monthly).panel
    found = forecast_score.Forecasts(np.array([[0, 108]]), np.array([[1.0, np.nan]]), *[np.zeros((1, 2))] * 3)
    table = forecast_score.prediction_table(found, panel_of.ids, panel_of.first, panel_of.calendar)
    assert table.columns == ["id", "path", "series", "origin", "ds", "step", "y", "forecast", "low", "high"]
    assert table["ds"].to_list() == ["1958-01", "1958-02"] and table["origin"].to_list() == ["1957-12"] * 2
    assert table["step"].to_list() == [1, 2] and table["y"].to_list() == [1.0, None]
