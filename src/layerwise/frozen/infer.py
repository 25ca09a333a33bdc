"""Running a frozen prefix as inference: its output for an image never changes, so it need not run where training runs.

PyTorch with BatchNorm folded, or on a CPU OpenVINO or ONNX Runtime (`runtimes.py`), which are often faster but take
seconds to export. `choose` measures, and `checked_batch` holds what an engine gives against the prefix itself.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from layerwise.device import give_back_memory, pieces
from layerwise.errors import LayerwiseError, UsageError
from layerwise.frozen.exports import FIX, WRITERS, exported, is_kept
from layerwise.frozen.folding import folded
from layerwise.frozen.runtimes import RUNTIMES, Run, Runtime, lacking, require, runtime_run

__all__ = [
    "NAMES",
    "Chosen",
    "Engine",
    "Run",
    "agreement",
    "available",
    "checked_batch",
    "choose",
    "folded",
    "torch_run",
]

Engine = Literal["torch", "openvino", "onnxruntime"]
# What people call them, in the order in which what is kept of them is looked for.
NAMES: Mapping[Engine, str] = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}

TOLERANCE = 1e-4  # of a boundary's scale; float32 rounding is near 1e-6
_CHECKED = 8  # images of a batch that are run again to compare; rows do not depend on one another
_REPEATS, _REPEAT_SECONDS = 3, 0.5  # of a measurement: no more runs once these seconds are over
_LOAD_SECONDS = 1.0  # before a runtime has run anything, where the export is kept; on two cores at 2.8 GHz
_WELL_ABOVE = 3.0  # what is spent on trying must be this small a part of what PyTorch would take


@dataclass(frozen=True)
class Chosen:
    """An engine for a prefix.

    Args:
        run: the prefix in it.
        engine: its name.
        seconds_per_image: measured on the example's batch size, without reading and decoding.
        setup_seconds: that choosing took, exporting and measuring included.
        note: what the user should know, when it is not the engine that was to be expected.
    """

    run: Run
    engine: Engine
    seconds_per_image: float
    setup_seconds: float
    note: str | None = None


def available(engine: Engine) -> bool:
    """Whether what an engine needs is installed."""
    return engine == "torch" or not lacking(engine)


def torch_run(prefix: nn.Module, device: torch.device) -> Run:
    """A prefix in PyTorch: BatchNorm folded, channels-last, without gradients.

    Args:
        prefix: (B, C, H, W) -> a tuple of tensors (B, ...), or one; it is not changed.
        device: where it runs; a copy of the prefix stays there.

    Example:
        >>> run = torch_run(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.device("cpu"))
        >>> [tuple(value.shape) for value in run(torch.zeros(2, 3, 8, 8))]
        [(2, 4, 6, 6)]
    """
    return _TorchRun(folded(prefix), device)


class _TorchRun:
    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self._net, self._device = net.to(device=device, memory_format=torch.channels_last), device  # type: ignore[call-overload]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        # Not inference mode: autograd refuses its tensors, and layers behind the prefix may train on these.
        with torch.no_grad():
            pictures = images.to(self._device, torch.float32, memory_format=torch.channels_last)
            given = [self._net(part) for part in pieces(pictures)]
            parts = [(each,) if isinstance(each, Tensor) else each for each in given]
            return tuple(torch.cat(values).to(images.device, torch.float32) for values in zip(*parts, strict=True))


def agreement(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """How far two engines are apart: the largest difference over the largest value of ours, at the worst boundary.

    Args:
        ours: a tensor a boundary.
        theirs: the same from another engine.

    Returns:
        0 for equal; infinity where shapes differ, a value is not finite, or ours is all zeros and theirs is not.

    Example:
        >>> agreement([torch.tensor([1.0, -4.0])], [torch.tensor([1.0, -3.0])])
        0.25
    """
    if len(ours) != len(theirs):
        return math.inf
    return max((_apart(a.detach(), b.detach()) for a, b in zip(ours, theirs, strict=True)), default=0.0)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return math.inf
    if not ours.numel():
        return 0.0
    difference, scale = float((ours - theirs).abs().max()), float(ours.abs().max())
    if not math.isfinite(difference) or not math.isfinite(scale):
        return math.inf
    return 0.0 if difference == 0 else difference / scale if scale else math.inf


def checked_batch(run: Run, prefix: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """What an engine gives for the first batch of a run, once it was held against the prefix itself.

    The prefix runs as it is, on its own device, for the first eight images.

    Args:
        run: an engine for this prefix.
        prefix: what it must agree with; it is not changed.
        images: (B, C, H, W) float32 normalised, real ones.

    Raises:
        UsageError: they are further apart than 1e-4 of the scale.

    Example:
        >>> net, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(2, 3, 8, 8)
        >>> len(checked_batch(torch_run(net, torch.device("cpu")), net, images))
        1
    """
    outputs = run(images)
    apart = _error(outputs, prefix, images)
    if apart > TOLERANCE:
        raise UsageError(f"{_disagrees(apart)}.", expected=f"at most {TOLERANCE:g}", fix=FIX)
    return outputs


def choose(
    prefix: nn.Module,
    example: Tensor,
    *,
    engine: Engine | Literal["auto"],
    images: int,
    key: str,
    cache: Path,
    device: torch.device,
) -> Chosen:
    """The engine that a prefix shall run in, measured on a first batch.

    With "auto", a GPU runs PyTorch; on a CPU, the runtimes are tried in turn where PyTorch would take well longer than
    the export, and the first one stays that is faster and agrees to 1e-4 of the scale.

    Args:
        prefix: (B, C, H, W) -> a tuple of tensors (B, ...); it is not changed.
        example: a first batch of the images to run, (B, C, H, W) float32 normalised.
        engine: what the recipe asks for.
        images: how many will be run.
        key: stands for the weights and cuts of the prefix: another prefix must have another key.
        cache: a folder such as `default_cache()`; exports go below `exports/` in it.
        device: where training runs.

    Raises:
        UsageError: a runtime was asked for and is not installed, cannot run this prefix, or gives something else.
        StoreError: a runtime was asked for and the cache cannot be written.

    Example:
        >>> net, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(2, 3, 8, 8)
        >>> choose(
        ...     net, images, engine="auto", images=100, key="doc", cache=Path("."), device=torch.device("cpu")
        ... ).engine
        'torch'
    """
    started = time.perf_counter()
    note = None
    if engine == "openvino" or engine == "onnxruntime":
        best = _asked(engine, prefix, example, key, cache)
    else:
        ours = torch_run(prefix, device)
        ours(example)
        best = _measured(ours, "torch", example)
        give_back_memory()  # PyTorch's, before a runtime takes its own
        if engine == "auto" and device.type == "cpu":
            tried = _faster(best, prefix, example, images, key, cache)
            if isinstance(tried, str):
                note = f"{tried} The frozen part runs in PyTorch."
            else:
                best = tried
    return Chosen(best.run, best.engine, best.seconds_per_image, time.perf_counter() - started, note)


@dataclass(frozen=True)
class _Measured:
    run: Run
    engine: Engine
    seconds_per_image: float


def _asked(runtime: Runtime, prefix: nn.Module, example: Tensor, key: str, cache: Path) -> _Measured:
    """The runtime that was asked for, or the error that says why not."""
    require(runtime)
    run = _exported_run(runtime, prefix, example, key, cache)
    checked_batch(run, prefix, example)
    return _measured(run, runtime, example)


def _exported_run(runtime: Runtime, prefix: nn.Module, example: Tensor, key: str, cache: Path) -> Run:
    model = exported(RUNTIMES[runtime].ir, prefix, example, key=key, cache=cache)
    return runtime_run(runtime, model, example)


def _faster(ours: _Measured, prefix: nn.Module, example: Tensor, images: int, key: str, cache: Path) -> _Measured | str:
    """The first runtime that pays and is faster than PyTorch, which stays where none is; or why none could be used."""
    began, reasons, usable = time.perf_counter(), [], False
    for runtime in RUNTIMES:
        spent = time.perf_counter() - began
        if not _pays(runtime, ours, example, images, spent, key, cache):
            continue
        tried = _tried(runtime, prefix, example, key, cache)
        if isinstance(tried, str):
            reasons.append(tried)
        elif tried.seconds_per_image < ours.seconds_per_image:
            return tried
        else:
            usable = True
    return ours if usable or not reasons else " ".join(dict.fromkeys(reasons))


def _pays(runtime: Runtime, ours: _Measured, example: Tensor, images: int, spent: float, key: str, cache: Path) -> bool:
    """Whether trying a runtime, and what was spent on others, costs little beside what PyTorch takes for all images."""
    ir = RUNTIMES[runtime].ir
    setup = _LOAD_SECONDS if is_kept(ir, example, key=key, cache=cache) else WRITERS[ir].seconds
    trying = spent + setup + 2 * len(example) * ours.seconds_per_image
    return images * ours.seconds_per_image > _WELL_ABOVE * trying


def _incomplete(runtime: Runtime) -> str:
    return f"{NAMES[runtime]}, often faster, is not complete here (pip install {' '.join(lacking(runtime))})."


def _tried(runtime: Runtime, prefix: nn.Module, example: Tensor, key: str, cache: Path) -> _Measured | str:
    """A runtime's rate, or why it cannot be used."""
    if not available(runtime):
        return _incomplete(runtime)
    try:
        run = _exported_run(runtime, prefix, example, key, cache)
        if (apart := _error(run(example), prefix, example)) > TOLERANCE:
            return f"{_disagrees(apart)}, with at most {TOLERANCE:g} allowed."
        return _measured(run, runtime, example)
    except LayerwiseError as error:
        return error.came
    except Exception as error:  # a runtime's own, while it runs; they derive from Exception only
        return f"{NAMES[runtime]} stopped: {str(error).strip() or type(error).__name__}."


def _error(outputs: Sequence[Tensor], prefix: nn.Module, images: Tensor) -> float:
    """How far the first rows of what an engine gave are from the prefix, unfolded."""
    device = next(prefix.parameters(), images).device
    right = _TorchRun(copy.deepcopy(prefix).eval(), device)(images[:_CHECKED])
    return agreement(right, [value[:_CHECKED] for value in outputs])


def _disagrees(apart: float) -> str:
    return f"On the first images the frozen part's engine and the network differ by {apart:.1g} of the scale"


def _measured(run: Run, engine: Engine, example: Tensor) -> _Measured:
    """Seconds an image: the median of a few runs, of an engine that has run this batch before."""
    taken: list[float] = []
    while not taken or (len(taken) < _REPEATS and sum(taken) < _REPEAT_SECONDS):
        started = time.perf_counter()
        run(example)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return _Measured(run, engine, statistics.median(taken) / max(1, len(example)))
