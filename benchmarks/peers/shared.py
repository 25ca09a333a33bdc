"""What the peers' scripts share: their words, a stopwatch and one line of JSON. Python alone, as each runs elsewhere.

Every script of a frozen network is called as `PYTHON SCRIPT DATA HEAD THAW BATCH NETWORK`: a folder with `train/` and
`test/` of a folder per class, epochs of the head alone, epochs with the last fifth thawed, batch size, and a network.
Clocks start when everything is imported. Reading the images and compiling belong to the first epoch that needs them.
Nobody validates within the time, and the accuracy on `test/` is counted when the clock stands.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version


def words() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("head", type=int)
    parser.add_argument("thaw", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("network")
    return parser.parse_args()


class Watch:
    """Seconds of every epoch of every stage; the first of a stage includes all that came before it."""

    def __init__(self) -> None:
        self.epochs: dict[str, list[float]] = {}
        self.start()

    def start(self) -> None:
        """Count from here on."""
        self._began = time.perf_counter()

    def lap(self, stage: str) -> None:
        """An epoch of `stage` ended."""
        now = time.perf_counter()
        self.epochs.setdefault(stage, []).append(now - self._began)
        self._began = now


def tell(peer: str, packages: tuple[str, ...], watch: Watch, accuracy: float) -> None:
    """Print the result as the last line."""
    found = {
        "peer": peer,
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "seconds": {stage: sum(laps) for stage, laps in watch.epochs.items()},
        "epochs": watch.epochs,
        "accuracy": accuracy,
    }
    print(json.dumps(found), flush=True)


def answer(act: Callable[[str], object]) -> None:
    """Say that all is ready, then answer each line of the input with the seconds of what is done for it."""
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        act(line.strip())
        print(json.dumps(time.perf_counter() - began), flush=True)
