"""What keeps the figures of a run: TensorBoard's event files, and a run of MLflow. Their methods may raise anything."""

from __future__ import annotations

import importlib
import json
import os
import time
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from layerwise.errors import StoreError, UsageError
from layerwise.store import atomic

SQLITE = "sqlite:///"  # before the path of a file, where MLflow keeps its runs in one
_EXPERIMENT = "layerwise"  # of MLflow, where MLFLOW_EXPERIMENT_NAME names no other
_REMEMBERED = "tracking.json"  # of the run folder: where the run is in TensorBoard and MLflow
_ALWAYS = "learning_rate"  # a figure of every epoch
_LONGEST = 500  # characters of a parameter that servers of every age take
_AT_ONCE = 100  # parameters that a server takes in a call
# Nobody is told of this but who was asked to be; and a server that is gone is given up in seconds, not in minutes.
_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@final
class TensorBoard:
    """Event files, in a folder of the run's own within the one that was named.

    Scalars are the figures of `log.jsonl` by epoch, such as `train/loss`, and those of the end, such as
    `final/accuracy/low`; texts are the recipe, the name of each stage where it begins, and the verdict.

    Args:
        parent: the folder that was named; made where it is missing.
        folder: of the run.

    Raises:
        UsageError: TensorBoard is not installed.
        StoreError: the folder cannot be made.
    """

    def __init__(self, parent: str, folder: Path) -> None:
        self._event = _library("tensorboard.compat.proto.event_pb2", "tensorboard").Event
        self._summary = _library("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._text_pb = _library("tensorboard.plugins.text.summary_v2", "tensorboard").text_pb
        self._records = _library("tensorboard.summary.writer.record_writer", "tensorboard").RecordWriter
        self._loader = _library("tensorboard.backend.event_processing.event_file_loader", "tensorboard").EventFileLoader
        atomic.make_folder(Path(parent))
        self._parent, self._folder = Path(parent), folder
        self._last, self._finished = 0, False
        self._file: Any = None

    def begin(self) -> int:
        """Open a new event file; gives the epochs that the others hold."""
        known = _remembered(self._folder).get("tensorboard")
        place = _new_place(self._parent, self._folder) if known is None else Path(known)
        if known is None:
            _remember(self._folder, "tensorboard", str(place))
        files = sorted(place.glob("*.tfevents.*"))
        for event in (event for file in files for event in self._loader(str(file)).Load()):
            tags = {value.tag for value in event.summary.value}
            self._last = max(self._last, event.step if _ALWAYS in tags else 0)
            self._finished = self._finished or any(tag.startswith("final/") for tag in tags)
        # Each session writes a file of its own: behind a line that a kill cut off, nothing can be read.
        self._file = self._records((place / f"events.out.tfevents.{time.time_ns()}.layerwise").open("xb"))
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        if not files:
            recipe = (self._folder / "recipe.toml").read_text(encoding="utf-8")
            self._add(self._text_pb("recipe", "".join(f"    {line}\n" for line in recipe.splitlines())), 0)
        return self._last

    def epoch(self, number: int, line: Mapping[str, Any]) -> None:
        """An event with all figures; another with the stage's name at its first epoch."""
        if line["epoch"] == 0:
            self._add(self._text_pb("stage", line["stage"]), number)
        self._scalars(_of_epoch(line), number)
        self._last = number

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Figures with their intervals, at the last epoch, and the verdict; once."""
        if not self._finished:
            self._add(self._text_pb("verdict", str(metrics["verdict"])), self._last)
            self._scalars(_of_end(metrics), self._last)
            self._finished = True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _scalars(self, figures: Mapping[str, float], step: int) -> None:
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        self._add(self._summary(value=values), step)

    def _add(self, summary: Any, step: int) -> None:
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._file.write(event.SerializeToString())
        self._file.flush()


@final
class MLflow:
    """A run of the experiment "layerwise", or of the one that the variable MLFLOW_EXPERIMENT_NAME names.

    Parameters are the recipe; metrics the figures of `log.jsonl` by epoch and those of the end; artefacts
    `report.html`, `metrics.json` and `recipe.toml`. Telemetry is off.

    Args:
        uri: sqlite:///FILE.db, or the address of a server.
        folder: of the run.

    Raises:
        UsageError: MLflow is not installed.
        StoreError: nothing answers there, or MLflow does not take it.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        for name, value in _MLFLOW.items():
            os.environ.setdefault(name, value)
        self._uri, self._folder = uri, folder
        self._name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        self._run, self._last, self._status = "", 0, "KILLED"
        if uri.startswith(SQLITE):
            atomic.make_folder(self._database.parent)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._entities = _library("mlflow.entities", "mlflow")
            tracking = _library("mlflow.tracking", "mlflow")
            try:
                self._client = tracking.MlflowClient(tracking_uri=uri)
                self._client.get_experiment_by_name(self._name)  # asks, so that a wrong address is found out now
            except Exception as error:
                raise StoreError(
                    f"MLflow cannot keep runs at {uri}. {reason(error)}",
                    expected="sqlite:///FILE.db, or the address of a server, such as http://localhost:5000",
                ) from error

    @property
    def _database(self) -> Path:
        return Path(self._uri.removeprefix(SQLITE))

    def begin(self) -> int:
        """Make a run with the recipe as its parameters, or go on with the one of this run folder."""
        known = _remembered(self._folder).get("mlflow")
        if known is None:
            self._run = self._client.create_run(self._experiment(), run_name=self._folder.name).info.run_id
            params = [self._entities.Param(key, value[:_LONGEST]) for key, value in _parameters(self._folder).items()]
            for first in range(0, len(params), _AT_ONCE):
                self._client.log_batch(self._run, params=params[first : first + _AT_ONCE])
            _remember(self._folder, "mlflow", self._run)
            return 0
        self._run = known
        self._client.update_run(known, status="RUNNING")
        self._last = max((each.step for each in self._client.get_metric_history(known, _ALWAYS)), default=0)
        return self._last

    def epoch(self, number: int, line: Mapping[str, Any]) -> None:
        """All figures in a call; the stage is a tag."""
        self._log(_of_epoch(line), number)
        if line["epoch"] == 0:
            self._client.set_tag(self._run, "stage", line["stage"])
        self._last = number

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Figures with their intervals, the verdict as a tag, and the files."""
        there = self._client.get_run(self._run).data.metrics
        self._log({name: value for name, value in _of_end(metrics).items() if name not in there}, self._last)
        self._client.set_tag(self._run, "verdict", str(metrics["verdict"]))
        for name in ("report.html", "metrics.json", "recipe.toml"):
            self._client.log_artifact(self._run, str(self._folder / name))
        self._status = "FINISHED"

    def close(self) -> None:
        """Say that the run is finished, or that it was stopped."""
        if self._run:
            self._client.set_terminated(self._run, self._status)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._name)
        if found is not None:
            return str(found.experiment_id)
        # Beside the database; MLflow's own choice is the folder in which a run happens to be started.
        place = (self._database.parent / "mlruns").as_uri() if self._uri.startswith(SQLITE) else None
        return str(self._client.create_experiment(self._name, artifact_location=place))

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(key, value, now, step) for key, value in figures.items()]
        self._client.log_batch(self._run, metrics=metrics)


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"track.{name} needs a library, and it cannot be imported: {error}.",
            fix=f'Install it with pip install "layerwise[track]", or leave track.{name} out.',
        ) from None


def _of_epoch(line: Mapping[str, Any]) -> dict[str, float]:
    return _figures({key: value for key, value in line.items() if key not in ("epoch", "stage_index")})


def _of_end(metrics: Mapping[str, Any]) -> dict[str, float]:
    return _figures({"final": metrics["metrics"]})


def _figures(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested tables by their paths; texts, flags and what is not known are left out.

    Example:
        >>> _figures({"valid": {"loss": 1, "low": None}, "best": True})
        {'valid/loss': 1.0}
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _figures(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value)
    return found


def _parameters(folder: Path) -> dict[str, str]:
    """The recipe of a run, by dotted keys; lists as JSON."""
    return _flat(tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8")))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return found


def _new_place(parent: Path, run: Path) -> Path:
    """A new folder that bears the name of the run; within the run, where all runs lie in the folder that was named."""
    if run.absolute().parent == parent:
        parent, run = run, Path("tensorboard")
    number = 1
    while True:
        place = parent / (run.name if number == 1 else f"{run.name}-{number}")
        try:
            place.mkdir()  # fails where it exists, so two runs never share one
            return place
        except FileExistsError:
            number += 1


def _remembered(folder: Path) -> dict[str, str]:
    file = folder / _REMEMBERED
    return dict(atomic.read_json(file)) if file.is_file() else {}


def _remember(folder: Path, key: str, place: str) -> None:
    atomic.write_json(folder / _REMEMBERED, {**_remembered(folder), key: place})


def reason(error: Exception) -> str:
    """The kind of an error and the first line of what it says; libraries write pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else f"{type(error).__name__}."
