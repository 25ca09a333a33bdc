"""Running a frozen prefix in ONNX Runtime, on the CPU.

The prefix is exported once by `torch.onnx.export` and kept on disk. In the networks that we measured the bits of an
image's result depend neither on its place in the batch, nor on the number of threads, nor on the size of the batch from
two images on; so one image runs as two.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.data.cache import claim, remove, write_entry
from layerwise.errors import StoreError, UsageError
from layerwise.frozen.folding import folded
from layerwise.store.atomic import read_bytes, write_bytes

# onnx and onnxscript write what onnxruntime reads.
NEEDED = ("onnxruntime", "onnx", "onnxscript")
FIX = "Use PyTorch: --set frozen.engine=torch."
_FORMAT = 1  # of what an entry holds; another number makes kept exports unknown
_MODEL, _DIGEST = "prefix.onnx", "sha256"


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that is used here."""

    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Inputs by name -> all outputs."""

    def get_inputs(self) -> list[Any]:
        """What each input is called, among other things."""


class OnnxRun:
    """A prefix in ONNX Runtime: (B, C, H, W) float32 -> float32 activations on the images' device."""

    def __init__(self, session: Session) -> None:
        self._session, self._input = session, session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> a tensor a boundary."""
        batch = torch.cat([images, images]) if len(images) == 1 else images
        feed = batch.detach().to("cpu", torch.float32).contiguous().numpy()
        values = self._session.run(None, {self._input: feed})
        return tuple(torch.from_numpy(value[: len(images)]).to(images.device, torch.float32) for value in values)


def missing() -> list[str]:
    """The packages of ONNX Runtime and of the export that are not installed."""
    return [name for name in NEEDED if _version(name) is None]


def is_kept(example: Tensor, *, key: str, cache: Path) -> bool:
    """Whether an export for this key and this size of images lies in the cache; it may yet prove damaged."""
    return (_entry(example, key, cache) / _MODEL).is_file()


def onnx_run(prefix: nn.Module, example: Tensor, *, key: str, cache: Path) -> OnnxRun:
    """A prefix in ONNX Runtime, exported now or taken from the cache.

    It runs on the CPU with as many threads as torch uses now, whatever the device of prefix and images.

    Args:
        prefix: (B, C, H, W) -> a tuple of tensors (B, ...); it is not changed.
        example: images (B, C, H, W); only their size matters, the batch may be another one later.
        key: stands for the weights and cuts of the prefix: another prefix must have another key.
        cache: a folder such as `default_cache()`; exports go below `exports/` in it.

    Raises:
        UsageError: ONNX Runtime is not installed, or the prefix cannot be exported or not be loaded.
        StoreError: the cache cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> prefix, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.zeros(2, 3, 8, 8)
        >>> run = onnx_run(prefix, images, key="doc", cache=Path(tempfile.mkdtemp()))
        >>> [tuple(value.shape) for value in run(torch.zeros(5, 3, 8, 8))]
        [(5, 4, 6, 6)]
    """
    if absent := missing():
        raise UsageError(f"frozen.engine=onnxruntime needs {', '.join(absent)}.", fix=f"pip install {' '.join(absent)}")
    entry = _entry(example, key, cache)
    model = _read(entry)
    if model is None:
        model = _export(prefix, example)
        _keep(entry, model)
    return OnnxRun(_session(model))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _entry(example: Tensor, key: str, cache: Path) -> Path:
    versions = {name: _version(name) for name in ("torch", *NEEDED)}
    facts = json.dumps([_FORMAT, key, list(example.shape[1:]), versions])
    return cache.expanduser() / "exports" / hashlib.sha256(facts.encode()).hexdigest()


def _read(entry: Path) -> bytes | None:
    """A kept export; none where there is none, or where it is damaged: then it is removed."""
    held = claim(entry)
    if held is None:
        return None
    try:
        model = read_bytes(entry / _MODEL)
        if hashlib.sha256(model).hexdigest().encode() == read_bytes(entry / _DIGEST, limit=64):
            return model
    except StoreError:  # a file of it is gone
        pass
    finally:
        os.close(held)
    remove(entry)
    return None


def _keep(entry: Path, model: bytes) -> None:
    def fill(folder: Path) -> bool:
        write_bytes(folder / _MODEL, model)
        write_bytes(folder / _DIGEST, hashlib.sha256(model).hexdigest().encode())
        return True

    _, held = write_entry(entry, len(model) + 64, fill)
    os.close(held)  # the session holds the bytes, not the file


def _export(prefix: nn.Module, example: Tensor) -> bytes:
    net = folded(prefix).cpu()
    for layer in net.modules():
        # Of an activation in place the exporter makes long detours: 5.1 s instead of 2.0 s for EfficientNet-Lite0.
        if "inplace" in vars(layer):
            layer.inplace = False  # type: ignore[assignment]
    two = torch.zeros(2, *example.shape[1:])  # an axis of one would be taken for a constant
    try:
        with _quiet(), torch.no_grad():
            # ONNX Runtime's own optimiser does the same as the exporter's, and more.
            program = torch.onnx.export(
                net,
                (two,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                optimize=False,
                verbose=False,
            )
            assert program is not None
            model: bytes = program.model_proto.SerializeToString()
            return model
    except Exception as error:  # the exporter's errors are of many kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(f"The frozen part cannot be exported to ONNX: {reason}", fix=FIX) from error


def _session(model: bytes) -> Session:
    try:
        import onnxruntime  # optional

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        # Threads that wait in a loop take the cores from decoding and training, which run at the same time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A process's first session sets how the calling thread treats denormals, and would end torch's flushing of
        # them: training afterwards took three times as long.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        made: Session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors derive from Exception only
        raise UsageError(f"ONNX Runtime does not take the exported prefix: {error}", fix=FIX) from error
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's words from the user; its errors are exceptions and come through."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
