"""Fashion-MNIST with `airbench-small` as it trains by default; processor time of the whole process is counted.

Calibration changes no answer, so the accuracy is the same before and after it.
"""

from __future__ import annotations

import time

import layerwise
from benchmarks.common import DATA, calibration_errors, cpu_seconds, scratch, value, versions


def main(words: list[str]) -> None:
    print(versions())
    for seed in range(int(words[0]) if words else 1):
        began, used = time.monotonic(), cpu_seconds()
        with scratch() as place:
            run = layerwise.train(DATA / "fashion-mnist", model="airbench-small", seed=seed, out=place / "run")
        minutes, processor = (time.monotonic() - began) / 60, (cpu_seconds() - used) / 60
        found = run.metrics["metrics"]["accuracy"]
        interval = f"{found['low']:.4f} to {found['high']:.4f}"
        print(
            f"fashion-mnist, airbench-small, seed {seed}: {value(run.metrics):.4f} ({interval}), "
            f"{calibration_errors(run.metrics)}, "
            f"{processor:.1f} CPU-minutes, {minutes:.1f} minutes",
            flush=True,
        )
