"""A frozen prefix as a file for another runtime: exported once, as ONNX or in OpenVINO's own form, and kept.

OpenVINO reads ONNX too, and what it makes of it is as fast; but its own conversion takes two thirds of the time of
`torch.onnx.export`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layerwise.data.cache import claim, remove, write_entry
from layerwise.errors import StoreError, UsageError
from layerwise.frozen.folding import folded
from layerwise.store.atomic import read_bytes, write_bytes

FIX = "Use PyTorch: --set frozen.engine=torch."
IR = Literal["onnx", "openvino"]  # intermediate representations of a network
_LAYOUT = 2  # of an entry; another number makes kept exports unknown
_MODEL, _DIGEST = "prefix.model", "sha256"
_LENGTH = 8  # bytes that say how long the first of two files in one is


def missing(ir: IR, *packages: str) -> list[str]:
    """Those packages, and those that an export in this representation needs, that are not installed."""
    return [name for name in dict.fromkeys((*packages, *WRITERS[ir].packages)) if _version(name) is None]


def is_kept(ir: IR, example: Tensor, *, key: str, cache: Path) -> bool:
    """Whether an export for this key and this size of images lies in the cache; it may yet prove damaged."""
    return (_entry(ir, example, key, cache) / _MODEL).is_file()


def exported(ir: IR, prefix: nn.Module, example: Tensor, *, key: str, cache: Path) -> bytes:
    """A prefix in an intermediate representation, made now or taken from the cache; BatchNorm is folded in it.

    Its batch may be of any size as ONNX, and is one image in OpenVINO's form.

    Args:
        ir: which representation.
        prefix: (B, C, H, W) -> a tuple of tensors (B, ...); it is not changed.
        example: images (B, C, H, W); only their size matters.
        key: stands for the weights and cuts of the prefix: another prefix must have another key.
        cache: a folder such as `default_cache()`; exports go below `exports/` in it.

    Raises:
        UsageError: the prefix cannot be exported.
        StoreError: the cache cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> prefix = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> model = exported("onnx", prefix, torch.zeros(2, 3, 8, 8), key="doc", cache=Path(tempfile.mkdtemp()))
        >>> len(model) > 4 * 3 * 9
        True
    """
    entry = _entry(ir, example, key, cache)
    model = _read(entry)
    if model is None:
        model = _export(ir, prefix, example)
        _keep(entry, model)
    return model


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _entry(ir: IR, example: Tensor, key: str, cache: Path) -> Path:
    versions = {name: _version(name) for name in ("torch", *WRITERS[ir].packages)}
    facts = json.dumps([_LAYOUT, ir, key, list(example.shape[1:]), versions])
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


def _export(ir: IR, prefix: nn.Module, example: Tensor) -> bytes:
    net = folded(prefix).cpu()
    for layer in net.modules():
        # Of an activation in place torch's exporter makes long detours: 5.1 s instead of 2.0 s for EfficientNet-Lite0.
        if "inplace" in vars(layer):
            layer.inplace = False  # type: ignore[assignment]
    try:
        with _quiet(), torch.no_grad():
            return WRITERS[ir].write(net, tuple(example.shape[1:]))
    except Exception as error:  # the exporters' errors are of many kinds
        said = f"The frozen part cannot be exported to {WRITERS[ir].name}: {_reason(error)}"
        raise UsageError(said, fix=FIX) from error


def _reason(error: BaseException) -> str:
    """The first line of what went wrong at the bottom; above it exporters say what step they were at."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _onnx(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    two = torch.zeros(2, *shape)  # an axis of one would be taken for a constant
    # What runs it optimises it as well, and further than the exporter would.
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


def _openvino(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    openvino = import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    # Given the module itself, OpenVINO would follow one input through it, which is faster, and whatever the module
    # decides by values would stay as it was decided then; `torch.export` refuses such a module.
    program = torch.export.export(net, (torch.zeros(1, *shape),))
    # `openvino.convert_model` does the same, tells a server of it where telemetry is on, and changes the root logger.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder.from_exported_program(program)  # held by its name: the frontend does not hold it
    model = frontend.convert(frontend.load(decoder))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prefix.xml")
        openvino.save_model(model, file, compress_to_fp16=False)
        steps, weights = file.read_bytes(), file.with_suffix(".bin").read_bytes()
    return len(steps).to_bytes(_LENGTH, "little") + steps + weights


def in_two(model: bytes) -> tuple[memoryview, memoryview]:
    """Steps and weights of an export in OpenVINO's form."""
    whole = memoryview(model)
    end = _LENGTH + int.from_bytes(whole[:_LENGTH], "little")
    return whole[_LENGTH:end], whole[end:]


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would tell a server of every import."""
    held = sys.modules.get("openvino_telemetry")
    absent: Any = None  # what the import system takes for a package that is not there; OpenVINO does without
    sys.modules["openvino_telemetry"] = absent
    try:
        import openvino  # optional
    finally:
        del sys.modules["openvino_telemetry"]
        if held is not None:
            sys.modules["openvino_telemetry"] = held
    return openvino


@dataclass(frozen=True)
class _Writer:
    """How a prefix is written: what it is called, what it needs, what writes it, and seconds that it takes.

    The seconds are of two cores at 2.8 GHz.
    """

    name: str
    packages: tuple[str, ...]
    write: Callable[[nn.Module, tuple[int, ...]], bytes]
    seconds: float


WRITERS: Mapping[IR, _Writer] = {
    "onnx": _Writer("ONNX", ("onnx", "onnxscript"), _onnx, 4.0),
    "openvino": _Writer("OpenVINO's form", ("openvino",), _openvino, 2.5),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's words from the user; its errors are exceptions and come through."""
    before, handlers = logging.root.manager.disable, logging.root.handlers[:]
    logging.disable(logging.CRITICAL)
    try:
        out = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers  # a `logging.warning` gives the root one, of the stderr of just then
