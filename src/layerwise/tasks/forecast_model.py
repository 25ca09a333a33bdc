"""A trained forecaster: predict, evaluate, and how it comes back from its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from layerwise.config import build
from layerwise.console import Show
from layerwise.data.panel import Panel
from layerwise.data.series import Layout, SeriesSource, find_series
from layerwise.device import Device, pick
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import DataError, LayerwiseError, StoreError
from layerwise.store.model_file import ModelCard, check_tensors
from layerwise.tasks import forecast_data, forecast_score
from layerwise.tasks.forecast_batches import Index, WindowBatches
from layerwise.tasks.forecast_look import Look
from layerwise.tasks.forecast_recipe import TASK, members
from layerwise.tasks.forecast_run import build_networks, judge
from layerwise.tasks.forecasting import Forecasting
from layerwise.tasks.job import Columns, Outcome, check_columns
from layerwise.tasks.own_network import CUSTOM, not_in_file
from layerwise.tasks.run_recipe import listed

_NUMBERS = ("forecast", "low", "high")
_SCHEMA = pl.Schema(
    {
        "series": pl.String,
        "ds": pl.String,
        "step": pl.Int64,
        **dict.fromkeys(_NUMBERS, pl.Float64),
        "problem": pl.String,
    }
)


@dataclass(frozen=True)
class ForecastModel:
    """A trained forecaster.

    Args:
        card: of its model file.
        task: holds the network.
        look: how it sees series.
        device: where it computes.
    """

    card: ModelCard
    task: Forecasting
    look: Look
    device: Device

    def predict(self, inputs: Any, show: Show) -> pl.DataFrame:
        """Continue every series past its end: a row a step, or one row with the problem of a series.

        Args:
            inputs: as for `train`, or a list of paths.
            show: where progress is shown.

        Returns:
            series, ds, step, forecast, low, high, problem.

        Raises:
            DataError: there are no series, or their steps are of another length than those the model learnt.
        """
        return pl.concat([self._continued(panel, show) for panel in self.panels(inputs, show)])

    def panels(self, inputs: Any, show: Show) -> list[Panel]:
        """The series of what `predict` takes: one panel a table."""
        return [self._source(each, {}, show).panel for each in _inputs(inputs)]

    def problems(self, panel: Panel) -> dict[str, str]:
        """The series that cannot be continued, by name, each with its reason."""
        least = min(self.look.least, self.look.window)
        reasons = {
            name: f"{len(values):,} steps; a forecast needs {least:,}"
            for name, values in zip(panel.ids, panel.values, strict=True)
            if len(values) < least
        }
        whole = panel.problems.filter(pl.col("row").is_null()).select("series", "reason").iter_rows()
        kept = set(panel.ids)
        return reasons | {name: reason for name, reason in whole if name is not None and name not in kept}

    def evaluate(self, data: Any, show: Show, columns: Columns) -> Outcome:
        """Metrics on other series: on their held-out part where they have one, else on the last steps of each.

        Args:
            data: in any form that `train` takes.
            show: where progress is shown.
            columns: time, series and target, where the data are a table.

        Raises:
            UsageError: a column that series do not have.
            DataError: no series is long enough.
        """
        check_columns(columns, ("time", "series", "target"), TASK)
        source = self._source(data, columns, show)
        for note in source.panel.notes:
            show.say(note)
        values, begin = forecast_data.reported(source, self.look.horizon, self.look.horizon)
        windows = self.look.windows(values)
        index = windows.between(begin, windows.lengths)
        if not len(index):
            raise DataError(
                "No series is long enough to judge a forecast of it.",
                expected=f"{self.look.least + self.look.horizon:,} steps or more",
            )
        plain = self.look.model_copy(update={"transform": "none"}).windows(values)
        answers = self.task.predict(self._batches(self.look, windows, index).part("test"))
        found = forecast_score.in_units(answers, self.look, plain)
        split = source.held_out if source.test is not None else "last steps"
        panel = source.panel
        metrics = judge(found, plain, self.look.rival, self.look, begin, panel.first, split)
        table = forecast_score.prediction_table(found, panel.ids, panel.first, panel.calendar)
        return Outcome(metrics, table, self.card)

    def _source(self, data: Any, columns: Columns, show: Show) -> SeriesSource:
        """Series, by the columns that were named, or those of the training data where a table has them."""
        named: dict[str, Any] = {name: columns[name] for name in ("time", "series", "target") if name in columns}
        if "target" in named:
            named["target"] = listed(named["target"])
        known = self.look.columns
        usual = Layout(known.get("time"), known.get("series"), tuple(known.get("target", ())))
        source = find_series(data, **named, usual=usual)
        mine, theirs = self.look.steps(), source.panel.calendar
        if not mine.matches(theirs) and "integer" not in (mine.kind, theirs.kind):
            raise DataError(
                f"The series are {theirs.frequency}, and the model learnt {mine.frequency} ones.",
                expected=f"{mine.frequency} series",
            )
        return source

    def _continued(self, panel: Panel, show: Show) -> pl.DataFrame:
        look = self.look
        windows = look.windows(panel.values)
        long = np.flatnonzero(windows.lengths >= windows.least)
        index = windows.ends()[long]
        if len(index):
            with show.bar("forecasting", len(index)) as advance:
                answers = self.task.predict(self._batches(look, windows, index).part("test"))
                advance(len(index))
            found = forecast_score.in_units(
                answers, look, look.model_copy(update={"transform": "none"}).windows(panel.values)
            )
            table = forecast_score.prediction_table(found, panel.ids, panel.first, panel.calendar, whole=True)
            good = table.select(
                "series", "ds", "step", "forecast", "low", "high", pl.lit(None, pl.String).alias("problem")
            )
        else:
            good = pl.DataFrame(schema=_SCHEMA)
        reasons = self.problems(panel)
        bad = pl.DataFrame(
            {"series": list(reasons), "problem": list(reasons.values())},
            schema={"series": pl.String, "problem": pl.String},
        )
        return pl.concat([good.cast(_SCHEMA), bad], how="diagonal").select(*_SCHEMA)

    def _batches(self, look: Look, windows: Any, index: Index) -> WindowBatches:
        return WindowBatches(windows, look, {"test": index}, 1, 0, self.device.place)


def restore(
    card: ModelCard, tensors: Mapping[str, torch.Tensor], network: nn.Module | None, device_name: str
) -> ForecastModel:
    """A model from its file.

    Raises:
        StoreError: the card contradicts itself, the tensors do not fit the network that it names, or the network is
            the user's own and was not given.
    """
    try:
        look = build(Look, card.preprocess)
        look.steps()
    except LayerwiseError as error:
        raise StoreError(f"The model file does not say how series are read: {error.came}") from None
    shape = card.network
    if not (look.horizon == shape["classes"] == len(look.margins) and look.window == shape["size"]):
        raise StoreError(
            f"The model file is for {look.horizon} steps ahead, has margins of {len(look.margins)}, and a network of "
            f"{shape['classes']} outputs and {shape['size']} inputs.",
            expected="one number of steps ahead, and one of steps in",
        )
    if CUSTOM in members(card.model) and network is None:
        raise not_in_file()
    kept = build_networks((card.model,), look, shape["options"], network)[card.model]
    check_tensors(kept.state_dict(), tensors)
    kept.load_state_dict(dict(tensors))
    device = pick(device_name, card.precision)
    task = Forecasting({card.model: kept}, look, np.ones(1), OptimizerRecipe(), "mase", device)
    return ForecastModel(card, task, look, device)


def _inputs(inputs: Any) -> list[Any]:
    """A list of paths is several tables; everything else is one."""
    if isinstance(inputs, list | tuple) and inputs and all(isinstance(each, str | Path) for each in inputs):
        return list(inputs)
    return [inputs]
