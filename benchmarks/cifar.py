"""The course's CIFAR network on all of CIFAR-10, 10 epochs, with the course's augmentation."""

from __future__ import annotations

import layerwise
from benchmarks.common import calibration_errors, cifar10, scratch, spread, value, versions

COURSE = {"rotation": 20, "width_shift": 0.2, "height_shift": 0.2, "flip": True}


def main(words: list[str]) -> None:
    seeds = range(int(words[0]) if words else 1)
    print(versions())
    data, found = cifar10(), []
    for seed in seeds:
        with scratch() as place:
            run = layerwise.train(
                data, model="cnn-32", epochs=10, seed=seed, out=place / "run", recipe={"augment": COURSE}
            )
        found.append(value(run.metrics))
        print(
            f"seed {seed}: {found[-1]:.4f}, {calibration_errors(run.metrics)}, "
            f"train {run.metrics['seconds']['train']:.0f} s",
            flush=True,
        )
    print(f"cifar-10, cnn-32, 10 epochs: {spread(found)}")
