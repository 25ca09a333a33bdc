"""A run that searches its own learning rate: the rate is in the log, and a resumed run keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerwise import api
from layerwise.console import Silent
from layerwise.errors import TrainingError
from layerwise_tests import images
from layerwise_tests.runs import fingerprint, stop_after

RECIPE: dict[str, Any] = {
    "model": "cnn-28",
    "device": "cpu",
    "precision": "float32",
    "batch_size": 8,
    "epochs": 2,
    "find_rate": True,
}


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_the_rate_that_was_found_is_said_logged_and_kept_by_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, heard = images.arrays(40), Heard()
    api.run_training(data, RECIPE, None, tmp_path / "straight", heard)
    straight = fingerprint(tmp_path / "straight")
    assert any("learning rate" in line for line in heard.lines)
    assert straight["log"][0]["learning_rate"] not in (0.0, 3e-3 / 25)  # where the network's own cycle begins
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(TrainingError):
            api.run_training(data, RECIPE, None, tmp_path / "run", Silent())
    again = Heard()
    api.resume(tmp_path / "run", data=data, show=again)
    assert not any("learning rate" in line for line in again.lines)  # nothing is searched twice
    assert fingerprint(tmp_path / "run") == straight


def test_the_search_leaves_the_start_of_training_as_it_was(tmp_path: Path) -> None:
    """With the rate that a search found given by hand, the run is the same bit for bit."""
    data, searched = images.arrays(40), {**RECIPE, "optimizer": {"schedule": "constant"}}
    api.run_training(data, searched, None, tmp_path / "searched", Silent())
    found = fingerprint(tmp_path / "searched")
    optimizer = {"schedule": "constant", "learning_rate": found["log"][0]["learning_rate"]}
    api.run_training(data, {**RECIPE, "find_rate": False, "optimizer": optimizer}, None, tmp_path / "given", Silent())
    assert fingerprint(tmp_path / "given")["weights"] == found["weights"]
