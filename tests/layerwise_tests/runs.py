"""Runs that are stopped and killed, what must not depend on it, and what a command line says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerwise.console import Silent
from layerwise.engine import loop
from layerwise.store.model_file import load_model
from layerwise.tasks.job import Job


def only_object(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object that standard output is to hold."""
    text = capsys.readouterr().out
    found = json.loads(text)
    assert isinstance(found, dict) and len(text.splitlines()) == 1
    return found


def fingerprint(run: Path) -> dict[str, Any]:
    """All that must not depend on a stop: weights, figures, the log; times left out."""
    card, _ = load_model(run / "model.safetensors")
    metrics = json.loads((run / "metrics.json").read_text()) | {"seconds": None}
    if "plan" in metrics:  # its seconds are measured
        metrics["plan"] = [(each["name"], each["cut"], each["kept"]) for each in metrics["plan"]["stages"]]
    lines = [json.loads(line) | {"seconds": None} for line in (run / "log.jsonl").read_text().splitlines()]
    predictions = hashlib.sha256((run / "predictions.csv").read_bytes()).hexdigest()
    return {"weights": card.tensors_sha256, "metrics": metrics, "log": lines, "predictions": predictions}


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process the signal of Ctrl-C after so many steps in all."""
    count = [0]
    real = loop._count

    def counted(*args: Any) -> None:
        real(*args)
        count[0] += 1
        if count[0] == steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "_count", counted)


_KILLED = """
import os, signal, sys
from layerwise import api
from layerwise.console import Silent
from layerwise.console import Silent
from layerwise.engine import loop
import json
count, real = [0], loop._count
def counted(*args):
    real(*args)
    count[0] += 1
    if count[0] == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
loop._count = counted
if sys.argv[4] == "train":
    api.run_training(sys.argv[1], json.loads(sys.argv[5]), None, sys.argv[2], Silent())
else:
    api.resume(sys.argv[2], show=Silent())
"""


def killed_after(steps: int, verb: str, data: Path, out: Path, recipe: dict[str, Any]) -> None:
    """Train or resume in a process of its own that kills itself, as by kill -9, after so many steps."""
    words = [sys.executable, "-c", _KILLED, str(data), str(out), str(steps), verb, json.dumps(recipe)]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def trained(job: Job) -> dict[str, float]:
    """As the session does, without files: the last validation."""
    kept: dict[str, float] = {}
    epoch = 0
    for stage in job.stages:
        batches = job.enter(stage, Silent(), False)
        for _ in range(stage.epochs):
            for batch in batches.train(epoch):
                job.task.train_step(batch)
            kept, epoch = job.task.evaluate(batches.part("valid")), epoch + 1
    return kept
