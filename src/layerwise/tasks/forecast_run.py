"""A forecast, from data to outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.series import find_series
from layerwise.data.windows import Windows
from layerwise.device import Device, pick, seed
from layerwise.engine.loop import Batches
from layerwise.errors import DataError, UsageError
from layerwise.models.by_task import Sizes, build_task_model
from layerwise.models.forecast_mean import ForecastMean
from layerwise.store.model_file import ModelCard
from layerwise.tasks import forecast_data, forecast_score
from layerwise.tasks.cards import new_card
from layerwise.tasks.forecast_batches import WindowBatches
from layerwise.tasks.forecast_data import ForecastData
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_recipe import JOIN, STEPS, TASK, ForecastRecipe, ForecastStage, members, stages
from layerwise.tasks.forecasting import Forecasting
from layerwise.tasks.job import Job, Outcome
from layerwise.tasks.own_network import CUSTOM, not_given, try_out

# Of a budget: seconds that the end takes, from the reported part to the files.
_END = 3.0
_SMALLEST = 8  # batch of a network whose windows are drawn, and batches of all windows at least


def prepare(data: Any, values: Mapping[str, Any], network: nn.Module | None, show: Show) -> Job:
    """Read the series, choose what the recipe leaves open, and say how networks will be trained.

    Args:
        data: see `data.series.find_series`.
        values: the user's part of the recipe.
        network: the user's own, (B, window) scaled values -> (B, horizon) or (B, horizon, 9 quantiles); None for those
            of the table.
        show: tells a person how far it is.

    Raises:
        LayerwiseError: the data or the recipe cannot be used.
    """
    began = time.monotonic()
    found = forecast_data.read(data, values, show)
    recipe = found.recipe
    device = pick(recipe.device, recipe.precision)
    seed(recipe.seed)
    listed = _stages(recipe, network)
    networks = build_networks(tuple(stage.name for stage in listed), found.look, recipe.network, network)
    if network is not None:
        _check_network(network, found)
    task = Forecasting(networks, found.look, found.scales, recipe.optimizer, recipe.stop.metric, device)
    for note in (*found.notes, _overview(found, listed, device)):
        show.say(note)

    def enter(stage: ForecastStage, show: Show, resumed: bool) -> Batches:
        batches = _batches(found, device, stage)
        task.begin(stage, steps=stage.epochs * batches.steps)
        return batches

    return Job(
        recipe=recipe.model_copy(update={"stages": listed, "epochs": None}),
        task=task,
        stages=listed,
        enter=enter,
        examples=found.examples,
        patience=recipe.stop.patience,
        save_seconds=recipe.save_seconds,
        deadline=None if recipe.budget is None else began + recipe.budget - _END,
        finish=lambda seconds, kept: _finish(found, task, device, seconds),
        thumbnail=lambda row: before(found.values[row], found.begin[row], recipe) if row < len(found.values) else None,
        explain=recipe.explain,
    )


def before(values: np.ndarray, begin: int, recipe: ForecastRecipe) -> np.ndarray:
    """The history of a series before the first forecast of its reported part: (T,).

    Origins are counted back from the end, so that with a stride the first one may lie behind `begin`.
    """
    assert recipe.horizon is not None
    room = max(0, len(values) - recipe.horizon - begin)
    return values[: begin + room % recipe.split.stride]


def build_networks(
    names: tuple[str, ...], look: Look, options: Mapping[str, Any], network: nn.Module | None
) -> dict[str, nn.Module]:
    """Networks by name, with random weights; a name such as a+b is the mean of two others.

    Args:
        names: in an order in which the parts of a mean come before it, or alone.
        look: gives the sizes and the season.
        options: of the network; of several, those of each by its name.
        network: the user's own, called custom.

    Raises:
        UsageError: an unknown name. RecipeError: an unknown option.
    """
    built: dict[str, nn.Module] = {}
    single = dict.fromkeys(part for name in names for part in members(name))
    for name in single:
        if name == CUSTOM:
            if network is None:
                raise not_given()
            built[name] = network
            continue
        own = _options(name, tuple(single), options)
        if name in ("lstm", "gru"):
            own = {"season": look.season, **own}
        built[name] = build_task_model(TASK, name, Sizes(1, look.horizon, look.window), own)
    for name in names:
        if name not in built:
            built[name] = ForecastMean({part: built[part] for part in members(name)})
    return {name: built[name] for name in (*single, *names)}


def _options(name: str, all_names: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The user's options for one network: all of them where it is alone, else those under its name."""
    if len(all_names) == 1 and name not in options:
        return dict(options)
    if other := sorted(set(options) - set(all_names)):
        raise UsageError(
            f"network.{other[0]} was given, and the networks {', '.join(all_names)} are trained.",
            expected=f"options below a network's name, as in network.{all_names[-1]}.{other[0]}",
        )
    return dict(options.get(name, {}))


def _stages(recipe: ForecastRecipe, network: nn.Module | None) -> tuple[ForecastStage, ...]:
    if network is not None and not recipe.stages:
        return stages(recipe.model_copy(update={"model": CUSTOM}))
    return stages(recipe)


def _check_network(network: nn.Module, found: ForecastData) -> None:
    """A user's own network is tried on two windows before anything long begins."""
    look = found.look
    wanted = [(2, look.horizon), (2, look.horizon, 1), (2, look.horizon, 9)]
    meaning = "a value for each step ahead, or its quantiles 0.1 to 0.9"
    try_out(network, [torch.zeros(2, look.window)], wanted, meaning)


def _overview(found: ForecastData, listed: tuple[ForecastStage, ...], device: Device) -> str:
    counts = {name: f"{len(index):,}" for name, index in found.parts.items()}
    judged = len(np.unique(found.parts["test"][:, 0]))
    return (
        f"{len(found.panel):,} series, {found.panel.calendar.frequency}: {counts['train']} windows train, "
        f"{counts['valid']} choose, {counts['test']} ({found.held_out}, of {judged:,} series) are reported on. "
        f"{'Networks' if len(listed) > 1 else 'Network'} {', '.join(stage.name for stage in listed)}, on {device.name}."
    )


def _batches(found: ForecastData, device: Device, stage: ForecastStage) -> WindowBatches:
    count, size = len(found.parts["train"]), found.recipe.batch_size
    if stage.windows:  # few windows make small batches, so that an epoch has steps
        size = min(size, max(_SMALLEST, count // _SMALLEST))
    # A mean of networks learns nothing: one batch, for the loss in the log.
    drawn = size if JOIN in stage.name else min(max(count, STEPS * size), stage.windows)
    return WindowBatches(
        windows=found.windows,
        look=found.look,
        parts=found.parts,
        batch_size=size,
        seed=found.recipe.seed,
        device=device.place,
        drawn=drawn,
        whole=stage.name == "linear",
    )


def _finish(found: ForecastData, task: Forecasting, device: Device, seconds: Mapping[str, float]) -> Outcome:
    began = time.monotonic()
    batches = _batches(found, device, ForecastStage(name=task.name))
    look = found.look
    look = look.model_copy(update={"margins": forecast_score.margins(task.predict(batches.part("valid")), look.level)})
    plain = look.model_copy(update={"transform": "none"}).windows(found.values)
    first = forecast_score.strongest(plain, found.parts["valid"], found.scales, look.season)
    if found.recipe.refit:
        task.refit(batches, found.parts["refit"])
    judged = forecast_score.in_units(task.predict(batches.part("test")), look, plain)
    metrics = judge(judged, plain, first, look, found.begin, found.panel.first, found.held_out)
    table = forecast_score.prediction_table(judged, found.panel.ids, found.panel.first, found.panel.calendar)
    metrics["seconds"] = {**seconds, "test": time.monotonic() - began}
    card = _card(found, task.name, look.model_copy(update={"rival": first}), device)
    return Outcome(metrics, table, card)


def judge(
    found: forecast_score.Forecasts,
    plain: Windows,
    first: str,
    look: Look,
    begin: forecast_data.Steps,
    offsets: tuple[int, ...],
    split: str,
) -> dict[str, Any]:
    """`metrics.json` of forecasts.

    Args:
        found: the forecasts and the truth.
        plain: windows of original values.
        first: the simple method that the verdict is about.
        look: of the model.
        begin: (series,) first step of the reported part.
        offsets: position of each series' first step on the calendar.
        split: name of the reported part.
    """
    histories = [plain.history(series, origin) for series, origin in enumerate(begin.tolist())]
    return forecast_score.summarize(
        found,
        forecast_score.rival_forecasts(plain, found.index, look.season),
        first,
        scales=forecast_data.scales_of(histories, begin, look.season),
        positions=np.array(offsets)[found.index[:, 0]] + found.index[:, 1],
        look=look,
        split=split,
        seconds={},
    )


def _card(found: ForecastData, name: str, look: Look, device: Device) -> ModelCard:
    return new_card(
        TASK,
        name,
        device,
        network={"classes": look.horizon, "channels": 1, "size": look.window, "options": _kept_options(found, name)},
        preprocess=look.model_dump(mode="json"),
    )


def _kept_options(found: ForecastData, name: str) -> dict[str, Any]:
    """The options of the networks that a kept one is made of, by their names."""
    trained = tuple(dict.fromkeys(part for stage in _stages(found.recipe, None) for part in members(stage.name)))
    return {part: _options(part, trained, found.recipe.network) for part in members(name)}


def thumbnails(values: Mapping[str, Any], examples: pl.DataFrame) -> Callable[[int], np.ndarray | None]:
    """The history (T,) of a run's series by number, up to the reported part, read again from where the data was.

    Args:
        values: the run's recipe.
        examples: its `examples.parquet`: what lies there now may be other series than in the run.
    """
    recipe = build(ForecastRecipe, merge({"task": TASK}, values))
    if recipe.data_path is None or recipe.horizon is None:
        return lambda row: None
    columns = recipe.data
    try:
        found = find_series(
            Path(recipe.data_path), time=columns.time, series=columns.series, target=columns.target or None
        )
        source, _ = forecast_data.without(found, columns.exclude)
        joined, begin = forecast_data.reported(source, recipe.split.test or recipe.horizon, recipe.horizon)
    except DataError:
        return lambda row: None

    def history(row: int) -> np.ndarray | None:
        same = (
            row < min(len(joined), examples.height) and forecast_data.hash_values(joined[row]) == examples["hash"][row]
        )
        return before(joined[row], begin[row], recipe) if same else None

    return history
