"""A refactor leaves the loss curve as it was: order, augmentation, schedule, averages and splits all enter it.

Where a change of numbers is meant, run this file as a script and put in what it prints, saying why in the commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from layerwise import api
from layerwise.console import Silent
from layerwise_tests import images

RECIPE = {
    "model": "cnn-28",
    "epochs": 3,
    "seed": 11,
    "device": "cpu",
    "precision": "float32",
    "batch_size": 16,
    "label_smoothing": 0.1,
    "network": {"dropout": 0.0},  # torch's own draws may change between its versions
    "augment": {"rotation": 15, "zoom": 0.1, "flip": True, "brightness": 0.1, "cutout": 0.2, "mixup": 0.2},
    "optimizer": {"name": "adamw", "learning_rate": 2e-3, "schedule": "one-cycle", "ema": 0.9, "clip": 1.0},
}
TRAIN = [1.0675, 0.9336, 0.7837]
VALID = [0.9253, 0.7701, 0.6799]


def curve() -> tuple[list[float], list[float]]:
    with tempfile.TemporaryDirectory() as place:
        run = api.run_training(images.arrays(40, 28), RECIPE, None, Path(place) / "run", Silent())
        lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    return [line["train"]["loss"] for line in lines], [line["valid"]["loss"] for line in lines]


def test_losses_are_those_of_before() -> None:
    train, valid = curve()
    assert train == pytest.approx(TRAIN, abs=1e-3)
    assert valid == pytest.approx(VALID, abs=1e-3)


if __name__ == "__main__":
    for name, losses in zip(("TRAIN", "VALID"), curve(), strict=True):
        print(f"{name} = {[round(loss, 4) for loss in losses]}")
