from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from layerwise.errors import StoreError
from layerwise.store import strict_json
from layerwise.store.model_file import ModelCard, check_tensors, load_model, save_model, tensors_digest
from layerwise.store.pack import DTYPES


def card(**changes: Any) -> ModelCard:
    facts: dict[str, Any] = {
        "layerwise": "0.1.0",
        "task": "image-classification",
        "model": "cnn-small",
        "network": {"classes": 3, "channels": 3, "size": 32, "options": {"dropout": 0.25}},
        "classes": ("cat", "Löwe", "=dog"),
        "preprocess": {"height": 32, "width": 32, "mean": [0.5, 0.5, 0.5]},
        "temperature": 1.25,
        "created": "2026-01-01T00:00:00",
    }
    return ModelCard(**{**facts, **changes})


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last),
        "norm.num_batches_tracked": torch.tensor(7),
        "norm.empty": torch.empty(0, 3),
        "head.bias": torch.randn(10, generator=generator),
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", weights(), card())
    return tmp_path / "model.safetensors"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and values of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: Mapping[str, Any] | bytes, values: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def with_card(path: Path, change: Callable[[dict[str, Any]], Any], *, sealed: bool = True) -> None:
    header, values = parts(path)
    content = json.loads(header["__metadata__"]["layerwise"])
    del content["sha256"]
    change(content)
    text = strict_json.seal(content).decode() if sealed else json.dumps(content)
    header["__metadata__"]["layerwise"] = text
    path.write_bytes(join(header, values))


def refused(path: Path, reason: str) -> None:
    with pytest.raises(StoreError, match=reason) as told:
        load_model(path)
    text = str(told.value)
    assert path.name in text and "\n" not in text and len(text) < 700
    assert told.value.fix


def test_a_model_comes_back_exactly(model: Path) -> None:
    found, tensors = load_model(model)
    assert found == card(tensors_sha256=tensors_digest(weights()))
    assert tensors.keys() == weights().keys()
    for name, tensor in weights().items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    other = dict(reversed(weights().items()))
    save_model(tmp_path / "again", other, card(preprocess=dict(reversed(card().preprocess.items()))))
    assert (tmp_path / "again").read_bytes() == model.read_bytes()


def test_every_type_and_shape_comes_back(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number, dtype in enumerate(sorted(DTYPES, key=str)):
        tensors = {}
        for shape in ((), (0,), (3,), (2, 0, 3), (2, 3, 4, 5)):
            size = int(np.prod(shape))
            raw = torch.from_numpy(draw.integers(0, 50, max(size, 1) * dtype.itemsize, dtype=np.uint8))
            whole = raw % 2 == 1 if dtype is torch.bool else raw.view(dtype)
            tensors[f"{number}.ö {shape}"] = whole[:size].reshape(shape)
        save_model(tmp_path / "m", tensors, card())
        found = load_model(tmp_path / "m")[1]
        assert tensors_digest(found) == tensors_digest(tensors)
        check_tensors(tensors, found)


def test_tied_weights_are_kept_by_value(tmp_path: Path) -> None:
    shared = torch.ones(3, 3)
    save_model(tmp_path / "m", {"a": shared, "b": shared, "c": shared[0], "d": shared.T}, card())
    assert load_model(tmp_path / "m")[1]["b"].equal(shared)


def test_a_link_to_a_model_file_is_fine(tmp_path: Path, model: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    assert load_model(tmp_path / "link")[0] == load_model(model)[0]


class Bomb:
    """A pickle of this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def torch_file(value: Any, *, new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def array_file(write: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    write(buffer, np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    **{f"pickle {n}": lambda path, n=n: pickle.dumps(Bomb(path), protocol=n) for n in range(6)},  # type: ignore[misc]
    "torch zip": lambda path: torch_file(Bomb(path), new=True),
    "torch legacy": lambda path: torch_file(Bomb(path), new=False),
    "keras": lambda path: zipped("config.json", b'{"class_name": "Lambda"}'),
    "zip slip": lambda path: zipped("../../x", b""),
    "npz": lambda path: array_file(np.savez),
    "npy": lambda path: array_file(np.save),
    "h5": lambda path: b"\x89HDF\r\n\x1a\n" + bytes(100),
    "gzip": lambda path: gzip.compress(pickle.dumps(Bomb(path))),
    "onnx": lambda path: b"\x08\x08\x12\x07pytorch\x1a\x05" + bytes(100),
    "empty": lambda path: b"",
    "short": lambda path: b"\x08\x00\x00",
    "text": lambda path: b"<html>not found</html>",
    "zeros": lambda path: bytes(10_000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "code has run"
    (tmp_path / "model.safetensors").write_bytes(FOREIGN[kind](marker))
    refused(tmp_path / "model.safetensors", "it is ")
    assert not marker.exists()


def test_the_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m"
    for kind, word in {"pickle 4": "pickle", "torch zip": "zip", "torch legacy": "pickle", "h5": "HDF5"}.items():
        path.write_bytes(FOREIGN[kind](tmp_path / "x"))
        refused(path, word)


def test_a_header_as_long_as_the_mark_of_another_format_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "m"
    for extra in range(0, 2000, 8):  # one of these lengths begins with the bytes of a pickle, 0x80 0x0N
        save_model(path, {"w": torch.zeros(1)}, card(created="x" * extra))
        if path.read_bytes()[0] == 0x80 and path.read_bytes()[1] <= 5:
            break
    else:
        pytest.fail("no such length was met")
    assert load_model(path)[1]["w"].item() == 0


def test_a_plain_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(safetensors.torch.save(weights_contiguous(), {"format": "pt"}))
    refused(path, "without the metadata of layerwise")
    path.write_bytes(safetensors.torch.save(weights_contiguous()))
    refused(path, "without the metadata")


def weights_contiguous() -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in weights().items()}


def test_hostile_headers_are_refused(tmp_path: Path, model: Path) -> None:
    header, values = parts(model)
    text = json.dumps(header).encode()
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    huge = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}
    overlap = {**header, "head.bias": {**header["head.bias"], "data_offsets": [0, 40]}}
    cases = {
        "claims": struct.pack("<Q", 2**40) + text + values,
        "claims ": struct.pack("<Q", 2**63 + 5) + text + values,
        "cut short": struct.pack("<Q", len(text) + 10_000) + text + values,
        "twice": join(text[:-1] + b', "head.bias": ' + json.dumps(header["head.bias"]).encode() + b"}", values),
        "twice ": join(text.replace(b'"dtype"', b'"dtype": "F32", "dtype"', 1), values),
        "unknown keys": join({**header, "__metadata__": {**header["__metadata__"], "code": "import os"}}, values),
        "unknown keys ": join({**header, "__metadata__": {"layerwise": 5}}, values),
        "without the metadata": join({**header, "__metadata__": []}, values),
        "bytes of weights": join(header, values + b"more"),
        "bytes of weights ": join(header, values[:-1]),
        "bytes of weights  ": join({**header, "x": huge}, values),
        "bytes of weights   ": join({**header, "x": entry}, values),
        "not that of a tensor": join({**header, "x": 5}, values),
        "not that of a tensor ": join({**header, "x": {**entry, "file": "/etc/passwd"}}, values),
        "unknown type": join({**header, "x": {**entry, "dtype": "PICKLE"}}, values),
        "no usable shape": join({**header, "x": {**entry, "shape": [-1]}}, values),
        "no usable shape ": join({**header, "x": {**entry, "shape": [1.0]}}, values),
        "no usable shape  ": join({**header, "x": {**entry, "shape": "1"}}, values),
        "nested": join(b'{"a":' * 100 + b"1" + b"}" * 100, values),
        "NaN": join(text[:-1] + b', "x": NaN}', values),
        "cannot be used": join(overlap, values),
        "cannot be used ": join(b"{" + b"\xff" * 50, values),
        "cannot be used  ": join(b"{}", b""),
    }
    for reason, data in cases.items():
        model.write_bytes(data)
        refused(model, reason.strip())


def test_a_card_that_layerwise_never_writes_is_refused(model: Path) -> None:
    whole = model.read_bytes()
    network = card().network
    changes: list[tuple[str, dict[str, Any]]] = [
        ("newer layerwise .9.9", {"schema_version": 2, "layerwise": "9.9", "unknown": 1}),
        ("schema_version", {"schema_version": 0}),
        ('Unknown key "module"', {"module": "os.system"}),
        ("temperature", {"temperature": 0}),
        ("temperature", {"temperature": -1.0}),
        ("smoothing", {"smoothing": 1.0}),
        ("smoothing", {"smoothing": -0.1}),
        ("threshold", {"threshold": 1.5}),
        ("classes", {"classes": "abc"}),
        ("classes", {"classes": [1, 2]}),
        ("network", {"network": {**network, "classes": 10**9}}),
        ("network", {"network": {**network, "size": True}}),
        ("network", {"network": {**network, "url": "http://x"}}),
        ("network", {"network": {**network, "options": "eval"}}),
        ("network", {"network": {}}),
        ("weights do not match their hash", {"tensors_sha256": "0" * 64}),
    ]
    for reason, change in changes:
        model.write_bytes(whole)
        with_card(model, lambda content, change=change: content.update(change))  # type: ignore[misc]
        refused(model, reason)
    for key in json.loads(parts(model)[0]["__metadata__"]["layerwise"]):
        if key not in (
            "sha256",
            "schema_version",
            "train_counts",
            "precision",
            "temperature",
            "smoothing",
            "threshold",
        ):  # with a default
            model.write_bytes(whole)
            with_card(model, lambda content, key=key: content.pop(key))  # type: ignore[misc]
            refused(model, key if key != "tensors_sha256" else "hash")


def test_a_card_that_was_changed_by_hand_is_refused(model: Path) -> None:
    whole = model.read_bytes()
    for old, new in ((b"=dog", b"=cat"), (b"1.25", b"1.35"), (b"cnn-small", b"cnn-large")):
        assert whole.count(old) == 1
        model.write_bytes(whole.replace(old, new))
        refused(model, "hash")
    with_card(model, lambda content: None, sealed=False)
    refused(model, "hash")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, dtype: torch.dtype
) -> None:
    tensors = {"a": torch.ones(3), "head": torch.tensor([1.0, value]).to(dtype)}
    with pytest.raises(StoreError, match='not a finite number, in "head"'):
        save_model(tmp_path / "m", tensors, card())
    assert not (tmp_path / "m").exists()
    monkeypatch.setattr("layerwise.store.model_file._check_finite", lambda *_: None)
    save_model(tmp_path / "m", tensors, card())
    monkeypatch.undo()
    refused(tmp_path / "m", "not a finite number")


def test_a_card_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"a": deep}
    for preprocess in ({"mean": float("nan")}, {"deep": deep}):
        with pytest.raises(StoreError, match="card"):
            save_model(tmp_path / "m", weights(), card(preprocess=preprocess))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["flip", "cut", "zeros"])
def test_random_damage_is_always_seen(model: Path, kind: str) -> None:
    whole = model.read_bytes()
    draw = random.Random(kind)
    for _ in range(250):
        data = bytearray(whole)
        place = draw.randrange(len(data))
        if kind == "flip":
            data[place] ^= 1 << draw.randrange(8)
        elif kind == "cut":
            del data[place:]
        else:
            data[place : place + 64] = bytes(len(data[place : place + 64]))
            if data == whole:
                continue
        model.write_bytes(data)
        with pytest.raises(StoreError):
            load_model(model)


def test_a_pipe_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "regular")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "folder")
    refused(tmp_path / "missing", "does not exist")


def test_a_large_file_of_another_kind_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.write(b"\x80\x04junk")
        file.truncate(4 << 30)  # holes: takes no room on the disk
    refused(path, "pickle")
    with path.open("r+b") as file:
        file.truncate(9 << 30)
    with pytest.raises(StoreError, match="too large"):
        load_model(path)


@pytest.mark.parametrize("old", [True, False])
def test_a_fault_at_any_call_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, faulty: SimpleNamespace, old: bool
) -> None:
    path = tmp_path / "model.safetensors"
    for at in range(8):
        for error in (*faulty.errors, None):
            path.unlink(missing_ok=True)
            if old:
                save_model(path, {"a": torch.zeros(1)}, card())
            faulty.disk(at, error=error, torn=True)
            with pytest.raises((StoreError, faulty.Killed)):
                save_model(path, {"a": torch.ones(1)}, card())
            faulty.mend()
            if at <= 4 and not old:
                assert not path.exists()
            else:
                assert load_model(path)[1]["a"].item() == (at > 4)


def test_missing_extra_and_misshapen_tensors_are_named() -> None:
    expected = {"a": torch.zeros(2), "b": torch.zeros(2, 3), "c": torch.zeros(1), "d": torch.zeros(1)}
    got = {"a": torch.zeros(2), "b": torch.zeros(3, 2), "c": torch.zeros(1).long(), "x": torch.zeros(1)}
    with pytest.raises(StoreError) as told:
        check_tensors(expected, got)
    text = str(told.value)
    for part in ("d missing", "x not of this network", "b (3, 2)", "expected (2, 3)", "c (1,) torch.int64"):
        assert part in text
    check_tensors(expected, expected)
    with pytest.raises(StoreError, match="and 97 more missing"):
        check_tensors({f"layer{n}": torch.zeros(1) for n in range(100)}, {})


def test_loading_imports_nothing_and_opens_nothing_else(model: Path) -> None:
    load_model(model)
    before, watching = set(sys.modules), True
    events: list[tuple[str, Any]] = []

    def watch(event: str, arguments: Any) -> None:
        if watching and event in ("open", "import", "exec", "compile", "pickle.find_class", "socket.connect"):
            events.append((event, arguments[0]))

    sys.addaudithook(watch)
    load_model(model)
    watching = False
    opened = {str(name) for event, name in events if event == "open" and not isinstance(name, int)}
    assert opened == {str(model)}, "and what is opened by number is that file"
    assert {event for event, _ in events} == {"open"} and set(sys.modules) == before
