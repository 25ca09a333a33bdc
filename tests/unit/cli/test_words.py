"""What the command line says of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerwise.cli import words


def figure(value: float) -> dict[str, float | None]:
    return {"value": value, "low": value * 0.9, "high": value * 1.1}


def metrics(**changes: Any) -> dict[str, Any]:
    found = {
        "negative_elbo": figure(241.72),
        "distance": figure(24.61),
        "kid": figure(0.00134),
        "coverage": figure(0.63),
    }
    theirs = {"distance": figure(86.2), "kid": figure(0.0721)}
    real = {"kid": figure(0.00012), "distance": figure(2.31)}
    return {
        "task": "vae", "split": "test", "n": 1200, "metrics": found, "verdict": "Better than PCA-Gaussian: so it is.",
        "baseline": {"name": "PCA-Gaussian", "metrics": theirs}, "generation": {"real": real, "alarms": []},
    } | changes  # fmt: skip


def test_figures_of_any_size_stand_with_interval_baseline_and_real_images(capsys: pytest.CaptureFixture[str]) -> None:
    words.print_metrics(metrics())
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "1,200 images of the part test; 95 % intervals; baseline: PCA-Gaussian",
        "  negative elbo  241.7  (217.5 to 265.9)",
        "  distance       24.61  (22.15 to 27.07)   baseline 86.20",
        "  kid            0.00134  (0.00121 to 0.00147)   baseline 0.0721",
        "  coverage       0.630  (0.567 to 0.693)",
        "  real images against real ones: distance 2.310, kid 0.00012",
        "Better than PCA-Gaussian: so it is.",
    ]


def test_alarms_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    alarm = {"stage": "gan", "epoch": 3, "step": 0, "kind": "collapse", "what": "All are alike.", "done": "went back"}
    words.print_metrics(metrics(task="gan", generation={"real": {}, "alarms": [alarm]}))
    said = capsys.readouterr().out
    assert "  alarm: gan, epoch 3: All are alike; went back\n" in said and "real images" not in said


def test_figures_without_interval_baseline_or_samples_are_still_said(capsys: pytest.CaptureFixture[str]) -> None:
    bare = {"negative_elbo": {"value": 241.72, "low": None, "high": None}}
    words.print_metrics(metrics(metrics=bare, baseline=None, generation=None))
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == ["1,200 images of the part test; 95 % intervals", "  negative elbo  241.7"]


@pytest.mark.parametrize("task", ["vae", "gan"])
def test_a_run_ends_with_how_to_sample(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    words.print_run(Path("runs/new"), metrics(task=task))
    assert capsys.readouterr().out.splitlines()[-1] == "Use it  layerwise sample runs/new --out new.png"
