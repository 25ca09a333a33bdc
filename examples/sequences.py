"""Sequences of unequal length: an LSTM stack learns which way they turn, and goes on from its model file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import layerwise


def make(count: int) -> tuple[list[np.ndarray], list[str]]:
    """Noisy circles of 12 to 30 steps of two values, (T, 2), one way round or the other."""
    random = np.random.default_rng(0)
    sequences, labels = [], []
    for number in range(count):
        steps = random.integers(12, 30)
        angle = np.linspace(0, 2 * np.pi, steps) * (1 if number % 2 else -1) + random.uniform(0, 6)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (T, 2)
        sequences.append(circle + random.normal(0, 0.2, circle.shape))
        labels.append("left" if number % 2 else "right")
    return sequences, labels


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        sequences, labels = make(120)
        run = layerwise.train((sequences, labels), model="lstm-stack", epochs=10, out=Path(place) / "run")
        for rival in run.metrics["baselines"]:
            print(f"{rival['name']}: accuracy {rival['metrics']['accuracy']['value']:.2f}")
        print(f"lstm-stack: accuracy {run.metrics['metrics']['accuracy']['value']:.2f}")

        print(layerwise.load(run.path).predict(sequences[:3]).select("predicted", "probability"))


if __name__ == "__main__":
    main()
