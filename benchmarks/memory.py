"""Peak memory of training one epoch on 1,000 and on 10,000 photographs of 256 pixels, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import scratch, versions

CHILD = """
import resource, sys
import layerwise
layerwise.train(sys.argv[1], model="cnn-32", epochs=1, out=sys.argv[2], recipe={"data": {"size": 224}})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def photographs(folder: Path, count: int) -> None:
    """Write `count` different JPEG files of two classes."""
    draw = np.random.default_rng(0)
    low = draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    for number in range(count):
        place = folder / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(low[number]).resize((256, 256), Image.Resampling.BICUBIC).save(place / f"{number:05}.jpg")


def main(words: list[str]) -> None:
    print(versions())
    for count in (1000, 10_000):
        with scratch() as place:
            photographs(place / "data", count)
            command = [sys.executable, "-c", CHILD, str(place / "data"), str(place / "run")]
            found = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{count:6} photographs: peak {found.stdout.strip()} MB", flush=True)
