"""Runs that TensorBoard and MLflow follow: the same runs, whatever stops them."""

from __future__ import annotations

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.store.trackers import TensorBoard
from layerwise_tests.runs import fingerprint, killed_after, only_object
from layerwise_tests.sequences import waves
from layerwise_tests.shapes import shapes

TASK = "sequence-classification"
FAST: dict[str, Any] = {
    "task": TASK, "model": "gru-stack", "epochs": 3, "device": "cpu", "batch_size": 8,
    "split": {"valid": 0.2},
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "waves.npz", x=np.stack(waves(60)), y=np.array(["slow", "fast"] * 30))
    return tmp_path / "waves.npz"


def steps(events: Path, tag: str) -> list[int]:
    found = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    return [each.step for each in found.Scalars(tag)]


@pytest.mark.slow
def test_a_run_killed_twice_is_followed_to_its_end_and_is_the_run_that_nobody_follows(
    data: Path, tmp_path: Path
) -> None:
    plain = api.run_training(str(data), FAST, None, tmp_path / "plain", Silent())
    asked = {"tensorboard": str(tmp_path / "events")}
    if with_mlflow := find_spec("mlflow") is not None:
        asked["mlflow"] = f"sqlite:///{tmp_path}/m.db"
    per_epoch = 6  # steps: 42 sequences of 8
    killed_after(per_epoch + 2, "train", data, tmp_path / "run", {**FAST, "track": asked})
    killed_after(per_epoch, "resume", data, tmp_path / "run", {})
    run = api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(run.path) == fingerprint(plain.path)
    assert [each.name for each in (tmp_path / "events").iterdir()] == ["run"]
    for tag in ("train/loss", "valid/accuracy", "learning_rate"):
        assert steps(tmp_path / "events" / "run", tag) == [1, 2, 3]
    assert steps(tmp_path / "events" / "run", "final/accuracy/low") == [3]
    if with_mlflow:
        connection = sqlite3.connect(tmp_path / "m.db")
        told = connection.execute("select step from metrics where key = 'train/loss' order by step").fetchall()
        assert told == [(1,), (2,), (3,)]
        assert connection.execute("select status from runs").fetchall() == [("FINISHED",)]
        connection.close()


def test_the_flags_are_keys_that_stay_in_the_recipe(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "train",
        str(data),
        "--task",
        TASK,
        "--model",
        "gru-stack",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
        "--json",
    ]
    assert call([*words, "--tensorboard", "events"]) == 0
    assert only_object(capsys)["run"] == "run"
    assert f'tensorboard = "{tmp_path}/events"' in (tmp_path / "run" / "recipe.toml").read_text()
    assert steps(tmp_path / "events" / "run", "train/loss") == [1]


def test_a_place_that_cannot_be_used_ends_a_run_before_it_began(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call(["train", str(data), "--out", str(out), "--tensorboard", str(data / "events")]) == 1
    assert call(["train", str(data), "--out", str(out), "--mlflow", "http://me:secret@host"]) == 2
    said = capsys.readouterr().err
    assert "could not be made" in said and "without a password" in said and not out.exists()


def test_a_tracker_that_fails_in_the_middle_does_not_stop_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = TensorBoard.epoch

    def failing(self: TensorBoard, number: int, line: Any) -> None:
        if number == 2:
            raise OSError(28, "No space left on device")
        real(self, number, line)

    monkeypatch.setattr(TensorBoard, "epoch", failing)
    words = [
        "train",
        str(data),
        "--task",
        TASK,
        "--model",
        "gru-stack",
        "--epochs",
        "3",
        "--device",
        "cpu",
        "--out",
        f"{tmp_path}/run",
    ]
    assert call([*words, "--tensorboard", f"{tmp_path}/events"]) == 0
    assert capsys.readouterr().err.count("TensorBoard is told nothing more of this run, which goes on.") == 1
    assert (tmp_path / "run" / "report.html").exists() and steps(tmp_path / "events" / "run", "train/loss") == [1]


@pytest.mark.parametrize("task", ["forecast", "vae", "gan"])
def test_other_tasks_are_followed_too(task: str, tmp_path: Path) -> None:
    judge = {"network": "small", "samples": 50, "epoch_samples": 50, "steps": 2}
    given: tuple[Any, dict[str, Any]] = (shapes(60, side=12)[0], {"model": f"{task}-tutorial", "judge": judge})
    if task == "forecast":
        given = np.sin(np.arange(120) / 3), {"model": "linear", "horizon": 6}
    if task == "gan":
        given[1]["epoch_steps"] = 2
    values = {"task": task, "epochs": 1, "device": "cpu", "track": {"tensorboard": str(tmp_path / "events")}}
    api.run_training(given[0], {**values, **given[1]}, None, tmp_path / "run", Silent())
    figure = {"forecast": "mase", "vae": "negative_elbo", "gan": "distance"}[task]
    assert len(steps(tmp_path / "events" / "run", f"final/{figure}/value")) == 1
    assert steps(tmp_path / "events" / "run", "learning_rate") == [1]
