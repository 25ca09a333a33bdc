"""What the benchmarks share: where the data is, what the machine is, and how a table is printed."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DATA = Path(os.environ.get("LAYERWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PEERS = {"tensorflow": "Keras on TensorFlow", "jax": "Keras on JAX", "torch": "Keras on torch"}
Way = Callable[[], float]  # does what is timed; seconds


def versions(*names: str) -> str:
    """Versions of packages, and the machine."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("layerwise", "torch", *names):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join([*found, f"Python {platform.python_version()}", f"{os.cpu_count()} cores"])


def spread(values: Sequence[float]) -> str:
    """Mean, deviation and range."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} +- {deviation:.4f} ({min(values):.4f} to {max(values):.4f}, n={len(values)})"


def cpu_seconds() -> float:
    """Processor seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="layerwise-bench-") as place:
        yield Path(place)


def peer(stack: ExitStack, command: list[str], **environment: str) -> Callable[[str], Way] | None:
    """A process that times what a line asks for, from the line to a way; none where it does not start."""
    if shutil.which(command[0]) is None:
        return None
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
    process = stack.enter_context(
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
        )
    )
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout
    if stdout.readline() != "ready\n":
        return None
    stack.callback(stdin.close)  # called before the process is waited for

    def asking(line: str) -> Way:
        def seconds() -> float:
            stdin.write(line + "\n")
            stdin.flush()
            return float(json.loads(stdout.readline()))

        return seconds

    return asking


def cifar10() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10 from its sheets of 1,000: {"train": (50000, 32, 32, 3), ...} uint8 with labels."""

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        sheets = [
            np.asarray(Image.open(file).convert("RGB")) for file in sorted((DATA / "cifar10").glob(f"{name}-*.webp"))
        ]
        tiles = [sheet.reshape(20, 32, 50, 32, 3).swapaxes(1, 2).reshape(1000, 32, 32, 3) for sheet in sheets]
        return np.concatenate(tiles), np.load(DATA / "cifar10" / f"{name}-labels.npy")

    return {"train": part("train"), "test": part("test")}


def value(metrics: Any, name: str = "accuracy") -> float:
    """A figure of `metrics.json`."""
    return float(metrics["metrics"][name]["value"])


def calibration_errors(metrics: Any) -> str:
    """The calibration error of a run before and after calibration, with the latter's interval and what chance gives."""
    error = metrics["calibration"]["ece"]
    after = error["after"]
    return (
        f"calibration error {error['before']['value']:.4f}, calibrated {after['value']:.4f} "
        f"({after['low']:.4f} to {after['high']:.4f}; {metrics['calibration']['chance']:.4f} by chance)"
    )
