"""A frozen prefix as an ONNX file: exported once by `torch.onnx.export` and kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from layerwise.data.cache import claim, remove, write_entry
from layerwise.errors import StoreError, UsageError
from layerwise.frozen.folding import folded
from layerwise.store.atomic import read_bytes, write_bytes

FIX = "Use PyTorch: --set frozen.engine=torch."
WRITERS = ("onnx", "onnxscript")  # packages that the export needs besides torch
_FORMAT = 1  # of what an entry holds; another number makes kept exports unknown
_MODEL, _DIGEST = "prefix.onnx", "sha256"


def missing(packages: Sequence[str]) -> list[str]:
    """Those packages, and those of the export, that are not installed."""
    return [name for name in (*packages, *WRITERS) if _version(name) is None]


def is_kept(example: Tensor, *, key: str, cache: Path) -> bool:
    """Whether an export for this key and this size of images lies in the cache; it may yet prove damaged."""
    return (_entry(example, key, cache) / _MODEL).is_file()


def exported(prefix: nn.Module, example: Tensor, *, key: str, cache: Path) -> bytes:
    """A prefix as ONNX, made now or taken from the cache; BatchNorm is folded in it and its batch may be of any size.

    Args:
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
        >>> model = exported(prefix, torch.zeros(2, 3, 8, 8), key="doc", cache=Path(tempfile.mkdtemp()))
        >>> len(model) > 4 * 3 * 9
        True
    """
    entry = _entry(example, key, cache)
    model = _read(entry)
    if model is None:
        model = _export(prefix, example)
        _keep(entry, model)
    return model


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _entry(example: Tensor, key: str, cache: Path) -> Path:
    versions = {name: _version(name) for name in ("torch", *WRITERS)}
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
    except Exception as error:  # the exporter's errors are of many kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(f"The frozen part cannot be exported to ONNX: {reason}", fix=FIX) from error


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
