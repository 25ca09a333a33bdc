"""What a CPU gains by inferring pictures a few at a time, and why activations behind a cut are left whole.

`python -m benchmarks pieces`: batches of 64 pictures of 224 pixels, already read, through networks in PyTorch (random
weights, channels-last), whole and in the pieces that `layerwise.device.pieces` makes, in turn; and 32 rows through
ResNet-50's layer4, whole and in pieces of as many values. Medians of the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import timm
import torch
from torch import Tensor, nn

from benchmarks.common import versions
from layerwise.device import pick, pieces

MODELS = ("efficientnet_b0", "tf_efficientnet_lite0", "mobilenetv2_100", "resnet50")
PICTURES, ROWS, ROUNDS = 64, 32, 7
CUT = (1024, 14, 14)  # before ResNet-50's layer4
FEW = 2  # of its rows hold about as many values as the pieces of pictures on two cores


def race(network: nn.Module, batch: Tensor, parts: Sequence[Tensor]) -> tuple[float, float]:
    """Examples a second, whole and in parts, in turn."""

    def seconds(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    ways: tuple[Callable[[], object], ...] = (lambda: network(batch), lambda: [network(part) for part in parts])
    with torch.inference_mode():
        for way in ways:
            way()
        laps = [[seconds(way) for way in ways] for _ in range(ROUNDS)]
    whole, apart = (len(batch) / statistics.median(each) for each in zip(*laps, strict=True))
    return whole, apart


def tell(name: str, whole: float, apart: float, size: int) -> None:
    """One line."""
    print(
        f"{name}: {whole:.1f} a second whole, {apart:.1f} in pieces of {size} ({apart / whole:.2f} times)", flush=True
    )


def main(words: list[str]) -> None:
    """All networks, then the layer behind a cut."""
    print(versions("timm"))
    pick("cpu", "float32")
    torch.manual_seed(0)
    pictures = torch.randn(PICTURES, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    for name in MODELS:
        network = timm.create_model(name).eval().to(memory_format=torch.channels_last)
        parts = pieces(pictures)
        tell(name, *race(network, pictures, parts), len(parts[0]))
    layer = timm.create_model("resnet50").layer4.eval().to(memory_format=torch.channels_last)
    rows = torch.randn(ROWS, *CUT).contiguous(memory_format=torch.channels_last)
    tell("resnet50's layer4 behind a cut", *race(layer, rows, rows.split(FEW)), FEW)
