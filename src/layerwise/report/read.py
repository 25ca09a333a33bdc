"""What a run folder holds, as far as it is there and can be read.

A run that was interrupted lacks some files, and a page about it is still wanted: so a missing or damaged file becomes a
note for the reader and never an error.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pydantic

from layerwise.errors import StoreError

T = TypeVar("T")
PREDICTIONS = ("id", "path", "label", "predicted", "probability", "loss")
SCORES = ("id", "path", "label", "score")  # of generators
FORECASTS = ("id", "series", "ds", "step", "y", "forecast", "low", "high")
EXAMPLES = ("id", "path", "label", "split", "problem")
LEVEL = 0.8  # of intervals, where the recipe names none
# Text that a spreadsheet would run as a formula is written with an apostrophe in front (`store/atomic.py`).
GUARDED = r"^'(\s*[=+\-@＝＋－＠]|[\t\r\n])"


class Figure(pydantic.BaseModel):
    """A score with its interval."""

    value: float
    low: float | None = None
    high: float | None = None


class Baseline(pydantic.BaseModel):
    """The scores of a simpler answer."""

    name: str
    metrics: dict[str, Figure]


class PlannedStage(pydantic.BaseModel):
    """What the plan said of a stage: seconds are estimates."""

    name: str
    trains: str
    cut: str | None = None
    kept: bool
    bytes: int
    seconds: float
    seconds_without_keeping: float


class Plan(pydantic.BaseModel):
    """What was promised before training with frozen layers, and the seconds that it took."""

    seconds: float
    seconds_without_keeping: float
    fill_seconds: float
    bytes: int
    views: int
    stages: list[PlannedStage]
    took: float | None = None


class Refit(pydantic.BaseModel):
    """Training once more on n examples of training and validation; kept unless it went wrong."""

    examples: int
    epochs: dict[str, int]  # by stage
    kept: bool


class Memorised(pydantic.BaseModel):
    """How many of n samples lie nearer to a training image than new images do."""

    n: int
    flagged: int
    threshold: float | None = None


class ClassShares(pydantic.BaseModel):
    """Shares of the classes, 0 to 1, as the feature network takes real images and samples."""

    names: list[str] = []
    real: list[float] = []
    samples: list[float] = []


class Alarm(pydantic.BaseModel):
    """What went wrong while a generator was trained, and what was done about it."""

    stage: str | int | None = None
    epoch: int | None = None
    step: int | None = None
    kind: str = ""
    what: str = ""
    done: str = ""


class Generation(pydantic.BaseModel):
    """What `metrics.json` says of samples beside the figures."""

    features: str = ""
    digest: str = ""
    samples: int | None = None
    real: dict[str, Figure] = {}  # real images against as many other real ones
    samplers: list[Baseline] = []  # the model's own first
    memorised: Memorised | None = None
    classes: ClassShares | None = None
    alarms: list[Alarm] | None = None


class Bin(pydantic.BaseModel):
    """Answers of like confidence: how sure, how often right."""

    n: int
    confidence: float
    right: float
    low: float
    high: float


class Abstained(pydantic.BaseModel):
    """What a wanted share of errors takes: the confidence, the share of answers that reach it, and their errors."""

    wanted: float
    threshold: float | None = None
    coverage: Figure | None = None
    error: Figure | None = None


class Calibration(pydantic.BaseModel):
    """Whether answers are as sure as they are right."""

    temperature: float
    smoothing: float = 0.0
    ece: dict[str, Figure]
    chance: float | None = None  # what `ece` would be of answers as sure as right; not in older runs
    curve: list[Bin] = []
    abstain: list[Abstained] = []
    asked: Abstained | None = None


class Called(pydantic.BaseModel):
    """What a wanted precision takes, and the recall that is left."""

    wanted: float
    threshold: float | None = None
    precision: Figure | None = None
    recall: Figure | None = None


class TwoClasses(pydantic.BaseModel):
    """How well two classes are told apart."""

    positive: str
    auroc: Figure
    average_precision: Figure
    roc: list[tuple[float, float]] = []
    pr: list[tuple[float, float]] = []
    thresholds: list[Called] = []


class LabelCheck(pydantic.BaseModel):
    """What was found of labels that may be wrong, or why none were looked at."""

    n: int = 0
    usable: int = 0
    suspects: int = 0
    method: str = ""
    accuracy: float = 0.0
    folds: int = 0
    reason: str | None = None


class BalanceTrial(pydantic.BaseModel):
    """How one way of balancing classes validated; no figures where it diverged."""

    way: str
    macro_f1: float | None = None


class Balance(pydantic.BaseModel):
    """How classes were balanced, and what was tried for it."""

    chosen: str | bool
    tried: list[BalanceTrial] = []


class Metrics(pydantic.BaseModel):
    """`metrics.json`; keys that a later version adds are passed over."""

    task: str
    split: str
    n: int
    metrics: dict[str, Figure]
    baseline: Baseline | None = None
    baselines: list[Baseline] = []
    verdict: str
    verdicts: list[str] = []  # about further baselines
    measure: str | None = None  # of the metrics, what the verdict is about
    balance: Balance | None = None
    series: int | None = None  # of forecasts, where n counts windows
    season: int | None = None  # steps
    interval_over: str = ""  # what intervals resample, where that is not the examples
    seconds: dict[str, float] = {}
    plan: Plan | None = None
    refit: Refit | None = None
    generation: Generation | None = None
    calibration: Calibration | None = None
    binary: TwoClasses | None = None
    suspects: LabelCheck | None = None
    versions: dict[str, str] = {}


class Epoch(pydantic.BaseModel):
    """One line of `log.jsonl`."""

    stage: str = ""
    stage_index: int = 0
    epoch: int
    train: dict[str, float | None] = {}
    valid: dict[str, float | None] | None = None
    learning_rate: float | None = None
    seconds: float | dict[str, float] = 0.0
    best: bool = False

    def took(self) -> float:
        """Seconds of the epoch, its parts added up."""
        return sum(self.seconds.values()) if isinstance(self.seconds, dict) else self.seconds


@dataclass
class RunFiles:
    """The files of a run folder; None or empty stands for what is not there."""

    path: Path
    recipe_text: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    metrics: Metrics | None = None
    predictions: pl.DataFrame | None = None
    examples: pl.DataFrame | None = None
    written: datetime | None = None  # when the newest of the files was written, UTC
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> str:
        """As the figures say, else the recipe; empty where neither does."""
        return self.metrics.task if self.metrics else str(self.recipe.get("task", ""))

    @property
    def season(self) -> int | None:
        """Steps after which the series repeat, as the figures or the recipe name them."""
        tables = [self.recipe, *[part for part in self.recipe.values() if isinstance(part, dict)]]
        named = [self.metrics.season if self.metrics else None, *[table.get("season") for table in tables]]
        return next((season for season in named if isinstance(season, int) and season > 0), None)

    @property
    def level(self) -> float:
        """The share of values that the intervals of forecasts are to hold."""
        level = self.recipe.get("interval")
        return level if isinstance(level, float) and 0 < level < 1 else LEVEL


def read_run(path: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        StoreError: there is no such folder.
    """
    if not path.is_dir():
        raise StoreError(f"There is no run folder at {path}.", expected="a folder that layerwise train wrote")
    run = RunFiles(path)
    run.recipe_text = attempt(run, "recipe.toml", _text) or ""
    run.recipe = attempt(run, "recipe.toml", _toml) or {}
    run.epochs = attempt(run, "log.jsonl", _log) or []
    run.metrics = attempt(run, "metrics.json", lambda file: Metrics.model_validate_json(file.read_bytes()))
    run.predictions = attempt(run, "predictions.csv", _predictions)
    run.examples = attempt(run, "examples.parquet", _examples)
    names = ("metrics.json", "predictions.csv", "log.jsonl", "recipe.toml")
    times = [(path / name).stat().st_mtime for name in names if (path / name).is_file()]
    run.written = datetime.fromtimestamp(max(times), UTC) if times else None
    return run


def attempt(run: RunFiles, name: str, reader: Callable[[Path], T]) -> T | None:
    """What `reader` makes of a file, or None and a note."""
    file = run.path / name
    try:
        return reader(file)
    except FileNotFoundError:
        note = f"{name} is missing."
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        note = f"{name} cannot be used: {'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}."
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        note = f"{name} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}."
    if note not in run.notes:
        run.notes.append(note)
    return None


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _toml(file: Path) -> dict[str, Any]:
    return tomllib.loads(_text(file))


def _log(file: Path) -> list[Epoch]:
    """The epochs in the order they were trained; an epoch repeated after a resume counts once, as last written."""
    found: dict[tuple[int, int], Epoch] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            epoch = Epoch.model_validate(json.loads(line))
        except (json.JSONDecodeError, pydantic.ValidationError):
            continue  # a line cut off when the run was
        found[epoch.stage_index, epoch.epoch] = epoch
    return [found[key] for key in sorted(found)]


def _predictions(file: Path) -> pl.DataFrame:
    """Everything as text first: a class named "007" is no number."""
    table = pl.read_csv(file, infer_schema=False)
    forecast = "forecast" in table.columns and "predicted" not in table.columns
    scores = "score" in table.columns and not forecast and "predicted" not in table.columns
    wanted = FORECASTS if forecast else SCORES if scores else PREDICTIONS
    table = _with(table, wanted).with_columns(pl.all().str.replace(GUARDED, "$1"))
    whole = ["id", "step"] if forecast else ["id"]
    numbers = ["y", "forecast", "low", "high"] if forecast else ["probability", "loss"]
    if scores:
        numbers = ["score", *latents(table)]
    return table.with_columns(
        pl.col(*whole).cast(pl.Int64, strict=False), pl.col(*numbers).cast(pl.Float64, strict=False)
    )


def latents(table: pl.DataFrame) -> list[str]:
    """The columns z0, z1, ... of a table, in their order."""
    found = [name for name in table.columns if name.startswith("z") and name[1:].isdecimal()]
    return sorted(found, key=lambda name: int(name[1:]))


def _examples(file: Path) -> pl.DataFrame:
    if not file.is_file():
        raise FileNotFoundError
    table = _with(pl.read_parquet(file), EXAMPLES)
    return table.with_columns(pl.col(name).cast(pl.String) for name in EXAMPLES[1:])


def _with(table: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    return table
