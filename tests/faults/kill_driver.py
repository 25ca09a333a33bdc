"""Start a process that saves checkpoints without end, kill -9 it at a random moment, look at what is left; repeat.

Prints one JSON object: kills, lost (a checkpoint that the child had announced as saved is not there), bad (what is
there is not exactly what was saved), within_a_save (kills that hit a save), saves (announced in all).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from layerwise.store.checkpoint import Checkpoints

SIZE = 50_000


def save_without_end(folder: Path, keep: int, announce: int) -> None:
    checkpoints = Checkpoints(folder, keep)
    saved = checkpoints.latest()
    step = saved.position["step"] if saved else 0
    while True:
        step += 1
        best = checkpoints.save_weights("best", {"a": torch.full((100,), float(step))}) if step % 2 else None
        state = {"network": [torch.full((SIZE,), float(step)), torch.full((3, 3), step)], "step": {0: step}}
        checkpoints.save(state, {"step": step, "best": best})
        os.write(announce, step.to_bytes(8, "little"))


def is_exact(folder: Path) -> tuple[int, bool]:
    checkpoints = Checkpoints(folder)
    saved = checkpoints.latest()
    if saved is None:
        return 0, True
    step = saved.position["step"]
    first, second = saved.state["network"]
    exact = bool((first == step).all()) and bool((second == step).all()) and saved.state["step"] == {0: step}
    if saved.position["best"]:
        exact = exact and bool((checkpoints.load_weights(saved.position["best"])["a"] == step).all())
    return step, exact


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(wanted.seed)
    figures = {"kills": 0, "lost": 0, "bad": 0, "within_a_save": 0, "saves": 0}
    folder = Path(tempfile.mkdtemp(prefix="layerwise-kill-"))
    for number in range(wanted.kills):
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reads)
            save_without_end(folder, keep=1 + number % 2, announce=writes)
        os.close(writes)
        # Some before the first save of this child, most after a few.
        time.sleep(draw.choice([0.0, 0.02, 0.1]) + draw.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reads, "rb") as pipe:
            announced = pipe.read()
        figures["saves"] += len(announced) // 8
        step, exact = is_exact(folder)
        figures["lost"] += bool(announced) and step < int.from_bytes(announced[-8:], "little")
        figures["bad"] += not exact
        figures["within_a_save"] += any(name.endswith(".tmp") for name in os.listdir(folder)) if folder.exists() else 0
        figures["kills"] += 1
        if draw.random() < 0.1:  # the first save is to be met more than once
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
