"""Report pages as tests read them, and run folders for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from layerwise.metrics import summarize
from layerwise.store.atomic import write_csv, write_json

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes and text; fails on tags that do not close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(self.source)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def line(stage: str, index: int, epoch: int, **changes: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "stage_index": index,
        "epoch": epoch,
        "train": {"loss": 1.0 / (epoch + 1), "accuracy": 0.5},
        "valid": {"loss": 1.2 / (epoch + 1), "accuracy": 0.4, "macro_f1": 0.3},
        "learning_rate": 0.001,
        "seconds": {"train": 2.0, "valid": 0.5},
        "best": False,
    } | changes


def write_log(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """`log.jsonl`."""
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def competition(folder: Path, names: Sequence[str], kept: str, *, forecast: bool = False, epochs: int = 4) -> None:
    """`log.jsonl` of networks that competed; the last epoch but one of `kept` is the best of all."""
    lines = []
    for index, name in enumerate(names):
        for epoch in range(epochs):
            low = 1.0 / (epoch + 1) + 0.1 * index
            valid = {"loss": low, "accuracy": 1 - low / 2, "macro_f1": 1 - low / 2, "calibrated_loss": low - 0.05}
            if forecast:
                valid = {"mase": low + 0.5, "pinball": low / 3}
            best = name == kept and epoch == epochs - 2
            lines.append(line(name, index, epoch, valid=valid, train={"loss": low * 0.8}, best=best))
    write_log(folder, lines)


def make_classifier_run(
    folder: Path, task: str, classes: Sequence[str], texts: Sequence[str] | None = None, *, n: int = 60, wrong: int = 30
) -> Path:
    """A finished run of texts or sequences with three baselines and two networks, the first `wrong` answers wrong."""
    folder.mkdir()
    targets = np.arange(n) % len(classes)
    predicted = np.where(np.arange(n) < wrong, (targets + 1) % len(classes), targets)
    probabilities = np.full((n, len(classes)), 0.1 / (len(classes) - 1))
    probabilities[np.arange(n), predicted] = 0.9
    rivals = {"TF-IDF and logistic regression": np.roll(probabilities, 1, axis=0), "nearest neighbour": probabilities}
    metrics = summarize(
        task=task, split="test", probabilities=probabilities, targets=targets, train_targets=targets,
        classes=classes, rivals=rivals,
    )  # fmt: skip
    write_json(folder / "metrics.json", metrics | {"seconds": {"train": 75.2}})
    names = [classes[target] for target in targets]
    columns: dict[str, Any] = {"id": range(n), "path": [f"reviews.csv:{row + 2}" for row in range(n)]}
    if texts is not None:
        columns["text"] = [texts[row % len(texts)] for row in range(n)]
    columns |= {"label": names, "predicted": [classes[place] for place in predicted], "probability": [0.9] * n}
    columns["loss"] = -np.log(probabilities[np.arange(n), targets]) - np.arange(n) / 1000
    table = pl.DataFrame(columns | {f"p:{name}": probabilities[:, place] for place, name in enumerate(classes)})
    write_csv(folder / "predictions.csv", table)
    reasons = ["the text is empty"] * 5 + ["the same text stands in reviews.csv:4"]
    extra = pl.DataFrame({"id": range(n, n + 6), "path": [f"reviews.csv:{n + row}" for row in range(6)]})
    examples = table.select("id", "path", "label").with_columns(problem=pl.lit(None, pl.String), split=pl.lit("test"))
    pl.concat([examples, extra.with_columns(problem=pl.Series(reasons))], how="diagonal_relaxed").write_parquet(
        folder / "examples.parquet"
    )
    competition(folder, ["lstm", "bag"], "bag")
    (folder / "recipe.toml").write_text(f'task = "{task}"\ndata_path = "reviews.csv"\n', encoding="utf-8")
    return folder


def past_of(row: int, steps: int = 240, season: int = 24) -> np.ndarray:
    """The history (T,) of the series in a row of `examples.parquet`."""
    random = np.random.default_rng(row)
    wave = np.sin(np.arange(steps) * 2 * np.pi / season) * (1 + row % 3)
    found: np.ndarray = 10.0 ** (row % 5) * (5 + wave + random.normal(0, 0.3, steps))
    return found


def make_forecast_run(
    folder: Path, *, series: int = 30, horizon: int = 24, windows: int = 1, season: int | None = 24
) -> Path:
    """A finished forecast: the error of a series grows with its row; two series could not be used."""
    folder.mkdir()
    rows = []
    for row in range(series):
        for origin in range(windows):
            truth = past_of(row, 240 + horizon * windows)[240 + origin * horizon :][:horizon]
            said = past_of(row, 240)[-24:][np.arange(horizon) % 24] * (1 + 0.01 * row)
            width = 10.0 ** (row % 5) * np.sqrt(1 + np.arange(horizon)) / 4
            for step in range(horizon):
                rows.append({
                    "id": row, "path": f"H{row + 1}", "series": f"H{row + 1}", "origin": origin,
                    "ds": f"2024-03-{1 + (step + origin) // 24:02d} {(step + origin) % 24:02d}:00", "step": step + 1,
                    "y": truth[step], "forecast": said[step], "low": said[step] - width[step],
                    "high": said[step] + width[step],
                })  # fmt: skip
    write_csv(folder / "predictions.csv", pl.DataFrame(rows))
    figure = {"value": 1.034, "low": 0.981, "high": 1.101}
    mine = {"mase": figure, "smape": {"value": 12.3}, "rmse": {"value": 12345.6}, "pinball": {"value": 0.31}}
    mine |= {"coverage": {"value": 0.79}, "mae": {"value": 321.0}, "mse": {"value": 1.5e8}}
    rivals = [
        {"name": name, "metrics": {"mase": {"value": value}, "smape": {"value": 13.9}, "rmse": {"value": 15000.0}}}
        for name, value in (("seasonal naive (season 24)", 1.193), ("last value", 11.608), ("drift", 11.45))
    ]
    verdict = "Better than seasonal naive: MASE 1.034 against 1.193 (difference 0.159, 95 % interval 0.08 to 0.24)."
    write_json(folder / "metrics.json", {
        "task": "forecast", "split": "test", "n": series * windows, "series": series, "metrics": mine,
        "baseline": rivals[0], "baselines": rivals, "verdict": verdict, "seconds": {"train": 75.2}, "season": season,
    })  # fmt: skip
    names = [*[f"H{row + 1}" for row in range(series)], "short", "flat"]
    reasons = [None] * series + ["only 7 values, and 48 are needed", "every value is the same"]
    examples = pl.DataFrame({"id": range(series + 2), "path": names, "label": [None] * len(names), "problem": reasons})
    examples.with_columns(split=pl.lit("train"), label=pl.lit(None, pl.String)).write_parquet(
        folder / "examples.parquet"
    )
    competition(folder, ["gru", "linear"], "linear", forecast=True)
    (folder / "recipe.toml").write_text('task = "forecast"\ndata_path = "hourly.csv"\n', encoding="utf-8")
    return folder
