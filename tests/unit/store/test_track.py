"""What TensorBoard and MLflow hold of a run: every figure once, whatever stopped in between."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from layerwise.config import build
from layerwise.console import Silent
from layerwise.errors import RecipeError, StoreError, UsageError
from layerwise.store.track import Tracking, TrackRecipe, open_tracking
from layerwise.store.trackers import TensorBoard

METRICS = {
    "metrics": {"accuracy": {"value": 0.75, "low": 0.5, "high": 0.9}, "mase": {"value": 1.0, "low": None}},
    "verdict": "Better than the majority class.",
}


class Said(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def line(epoch: int, stage: str = "head") -> dict[str, Any]:
    return {
        "stage": stage, "stage_index": 0, "epoch": epoch, "train": {"loss": 1.0 / (epoch + 1)},
        "valid": {"accuracy": 0.5 + epoch / 10}, "learning_rate": 0.01, "seconds": {"train": 1.0, "valid": 0.5},
        "best": True,
    }  # fmt: skip


HISTORY = [line(0), line(1), line(0, "last")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as far as trackers look at it."""
    folder = tmp_path / "runs" / "flowers"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text('model = "cnn-28"\n[optimizer]\nname = "adam"\n[[stages]]\nname = "head"\n')
    for name in ("report.html", "metrics.json"):
        (folder / name).write_text("{}")
    return folder


def told(asked: Mapping[str, Any], run: Path, history: Sequence[Mapping[str, Any]], *, end: bool = False) -> list[str]:
    """A session that tells epochs one after another, then perhaps the end; what was said to the person."""
    show = Said()
    tracking = open_tracking(asked, run, show, resumed=(run / "tracking.json").exists())
    for count in range(1, len(history) + 1):
        tracking.epochs(history[:count])
    if end:
        tracking.finish(history, METRICS)
    tracking.close()
    return show.lines


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    return {tag: [(each.step, round(each.value, 4)) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(each.step, each.tensor_proto.string_val[0].decode()) for each in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


# The recipe


def test_places_are_whole_paths_and_servers_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = build(TrackRecipe, {"tensorboard": "events", "mlflow": "sqlite:///m.db"})
    assert found.tensorboard == str(tmp_path / "events") and found.mlflow == f"sqlite:///{tmp_path}/m.db"
    assert build(TrackRecipe, found.model_dump()) == found
    assert build(TrackRecipe, {"mlflow": "http://localhost:5000"}).mlflow == "http://localhost:5000"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tensorbord": "x"}, 'Did you mean "track.tensorboard"?'),
        ({"tensorboard": ""}, "at least 1 character"),
        ({"mlflow": "http://me:secret@host"}, "without a password"),
        ("events", "a table"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: Any, said: str, run: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        open_tracking(asked, run, Said())
    assert said in str(caught.value)


def test_nothing_is_written_where_nothing_is_asked_for_or_nothing_happens(run: Path, tmp_path: Path) -> None:
    before = sorted(run.iterdir())
    assert told({}, run, HISTORY, end=True) == [] and open_tracking(None, run, Said())
    open_tracking({"tensorboard": str(tmp_path / "events")}, run, Said()).close()
    assert sorted(run.iterdir()) == before and not list((tmp_path / "events").iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_library_is_an_error_with_its_mend(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(module: str, *given: Any) -> Any:
        if module.startswith(name):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(module, *given)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(UsageError, match=r'pip install "layerwise\[track\]"'):
        open_tracking({name: "sqlite:///m.db" if name == "mlflow" else str(run / "events")}, run, Said())


# TensorBoard


def test_every_figure_stands_at_its_epoch(run: Path, tmp_path: Path) -> None:
    events = tmp_path / "events"
    assert told({"tensorboard": str(events)}, run, HISTORY, end=True) == []
    found = scalars(events / "flowers")
    assert found == {
        "train/loss": [(1, 1.0), (2, 0.5), (3, 1.0)],
        "valid/accuracy": [(1, 0.5), (2, 0.6), (3, 0.5)],
        "learning_rate": [(1, 0.01), (2, 0.01), (3, 0.01)],
        "seconds/train": [(1, 1.0), (2, 1.0), (3, 1.0)],
        "seconds/valid": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "final/accuracy/value": [(3, 0.75)],
        "final/accuracy/low": [(3, 0.5)],
        "final/accuracy/high": [(3, 0.9)],
        "final/mase/value": [(3, 1.0)],
    }
    said = texts(events / "flowers")
    assert said["stage"] == [(1, "head"), (3, "last")] and said["verdict"] == [(3, METRICS["verdict"])]
    assert '    model = "cnn-28"\n    [optimizer]\n' in said["recipe"][0][1]


def test_a_run_that_goes_on_doubles_nothing_and_leaves_nothing_out(run: Path, tmp_path: Path) -> None:
    asked = {"tensorboard": str(tmp_path / "events")}
    told(asked, run, HISTORY[:1])
    told(asked, run, HISTORY, end=True)  # the second epoch was saved and never told
    told(asked, run, HISTORY, end=True)  # a finished run whose end is made again
    assert [each.name for each in (tmp_path / "events").iterdir()] == ["flowers"]
    found = scalars(tmp_path / "events" / "flowers")
    assert {tag: [step for step, _ in values] for tag, values in found.items() if not tag.startswith("final")} == {
        tag: [1, 2, 3] for tag in ("train/loss", "valid/accuracy", "learning_rate", "seconds/train", "seconds/valid")
    }
    assert found["final/accuracy/value"] == [(3, 0.75)] and len(texts(tmp_path / "events" / "flowers")["recipe"]) == 1


def test_an_event_that_a_kill_cut_off_is_told_again(run: Path, tmp_path: Path) -> None:
    asked = {"tensorboard": str(tmp_path / "events")}
    told(asked, run, HISTORY[:2])
    (file,) = (tmp_path / "events" / "flowers").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert told(asked, run, HISTORY) == []
    assert [step for step, _ in scalars(tmp_path / "events" / "flowers")["train/loss"]] == [1, 2, 3]


def test_runs_of_one_name_have_folders_of_their_own(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "others" / "flowers"
    other.mkdir(parents=True)
    (other / "recipe.toml").write_text("")
    for each in (run, other):
        told({"tensorboard": str(tmp_path / "events")}, each, HISTORY[:1])
    assert sorted(each.name for each in (tmp_path / "events").iterdir()) == ["flowers", "flowers-2"]


def test_beside_all_runs_events_lie_within_the_run(run: Path) -> None:
    told({"tensorboard": str(run.parent)}, run, HISTORY[:1])
    assert [each.name for each in run.parent.iterdir()] == ["flowers"]
    assert scalars(run / "tensorboard")["train/loss"] == [(1, 1.0)]


def test_a_folder_that_cannot_be_made_stops_a_new_run_and_no_old_one(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = {"tensorboard": str(tmp_path / "file" / "events")}
    with pytest.raises(StoreError, match="events could not be made"):
        open_tracking(asked, run, Said())
    show = Said()
    open_tracking(asked, run, show, resumed=True).epochs(HISTORY)
    assert len(show.lines) == 1 and "TensorBoard is told nothing of this run, which goes on" in show.lines[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_the_other_tracker_is_told_on(run: Path, tmp_path: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.lines: list[int] = []

        def begin(self) -> int:
            return 0

        def epoch(self, number: int, line: Mapping[str, Any]) -> None:
            self.lines.append(number)

        def finish(self, metrics: Mapping[str, Any]) -> None:
            self.lines.append(-1)

        def close(self) -> None:
            self.lines.append(-2)

    show, kept, full = Said(), Kept(), TensorBoard(str(tmp_path / "events"), run)
    tracking = Tracking({"TensorBoard": full, "Kept": kept}, show)
    tracking.epochs(HISTORY[:1])
    full.close()
    full._file = full._records(open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    tracking.epochs(HISTORY[:2])
    tracking.epochs(HISTORY)
    tracking.finish(HISTORY, METRICS)
    tracking.close()
    assert len(show.lines) == 1 and "No space left on device" in show.lines[0] and "which goes on" in show.lines[0]
    assert kept.lines == [1, 2, 3, -1, -2]
    assert [step for step, _ in scalars(tmp_path / "events" / "flowers")["train/loss"]] == [1]


# MLflow


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a database, where nothing may reach for a network."""
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'layerwise[track]'")

    def refused(*given: Any) -> None:
        raise AssertionError(f"a connection to {given[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return tmp_path / "place" / "m.db"


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_mlflow_has_parameters_figures_and_files(run: Path, mlflow: Path) -> None:
    assert told({"mlflow": f"sqlite:///{mlflow}"}, run, HISTORY, end=True) == []
    figures = set(rows(mlflow, "select key, step, value from metrics"))
    assert {("train/loss", 1, 1.0), ("train/loss", 2, 0.5), ("valid/accuracy", 2, 0.6)} < figures
    assert {("final/accuracy/low", 3, 0.5), ("final/accuracy/value", 3, 0.75), ("final/mase/value", 3, 1.0)} < figures
    assert set(rows(mlflow, "select key, value from params")) == {
        ("model", "cnn-28"), ("optimizer.name", "adam"), ("stages", '[{"name": "head"}]'),
    }  # fmt: skip
    ((status, name, place),) = rows(mlflow, "select status, name, artifact_uri from runs")
    assert (status, name) == ("FINISHED", "flowers")
    kept = Path(place.removeprefix("file://"))
    assert kept.is_relative_to(mlflow.parent)
    assert sorted(each.name for each in kept.iterdir()) == ["metrics.json", "recipe.toml", "report.html"]
    assert not [each.name for each in threading.enumerate() if "telemetry" in each.name.lower()]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_goes_on_with_the_same_run(run: Path, mlflow: Path) -> None:
    asked = {"mlflow": f"sqlite:///{mlflow}"}
    told(asked, run, HISTORY[:2])
    assert rows(mlflow, "select status from runs") == [("KILLED",)]
    told(asked, run, HISTORY, end=True)
    told(asked, run, HISTORY, end=True)
    assert rows(mlflow, "select run_uuid, status from runs") == [
        (json.loads((run / "tracking.json").read_text())["mlflow"], "FINISHED")
    ]
    assert rows(mlflow, "select step from metrics where key = 'train/loss' order by step") == [(1,), (2,), (3,)]
    assert len(rows(mlflow, "select step from metrics where key like 'final/accuracy/%'")) == 3


def test_an_address_that_mlflow_does_not_take_stops_a_new_run_and_no_old_one(run: Path, mlflow: Path) -> None:
    for wrong in (str(mlflow.parent), "file:///runs", "nonsense://x"):
        with pytest.raises(StoreError, match="MLflow cannot keep runs at"):
            open_tracking({"mlflow": wrong}, run, Said())
    show = Said()
    open_tracking({"mlflow": "nonsense://x"}, run, show, resumed=True).epochs(HISTORY)
    assert len(show.lines) == 1 and "MLflow is told nothing of this run, which goes on" in show.lines[0]


def test_a_server_that_is_not_there_is_found_out_before_a_run(run: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'layerwise[track]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StoreError, match="MLflow cannot keep runs at"):
        open_tracking({"mlflow": address}, run, Said())


def test_a_database_that_goes_away_does_not_stop_a_run(run: Path, mlflow: Path) -> None:
    show = Said()
    tracking = open_tracking({"mlflow": f"sqlite:///{mlflow}"}, run, show)
    tracking.epochs(HISTORY[:1])
    mlflow.write_bytes(b"no database any more, and much longer than the head of a file of SQLite would be" * 20)
    tracking.epochs(HISTORY)
    tracking.finish(HISTORY, METRICS)
    tracking.close()
    assert len(show.lines) == 1 and show.lines[0].startswith("MLflow is told nothing more of this run")
