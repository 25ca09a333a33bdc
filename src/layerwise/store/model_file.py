"""The model file: one safetensors file that holds weights and a card, and no code.

The card (`ModelCard`, as sealed JSON in the metadata) says all that rebuilds the network from the closed table of
models, and all that turns an input into its pixels and an output into a class. What is not exactly such a file is
refused before it is used. Formats that rebuild objects by name were broken again and again (Keras: CVE-2024-3660,
CVE-2025-1550, CVE-2025-8747, CVE-2025-9906; torch.load: CVE-2025-32434, CVE-2026-24747); plain numbers were not.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from layerwise.config import Section, build
from layerwise.errors import LayerwiseError, StoreError
from layerwise.store import atomic, strict_json
from layerwise.store.pack import pack

SCHEMA_VERSION = 1

_KEY = "layerwise"
_HEADER_LIMIT = 1 << 23  # bytes; a thousand tensors take about 0.1 MB
_FILE_LIMIT = 1 << 33
_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
_BYTES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}
_EXPECTED = "a model file of layerwise (model.safetensors in a run folder)"
_MAKE = "Give the model.safetensors that layerwise train has written."
_RESTORE = "Restore the file from a copy, or train again."
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (as torch.save, .keras, .npz and TorchScript write), which can hold code",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (.h5)",
    b"\x93NUMPY": "a numpy file (.npy)",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\xfd7zXZ": "an xz archive",
    b"Rar!": "a rar archive",
    b"GGUF": "a GGUF file",
    b"\x7fELF": "a program",
    **{bytes([0x80, protocol]): "a pickle (as torch.save and joblib write), which runs code" for protocol in range(6)},
}


class ModelCard(Section):
    """What a model file says about itself.

    Attributes:
        schema_version: of this card; a newer one is refused.
        layerwise: version that wrote the file.
        task: name in the table of tasks.
        model: name in the table of models.
        network: arguments of the builder: `classes` (or steps ahead), `channels` (or tokens of the vocabulary), `size`
            (pixels, or steps) and `options`.
        classes: their names, in the order of the outputs.
        preprocess: how an input becomes what the network takes.
        train_counts: training examples of each class, from which the baseline of `evaluate` is made.
        precision: of the matrix products that the figures of the run were made with.
        temperature: by which logits are divided; above 0.
        smoothing: of the labels in training, taken back before that; 0 to below 1, and 0 in older files.
        threshold: confidence below which a classifier is not sure, 0 to 1; 0 is always sure.
        created: when, as text.
        tensors_sha256: of names, types, shapes and values; `save_model` fills it in.
    """

    schema_version: int = pydantic.Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    layerwise: str
    task: str
    model: str
    network: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: dict[str, Any]
    train_counts: tuple[int, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    temperature: float = pydantic.Field(default=1.0, gt=0, allow_inf_nan=False)
    smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    threshold: float = pydantic.Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    created: str
    tensors_sha256: str = ""

    @pydantic.field_validator("train_counts")
    @classmethod
    def _countable(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Bounds, so that a made-up card cannot ask for a baseline that fills the memory."""
        if any(count < 0 for count in counts) or sum(counts) > 100_000_000:
            raise ValueError("they are to be 0 or more, and 100,000,000 together at most")
        return counts

    @pydantic.field_validator("network")
    @classmethod
    def _bounded(cls, network: dict[str, Any]) -> dict[str, Any]:
        """Bounds, so that a made-up card cannot ask for a network that fills the memory."""
        limits = {"classes": 1_000_000, "channels": 200_000, "size": 16_384}
        if set(network) != {*limits, "options"} or not isinstance(network["options"], dict):
            raise ValueError("its keys are to be classes, channels, size and options (a table)")
        for key, limit in limits.items():
            if type(network[key]) is not int or not 0 <= network[key] <= limit:
                raise ValueError(f"{key} is to be a whole number from 0 to {limit}")
        return network


def save_model(path: Path, tensors: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write a model file, whole or not at all; the same input gives the same bytes.

    Args:
        path: of the file; an older one is replaced.
        tensors: the network's `state_dict()`, any device.
        card: its `tensors_sha256` is filled in here.

    Raises:
        StoreError: the disk refused, a weight is not finite, or a type of tensor or a value of the card cannot be kept.

    Example:
        >>> import tempfile
        >>> card = ModelCard(
        ...     layerwise="0.1.0", task="image-classification", model="cnn-small", created="2026-01-01",
        ...     network={"classes": 2, "channels": 3, "size": 32, "options": {}},
        ...     classes=("cat", "dog"), preprocess={})
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(path, {"weight": torch.ones(2)}, card)
        >>> load_model(path)[1]
        {'weight': tensor([1., 1.])}
    """
    _check_finite(path, tensors)
    parted, plain = pack(dict(tensors))
    kept = {name: parted[plain[name]["$tensor"]] for name in tensors}
    filled = card.model_copy(update={"tensors_sha256": tensors_digest(kept)}).model_dump()
    try:
        text = strict_json.seal(json.loads(json.dumps(filled, sort_keys=True, allow_nan=False))).decode("ascii")
        _read_card(text)
    except (TypeError, ValueError, LayerwiseError) as error:
        raise StoreError(f"{path} cannot be written: its card cannot be kept ({error}).") from None
    atomic.write_bytes(path, safetensors.torch.save(kept, {_KEY: text}))


def load_model(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Read a model file; loading runs no code, and there is no unsafe way to fall back on.

    Returns:
        The card, and tensors on the CPU in memory of their own.

    Raises:
        StoreError: it is anything but a whole model file of this or an older layerwise; the reason is named.
    """
    head = atomic.read_bytes(path, _FILE_LIMIT, first=8 + _HEADER_LIMIT)
    size = atomic.size(path) or 0
    try:
        _read_header(head, size)  # so that a large file of another kind is refused before it fills the memory
        data = atomic.read_bytes(path, _FILE_LIMIT) if size > len(head) else head
        header = _read_header(data, len(data))
        card = _read_card(header["__metadata__"][_KEY])
        loaded = safetensors.torch.load(data)
    except (ValueError, KeyError, RuntimeError, AssertionError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} cannot be used: {error}.", expected=_EXPECTED, fix=_RESTORE) from None
    except StoreError as error:
        raise StoreError(f"{path} cannot be used: {error.came}", expected=error.expected, fix=error.fix) from None
    if tensors_digest(loaded) != card.tensors_sha256:
        raise StoreError(f"{path} cannot be used: its weights do not match their hash.", fix=_RESTORE)
    _check_finite(path, loaded)
    return card, {name: tensor.clone() for name, tensor in loaded.items()}


def check_tensors(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Compare tensors by name, shape and type with those of a network, before any is copied into it.

    Raises:
        StoreError: some are missing, extra, or of another shape or type; the first of each are named.

    Example:
        >>> check_tensors({"weight": torch.zeros(2)}, {"weight": torch.ones(2)})
    """
    missing = [name for name in expected if name not in got]
    extra = [name for name in got if name not in expected]
    other = [
        f"{name} {tuple(got[name].shape)} {got[name].dtype} (expected {tuple(want.shape)} {want.dtype})"
        for name, want in expected.items()
        if name in got and (got[name].shape != want.shape or got[name].dtype != want.dtype)
    ]
    found = {"missing": missing, "not of this network": extra, "of another shape or type": other}
    if any(found.values()):
        parts = "; ".join(f"{_first(names)} {what}" for what, names in found.items() if names)
        raise StoreError(
            f"The weights do not fit the network: {parts}.",
            expected=f"the {len(expected)} tensors of the network",
            fix="Use the file with the model it was saved for.",
        )


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, in the order of the names.

    Example:
        >>> tensors_digest({"weight": torch.zeros(2)})[:8]
        '22a58d93'
    """
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        values = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
        facts = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii")
        whole.update(struct.pack("<Q", len(facts)) + facts)
        whole.update(values)
    return whole.hexdigest()


def _read_header(data: bytes, size: int) -> dict[str, Any]:
    """The header of a safetensors file of `size` bytes that begins with `data`, refused where it is not what we write.

    Raises StoreError for a file of another kind, and ValueError for a damaged one.
    """
    if data[8:9] != b"{":  # first, as the length of a good header can look like the mark of another format
        kinds = [what for magic, what in _FOREIGN.items() if data.startswith(magic)]
        what = kinds[0] if kinds else f"no safetensors file ({size:,} bytes)"
        raise StoreError(f"it is {what}.", expected=_EXPECTED, fix=_MAKE)
    (length,) = struct.unpack("<Q", data[:8])
    if length > _HEADER_LIMIT:
        raise ValueError(f"its header claims {length:,} bytes, more than {_HEADER_LIMIT:,}")
    if len(data) < 8 + length:
        raise ValueError("it is cut short within its header")
    header = strict_json.parse(data[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise StoreError("it is a safetensors file without the metadata of layerwise.", expected=_EXPECTED, fix=_MAKE)
    if set(metadata) != {_KEY} or not isinstance(metadata[_KEY], str):
        raise ValueError(f"its metadata has unknown keys: {_first(key for key in metadata if key != _KEY)}")
    sizes = [_tensor_bytes(name, entry) for name, entry in header.items() if name != "__metadata__"]
    if sum(sizes) != size - 8 - length:
        raise ValueError(f"it has {size - 8 - length:,} bytes of weights where its header says {sum(sizes):,}")
    return header


def _tensor_bytes(name: str, entry: Any) -> int:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f'its entry for "{name[:80]}" is not that of a tensor')
    if entry["dtype"] not in _BYTES:
        raise ValueError(f'its tensor "{name[:80]}" has the unknown type {str(entry["dtype"])[:20]}')
    shape = entry["shape"]
    if not isinstance(shape, list) or not all(type(length) is int and 0 <= length < 2**48 for length in shape):
        raise ValueError(f'its tensor "{name[:80]}" has no usable shape')
    return math.prod(shape) * _BYTES[entry["dtype"]]


def _read_card(text: str) -> ModelCard:
    content = strict_json.unseal(text.encode("utf-8", "surrogatepass"))
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        made_by = str(content.get("layerwise"))[:40]
        raise StoreError(
            f"it was made by a newer layerwise ({made_by}, schema {version}; this one reads {SCHEMA_VERSION}).",
            fix="Upgrade layerwise: pip install -U layerwise.",
        )
    try:
        return build(ModelCard, content)
    except LayerwiseError as error:
        raise ValueError(f"its card is not usable ({error})") from None


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        numbers = tensor.is_floating_point() or tensor.is_complex()
        # Sums of halves and eighths are not in every build of torch; they fit in 32 bits without loss.
        wide = tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
        if numbers and not torch.isfinite(wide).all():
            raise StoreError(
                f'{path} holds a weight that is not a finite number, in "{name[:80]}".',
                fix="Train again with a lower learning rate.",
            )


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(name[:80] for name in listed[:3])
    return f"{shown} and {len(listed) - 3} more" if len(listed) > 3 else shown
