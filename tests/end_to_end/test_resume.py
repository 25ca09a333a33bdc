"""A run that was stopped, at any step of any stage, ends bit-equal to one that never was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import layerwise
from layerwise import api
from layerwise.console import Silent
from layerwise.errors import StoreError, TrainingError
from layerwise_tests import images
from layerwise_tests.runs import fingerprint, killed_after, stop_after

STAGES = [
    {"name": "first", "epochs": 2, "learning_rate": 1e-2},
    {"name": "second", "epochs": 2, "learning_rate": 1e-3},
]
RECIPE: dict[str, Any] = {
    "model": "cnn-28",
    "stages": STAGES,
    "batch_size": 16,
    "save_seconds": 0.0,  # a checkpoint after each step
    "augment": {"rotation": 10, "flip": True, "cutout": 0.2, "mixup": 0.2},
    "optimizer": {"name": "adamw", "ema": 0.9, "clip": 1.0},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.folder(tmp_path_factory.mktemp("photos") / "data", count=20, side=28)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("straight") / "run"
    api.run_training(str(photos), RECIPE | {"data_path": str(photos)}, None, out, Silent())
    return fingerprint(out)


# 48 training images in batches of 16: 3 steps an epoch, 6 a stage.
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 7, 8, 11, 12])
def test_ctrl_c_then_resume(
    steps: int, photos: Path, straight: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            api.run_training(
                str(photos), RECIPE | {"data_path": str(photos), "save_seconds": 1e9}, None, tmp_path / "run", Silent()
            )
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(2,), (5, 4), (9, 1)])
def test_kill_9_then_resume_as_often_as_it_takes(
    kills: tuple[int, ...], photos: Path, straight: dict[str, Any], tmp_path: Path
) -> None:
    recipe = RECIPE | {"data_path": str(photos)}
    for number, steps in enumerate(kills):
        killed_after(steps, "train" if number == 0 else "resume", photos, tmp_path / "run", recipe)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == straight


def test_a_damaged_last_checkpoint_is_named_and_the_one_before_serves(
    photos: Path, straight: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(8, patch)
        with pytest.raises(TrainingError):
            api.run_training(str(photos), RECIPE | {"data_path": str(photos)}, None, tmp_path / "run", Silent())
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    said: list[str] = []

    class Listening(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    api.resume(tmp_path / "run", show=Listening())
    assert any(newest.name in line for line in said)
    assert fingerprint(tmp_path / "run") == straight


def test_changed_data_is_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = images.folder(tmp_path / "own", count=20, side=28)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(TrainingError):
            api.run_training(str(own), RECIPE | {"data_path": str(own)}, None, tmp_path / "run", Silent())
    (own / "disc" / "000.png").write_bytes((own / "square" / "001.png").read_bytes())
    with pytest.raises(StoreError, match="1 of 60 examples have changed"):
        layerwise.resume(tmp_path / "run")


def test_same_seed_same_weights_other_seed_other_weights(
    photos: Path, straight: dict[str, Any], tmp_path: Path
) -> None:
    for seed, same in ((0, True), (1, False)):
        api.run_training(
            str(photos), RECIPE | {"data_path": str(photos), "seed": seed}, None, tmp_path / str(seed), Silent()
        )
        assert (fingerprint(tmp_path / str(seed))["weights"] == straight["weights"]) is same
