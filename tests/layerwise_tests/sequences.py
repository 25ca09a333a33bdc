"""Small series of known kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def waves(count: int, *, seed: int = 0, channels: int = 1, shortest: int = 20, longest: int = 20) -> list[np.ndarray]:
    """Slow waves and fast ones in turn, noisy: (T, C) each; row % 2 is the class."""
    random = np.random.default_rng(seed)
    found = []
    for row in range(count):
        steps = int(random.integers(shortest, longest + 1))
        phase = random.uniform(0, 6, channels) + (1.0 if row % 2 else 0.3) * np.arange(steps)[:, None]
        found.append(np.sin(phase) + 0.1 * random.normal(size=(steps, channels)))
    return found


def write_ts(path: Path, series: list[np.ndarray], labels: list[str]) -> Path:
    """A `.ts` file of them."""
    channels = series[0].shape[1]
    head = f"@univariate {str(channels == 1).lower()}\n@dimensions {channels}\n@equalLength false\n"
    lines = [
        ":".join([*(",".join(repr(float(value)) for value in channel) for channel in values.T), label])
        for values, label in zip(series, labels, strict=True)
    ]
    classes = " ".join(sorted(set(labels)))
    path.write_text(f"# waves\n@problemName waves\n{head}@classLabel true {classes}\n@data\n" + "\n".join(lines) + "\n")
    return path


def write_pair(folder: Path, name: str, *, train: int, test: int, **shape: int) -> Path:
    """`NAME_TRAIN.ts` and `NAME_TEST.ts`; gives their common stem."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("TRAIN", train, 1), ("TEST", test, 2)):
        labels = ["fast" if row % 2 else "slow" for row in range(count)]
        write_ts(folder / f"{name}_{part}.ts", waves(count, seed=seed, **shape), labels)
    return folder / name
