"""What screening costs beside the forward passes that it cannot do without.

`python -m benchmarks screen [--models A,B,...] [--data FOLDER]`: flowers with EfficientNet-Lite0, 1 and 2, in one
process with a cache of its own. Each network's forward pass over the images that screening uses is timed alone,
decoding included, in plain PyTorch (eval, channels-last, batches of 32). Then a cold screen, and a warm one that finds
all kept.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.common import DATA, scratch, versions
from layerwise import api
from layerwise.config import build
from layerwise.console import Silent
from layerwise.data.decode import Preprocess
from layerwise.data.images import find_images
from layerwise.data.loader import Normalise
from layerwise.data.pixels import decode_batch
from layerwise.frozen import infer
from layerwise.models import backbone_preprocess, build_model
from layerwise.tasks import image_data

LIMIT = 1.2
BATCH = 32


def rows(data: Path, name: str) -> list[Path]:
    """The images that screening uses: all but the test part."""
    source = find_images(data)
    parts = image_data.read(data, {"model": name}, Silent()).examples["split"].to_list()
    return [source.file(row) for row, part in enumerate(parts) if part in ("train", "valid")]


def alone(name: str, files: Sequence[Path]) -> tuple[float, float, float]:
    """Seconds of decoding and of the pretrained network's forward pass; milliseconds an image with BatchNorm folded."""
    look = build(Preprocess, backbone_preprocess(name))
    size = (look.height, look.width)
    network = build_model(name, classes=5, channels=3, size=size, pretrained=True, options={}).eval()
    folded = infer.torch_run(network, torch.device("cpu"))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    began = time.perf_counter()
    pixels, problems = decode_batch(files, look)  # (N, H, W, C)
    assert not problems
    decoded = time.perf_counter()
    with torch.inference_mode():
        run_all(network, pixels, look)
    plain = time.perf_counter()
    run_all(folded, pixels[: 2 * BATCH], look)
    return decoded - began, plain - decoded, 1000 * (time.perf_counter() - plain) / min(2 * BATCH, len(pixels))


def run_all(run: Callable[[torch.Tensor], object], pixels: torch.Tensor, look: Preprocess) -> None:
    """Normalise and run (N, H, W, C) uint8 in batches of 32."""
    normalise = Normalise(look.mean, look.std)
    for first in range(0, len(pixels), BATCH):
        batch = pixels[first : first + BATCH].permute(0, 3, 1, 2).float()  # (B, C, H, W)
        run(normalise(batch).contiguous(memory_format=torch.channels_last))


def screened(data: Path, names: Sequence[str], place: Path) -> float:
    """Seconds of a screen, its results printed."""
    began = time.perf_counter()
    found = api.screen(data, models=names, out=place, show=Silent())
    took = time.perf_counter() - began
    for row in found.found["results"]:
        print(
            f"  {row['name']}: {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}), "
            f"{1000 * row['seconds_per_image']:.1f} ms an image in PyTorch; features by {row['engine']}, "
            f"{row['computed']} computed"
        )
    for row in found.found["skipped"]:
        print(f"  {row['name']}: skipped, {row['reason']}")
    print(end="", flush=True)
    return took


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks screen")
    parser.add_argument("--models", default="efficientnet_lite0,efficientnet_lite1,efficientnet_lite2")
    parser.add_argument("--data", type=Path, default=DATA / "flowers")
    given = parser.parse_args(words)
    names = given.models.split(",")
    print(versions("timm", "onnxruntime"))
    with scratch() as place:
        os.environ["LAYERWISE_CACHE"] = str(place / "look")
        files = rows(given.data, names[0])
        os.environ["LAYERWISE_CACHE"] = str(place / "cache")
        # Two images for each network first, so that nothing is timed that is loaded once a process.
        for name in names:
            alone(name, files[:2])
        before = os.getloadavg()[0]
        forward = 0.0
        for name in names:
            decoding, plain, folded = alone(name, files)
            forward += decoding + plain
            print(
                f"{name} alone: {len(files)} images, decoding {decoding:.1f} s, forward pass {plain:.1f} s "
                f"({1000 * plain / len(files):.1f} ms an image; by our engine in PyTorch {folded:.1f})",
                flush=True,
            )
        cold = screened(given.data, names, place / "cold")
        print(
            f"forward passes alone {forward:.1f} s; screen {cold:.1f} s, {cold / forward:.2f} times (at most {LIMIT})"
        )
        warm = screened(given.data, names, place / "warm")
    loads = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after, of {os.cpu_count()} cores"
    print(f"screened again {warm:.1f} s, {warm / forward:.2f} times; {loads}")
