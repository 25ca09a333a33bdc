"""Arrays, .npz and idx: what is an image is taken, anything else says what was found."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from layerwise.data.images import find_images
from layerwise.errors import DataError


def images(n: int = 4, *, height: int = 6, width: int = 5, channels: int | None = None) -> np.ndarray:
    shape = (n, height, width) if channels is None else (n, height, width, channels)
    return np.random.default_rng(n).integers(0, 256, shape).astype(np.uint8)


def test_uint8_arrays_are_used_without_a_copy() -> None:
    x = images(channels=3)
    source = find_images((x, [3, 1, 3, 10]))
    assert source.arrays is not None and np.shares_memory(source.arrays, x)
    assert source.classes == ("1", "3", "10") and source.table["label"].to_list() == ["3", "1", "3", "10"]
    assert source.table["path"].to_list() == ["x[0]", "x[1]", "x[2]", "x[3]"] and source.root is None


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_other_kinds_of_numbers_become_uint8(kind: Any) -> None:
    x = images()
    for scaled in [x.astype(kind)] + ([x.astype(kind) / 255] if kind is not np.int64 else []):
        source = find_images((scaled, list("abab")))
        assert source.arrays is not None and np.array_equal(source.arrays[:, :, :, 0], x)


def test_torch_tensors_and_channels_first() -> None:
    x = torch.from_numpy(images(channels=3)).permute(0, 3, 1, 2)
    source = find_images((x, torch.tensor([0, 1, 0, 1])))
    assert source.arrays is not None and np.array_equal(source.arrays, images(channels=3))
    assert source.arrays.flags.c_contiguous and "channels first" in source.notes[0]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 30)), r"reshape\(-1, 28, 28\)"),
        (np.zeros((4, 6, 5, 2), np.uint8), "C 1, 3 or 4"),
        (np.full((4, 6, 5), 300.0), "300..300"),
        (np.full((4, 6, 5), np.nan), "nan"),
        (np.full((4, 6, 5), -1), "-1..-1"),
        ([[[1, 2]], [[1]]], "cannot be made an array"),
        (np.array([["a"]] * 4), "shape"),
        (np.zeros((0, 6, 5), np.uint8), "shape"),
    ],
)
def test_what_is_no_image_says_what_was_found(x: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        find_images((x, list("abab")))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1], "4 images in x and 2 labels"),
        ([0.5, 1.0, 0.0, 1.0], "0.5"),
        (np.eye(4), r"argmax\(1\)"),
        (["a", None, "b", "a"], "None"),
        (None, "no labels"),
    ],
)
def test_labels_that_are_none_say_what_was_found(y: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        find_images((images(), y))


def test_parts_in_python() -> None:
    data = {"test": (images(3), [0, 1, 1]), "train": (images(5), [0, 1, 2, 1, 0])}
    source = find_images(data)
    assert source.table["split"].to_list() == ["train"] * 5 + ["test"] * 3
    assert source.table["path"][5] == "test[0]" and source.classes == ("0", "1", "2")
    assert source.arrays is not None and np.array_equal(source.arrays[5:, :, :, 0], images(3))
    assert find_images({"train": data["train"], "val": data["test"]}).held_out == "val"
    with pytest.raises(DataError, match='a part "hold"'):
        find_images({"hold": data["train"]})
    with pytest.raises(DataError, match="as in the rest"):
        find_images({"train": data["train"], "test": (images(2, height=9), [0, 1])})
    with pytest.raises(DataError, match="empty mapping"):
        find_images({})


def test_images_alone_where_no_labels_are_needed() -> None:
    assert find_images(images(), labelled=False).table["label"].null_count() == 4
    with pytest.raises(DataError, match="no labels"):
        find_images(images())
    with pytest.raises(DataError, match="a pair"):
        find_images((images(), [0] * 4, 3))


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "pair.npz", x=images(), y=np.array(list("abab")))
    assert find_images(tmp_path / "pair.npz").classes == ("a", "b")
    np.savez(tmp_path / "parts.npz", x_train=images(5), y_train=np.arange(5), x_test=images(3), y_test=np.arange(3))
    assert find_images(tmp_path / "parts.npz").table["split"].to_list() == ["train"] * 5 + ["test"] * 3
    np.savez(tmp_path / "odd.npz", data=images())
    with pytest.raises(DataError, match="holds the arrays data"):
        find_images(tmp_path / "odd.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object), y=[1])
    with pytest.raises(DataError, match="cannot be read"):
        find_images(tmp_path / "objects.npz")
    content = (tmp_path / "pair.npz").read_bytes()
    for damaged in (content[:100], b"", content[:60] + b"\xff" * 40 + content[100:]):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with pytest.raises(DataError):
            find_images(tmp_path / "damaged.npz")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_folders_plain_and_gzip(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images(5)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5, dtype=np.uint8)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images(3))))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(3, dtype=np.uint8))))
    source = find_images(tmp_path)
    assert source.table["split"].to_list() == ["train"] * 5 + ["test"] * 3
    assert source.arrays is not None and np.array_equal(source.arrays[:5, :, :, 0], images(5))
    for damaged in (
        b"",
        b"\0\0\x08\x03",
        idx(images(3))[:-1],
        gzip.compress(idx(images(3)))[:-20],
        b"\0\0\x0d\x03" + b"0" * 9,
    ):
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="t10k"):
            find_images(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(idx(images(3)))
    with pytest.raises(DataError, match="x_test has no labels"):
        find_images(tmp_path)


def test_fashion_mnist(shared_data: Path) -> None:
    source = find_images(shared_data / "fashion-mnist")
    assert source.arrays is not None and source.arrays.shape == (70_000, 28, 28, 1)
    assert source.classes == tuple("0123456789")
    assert source.table.filter(split="test").height == 10_000
