"""Checks 5, 11 and 12 in small: damage at every place, made-up files, and states of any form."""

from __future__ import annotations

import json
import random
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from layerwise.errors import StoreError
from layerwise.store import strict_json
from layerwise.store.checkpoint import Checkpoints
from layerwise.store.model_file import ModelCard, load_model, save_model

CARD = ModelCard(
    layerwise="0.1.0",
    task="image-classification",
    model="cnn-small",
    network={"classes": 2, "channels": 1, "size": 8, "options": {}},
    classes=("cat", "dog"),
    preprocess={"height": 8},
    created="2026-01-01",
)


def state(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    return {"weight": torch.randn(20_000, generator=generator), "optimizer": {0: {"step": step}}}


def damaged(whole: bytes, draw: random.Random, kind: str) -> bytes:
    data = bytearray(whole)
    place = draw.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[place:]
    else:
        start = place // 4096 * 4096
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    return bytes(data)


@pytest.mark.parametrize(("kind", "times"), [("flip", 1000), ("cut", 200), ("block", 50)])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, kind: str, times: int) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(state(step), {"step": step, "best": None})
    draw = random.Random(kind)
    for _ in range(times):
        path = tmp_path / f"step-00000002.{draw.choice(['json', 'safetensors'])}"
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, draw, kind))
        saved = checkpoints.latest()
        assert saved is not None and saved.position["step"] == 1
        assert torch.equal(saved.state["weight"], state(1)["weight"])
        assert "step-00000002" in checkpoints.skipped[0]
        path.write_bytes(whole)


def test_every_flipped_bit_of_a_model_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_model(path, {"w": torch.randn(4, 4), "b": torch.ones(3)}, CARD)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(StoreError):
                load_model(path)


def test_every_cut_of_a_model_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_model(path, {"w": torch.randn(4, 4)}, CARD)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(StoreError):
            load_model(path)


def test_made_up_model_files_are_refused_quickly_and_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_model(path, {"w": torch.randn(4, 4), "b": torch.ones(3)}, CARD)
    whole = path.read_bytes()
    card, tensors = load_model(path)
    (length,) = struct.unpack("<Q", whole[:8])
    draw = random.Random(0)
    slowest, refused = 0.0, 0
    for _ in range(20_000):
        path.write_bytes(made_up(whole, length, draw))
        start = time.perf_counter()
        try:
            found, loaded = load_model(path)
        except StoreError as error:
            refused += 1
            assert len(str(error)) < 1000
        else:  # blanks in the header, and the like: it says the same
            assert found == card
            assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
            assert loaded.keys() == tensors.keys()
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 2
    assert refused > 18_000


def made_up(whole: bytes, length: int, draw: random.Random) -> bytes:
    """A good file with a header that was cut, doubled, spliced or replaced, its length put right or not."""
    header, values = bytearray(whole[8 : 8 + length]), whole[8 + length :]
    strange = [b"", b"[" * 50, b'"', b"{", b"}", b"\\", b"NaN", b"1e999", b"-1", b"9" * 30, b"true", b",", b"\xff"]
    strange += [b'"a":1,', b'"dtype":"F16",', b"\x00", b'"__metadata__":{},', draw.randbytes(4)]
    for _ in range(draw.randrange(1, 5)):
        start = draw.randrange(len(header) + 1)
        end = min(len(header), start + draw.choice([0, 1, 2, 8, 64]))
        header[start:end] = draw.choice([*strange, bytes(header[start:end]) * 2])
    size = len(header) if draw.random() < 0.9 else draw.choice([0, 1, 2**31, 2**63, 2**64 - 1, length])
    return struct.pack("<Q", size) + bytes(header) + values[: draw.choice([len(values), len(values), 7])]


def test_made_up_manifests_are_passed_over_in_our_words(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), {"step": 1, "best": None})
    path = tmp_path / "step-00000001.json"
    content = json.loads(path.read_bytes())
    del content["sha256"]
    draw = random.Random(0)
    strange: list[Any] = [None, True, -1, 2**70, 1.5, "", "x", [], [1], {}, {"$tuple": []}, {"$tensor": "0 weight"}]
    strange += [{"$dict": [[{}, 1]]}, {"$float": 1}, {"$tensor": "0 weight", "stride": [1, 1]}, {"$": 1}]
    for _ in range(5_000):
        changed = change(content, strange, draw)
        path.write_bytes(strict_json.seal(changed))
        checkpoints.latest()  # any answer but an exception of another kind
        assert len(checkpoints.skipped) <= 1


def change(value: Any, strange: list[Any], draw: random.Random) -> Any:
    """A copy of `value` in which one or more places hold something strange."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        return {**value, key: change(value[key], strange, draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], change(value[place], strange, draw), *value[place + 1 :]]
    return draw.choice(strange) if not isinstance(value, dict) or "state" not in value else {**value, "more": 1}
