"""A run that is stopped and goes on ends where it would have ended without the stop, bit for bit."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from sklearn.datasets import load_digits

import layerwise


def press_ctrl_c(log: Path) -> None:
    """Once the first epoch is in the log."""
    while not log.exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    digits = load_digits()
    # Arrays are not kept in the run folder: `resume` is given them again.
    data = (digits.images[:800] / 16, digits.target[:800])
    words = {"model": "cnn-28", "epochs": 5, "recipe": {"data": {"size": 18}}}
    with tempfile.TemporaryDirectory() as place:
        whole = layerwise.train(data, out=Path(place) / "whole", **words)

        threading.Thread(target=press_ctrl_c, args=(Path(place) / "stopped" / "log.jsonl",), daemon=True).start()
        try:
            layerwise.train(data, out=Path(place) / "stopped", **words)
        except layerwise.LayerwiseError as stopped:
            print(stopped)
        again = layerwise.resume(Path(place) / "stopped", data=data)

        same = whole.model().card.tensors_sha256 == again.model().card.tensors_sha256
        print("the same weights:", same)
        assert same


if __name__ == "__main__":
    main()
