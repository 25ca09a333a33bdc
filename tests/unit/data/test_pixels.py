"""The store: decoded once, found again, never half written, never in the way of another process."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise.data import cache as caching
from layerwise.data import pixels as making
from layerwise.data.cache import default_cache, tidy
from layerwise.data.decode import Preprocess, decode
from layerwise.data.images import ImageSource, find_images
from layerwise.data.pixels import PixelStore, build_pixels, decode_batch
from layerwise.errors import DataError, StoreError

FORM = Preprocess(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(40):
        path = tmp_path / "data" / "ab"[n % 2] / f"{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(n).integers(0, 256, (30, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


def build(source: ImageSource, cache: Path, form: Preprocess = FORM) -> PixelStore:
    seen: list[int] = []
    store = build_pixels(source, form, cache=cache, advance=seen.append)
    assert sum(seen) == len(source)
    return store


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "pixels").iterdir())


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(making, "decode", never)


def test_rows_are_what_decode_makes_and_hashes_are_of_the_files(folder: Path, tmp_path: Path) -> None:
    source = find_images(folder)
    store = build(source, tmp_path / "cache")
    assert store.shape == (40, 16, 16, 3) and len(store) == 40 and store.problems == {}
    ids = np.array([39, 0, 7, 7], dtype=np.uint32)
    batch = store.read(ids)
    assert batch.dtype == torch.uint8 and batch.shape == (4, 16, 16, 3)
    for place, row in enumerate(ids):
        assert np.array_equal(batch[place].numpy(), decode(source.file(row), FORM).pixels)
        assert store.hashes[row] == hashlib.sha256(source.file(row).read_bytes()).hexdigest()
    batch.zero_()
    assert store.read(ids).any()


def test_the_second_time_decodes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a" / "bad.jpg").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(
        folder / "a" / "x.gif", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]
    )
    first = build(find_images(folder), tmp_path / "cache")
    forbid_decoding(monkeypatch)
    second = build(find_images(folder), tmp_path / "cache")
    everything = np.arange(42)
    assert torch.equal(first.read(everything), second.read(everything))
    assert first.problems == second.problems and list(second.problems.values()) == ["the file is empty"]
    assert first.notes == second.notes and list(second.notes.values()) == [("first frame of 2",)]
    assert len(entries(tmp_path / "cache")) == 1


def test_mean_and_std_share_a_store_and_all_else_makes_another(folder: Path, tmp_path: Path) -> None:
    source = find_images(folder)
    build(source, tmp_path / "cache")
    build(source, tmp_path / "cache", FORM.model_copy(update={"mean": (0.1,) * 3, "std": (0.2,) * 3}))
    assert len(entries(tmp_path / "cache")) == 1
    changes = [{"height": 17}, {"resize": "pad"}, {"crop_share": 0.9}, {"interpolation": "bicubic"}]
    for number, change in enumerate(changes, 2):
        build(source, tmp_path / "cache", FORM.model_copy(update=change))
        assert len(entries(tmp_path / "cache")) == number
    Image.new("RGB", (9, 9)).save(folder / "a" / "0.jpg")
    build(find_images(folder), tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 6


def test_problems_of_the_source_and_of_files_are_both_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "t.csv").write_text("image,label\na/0.jpg,a\ngone.jpg,b\nbroken.jpg,b\nb/1.jpg,\n")
    store = build(find_images(folder / "t.csv"), tmp_path / "cache")
    assert [store.problems[row] for row in (1, 2, 3)] == ["no such file", "not an image", "no label"]
    assert not store.read(np.array([1, 2, 3])).any() and store.read(np.array([0])).any()
    assert store.hashes[1] == "" and len(store.hashes[2]) == 64


def test_nothing_usable_is_an_error_with_counts_by_reason(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"" if "1" in name else b"words")
    for _ in range(2):
        with pytest.raises(
            DataError, match=r'None of the 3 images .* 2 x "not an image", 1 x "the file is empty"'
        ) as caught:
            build_pixels(find_images(tmp_path), FORM, cache=tmp_path / "cache", advance=lambda done: None)
        assert caught.value.exit_code == 2


def test_a_file_that_changes_meanwhile_is_a_problem_that_is_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = making.read_file
    monkeypatch.setattr(making, "read_file", lambda path: whole(path) + (b"x" if str(path).endswith("/0.jpg") else b""))
    assert list(build(find_images(folder), tmp_path / "cache").problems.values()) == ["it changed while it was read"]
    monkeypatch.undo()
    assert build(find_images(folder), tmp_path / "cache").problems == {}


@pytest.mark.parametrize("damage", ["short", "long", "no-facts", "broken-facts", "no-pixels"])
def test_a_damaged_store_is_made_again(folder: Path, tmp_path: Path, damage: str) -> None:
    source = find_images(folder)
    want = build(source, tmp_path / "cache").read(np.arange(40))
    entry = entries(tmp_path / "cache")[0]
    if damage in ("short", "long"):
        os.truncate(entry / "pixels.u8", 40 * 16 * 16 * 3 + (1 if damage == "long" else -1))
    elif damage == "broken-facts":
        (entry / "facts.json").write_text("{")
    else:
        (entry / ("facts.json" if damage == "no-facts" else "pixels.u8")).unlink()
    assert torch.equal(build(source, tmp_path / "cache").read(np.arange(40)), want)


def test_an_interrupted_build_leaves_nothing_that_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pixels(find_images(folder), FORM, cache=tmp_path / "cache", advance=stop)
    assert entries(tmp_path / "cache") == []


@pytest.mark.slow
def test_a_killed_build_is_never_read_and_is_cleared_away_later(folder: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from layerwise.data.decode import Preprocess\nfrom layerwise.data.images import find_images\n"
        "from layerwise.data.pixels import build_pixels\n"
        "form = Preprocess(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)\n"
        "build_pixels(find_images(sys.argv[1]), form, cache=Path(sys.argv[2]),"
        " advance=lambda done: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "cache")], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = entries(tmp_path / "cache")
    assert left.name.startswith("tmp-")
    store = build(find_images(folder), tmp_path / "cache")
    assert store.read(np.arange(40)).flatten(1).any(1).all() and left.exists()
    long_ago = time.time() - 3600
    os.utime(left, (long_ago, long_ago))
    tidy(tmp_path / "cache" / "pixels")
    assert len(entries(tmp_path / "cache")) == 1 and not left.exists()


def test_the_least_recently_used_store_goes_first_but_none_in_use(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache" / "pixels"
    stores = {
        size: build(find_images(folder), tmp_path / "cache", FORM.model_copy(update={"height": size}))
        for size in (8, 9, 10)
    }
    found = {stores[size].shape[1]: entry for size in stores for entry in root.iterdir() if _is_of(entry, size)}
    for age, size in ((300, 9), (200, 10), (100, 8)):
        os.utime(found[size] / "lock", (time.time() - age,) * 2)
    kept = stores.pop(9)
    stores.clear()
    tidy(root, need=0, cap=sum(_bytes(entry) for entry in root.iterdir()) - 1)
    assert {size for size in found if found[size].exists()} == {9, 8}
    build(find_images(folder), tmp_path / "cache", FORM.model_copy(update={"height": 8}))
    tidy(root, need=1, cap=1)
    assert {size for size in found if found[size].exists()} == {9}
    assert kept.read(np.array([0])).any()
    del kept
    tidy(root, need=1, cap=1)
    assert entries(tmp_path / "cache") == []


def _bytes(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())


def _is_of(entry: Path, height: int) -> bool:
    return (entry / "pixels.u8").stat().st_size == 40 * height * 16 * 3


@pytest.mark.slow
def test_two_processes_that_build_at_once_both_get_it(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from layerwise.data.decode import Preprocess\nfrom layerwise.data.images import find_images\n"
        "from layerwise.data.pixels import build_pixels\n"
        "form = Preprocess(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)\n"
        "store = build_pixels(find_images(sys.argv[1]), form, cache=Path(sys.argv[2]), advance=lambda done: None)\n"
        "print(store.read(np.arange(40)).sum().item())\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {run.communicate()[0] for run in runs}
    assert all(run.returncode == 0 for run in runs) and len(sums) == 1
    assert len(entries(tmp_path / "cache")) == 1


def test_losing_the_race_takes_the_store_of_the_winner(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_images(folder)
    first = build(source, tmp_path / "cache")
    monkeypatch.setattr(making, "_open", lambda *_: None)
    second = build(source, tmp_path / "cache")
    assert torch.equal(first.read(np.arange(40)), second.read(np.arange(40)))
    assert len(entries(tmp_path / "cache")) == 1


def test_a_cache_that_cannot_be_written_names_the_way_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="LAYERWISE_CACHE"):
        build_pixels(find_images(folder), FORM, cache=tmp_path / "file", advance=lambda done: None)
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(StoreError, match=r"0.00 GB are free.*LAYERWISE_CACHE"):
        build_pixels(find_images(folder), FORM, cache=tmp_path / "cache", advance=lambda done: None)
    monkeypatch.undo()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making.os, "pwrite", full)
    with pytest.raises(StoreError, match="No space left on device"):
        build_pixels(find_images(folder), FORM, cache=tmp_path / "cache", advance=lambda done: None)
    assert entries(tmp_path / "cache") == []


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", "/somewhere")
    assert default_cache() == Path("/somewhere")
    monkeypatch.delenv("LAYERWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/layerwise")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "layerwise"


def test_arrays_of_the_right_size_are_used_with_nothing_written(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3)).astype(np.uint8)
    x[7] = x[3]
    store = build(find_images((x, [0, 1] * 5)), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert np.array_equal(store.read(np.array([4, 2])).numpy(), x[[4, 2]])
    assert store.hashes[7] == store.hashes[3] and len(set(store.hashes)) == 9
    assert np.shares_memory(store._rows, x)


def test_arrays_of_another_size_go_through_the_store(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 20, 20)).astype(np.uint8)
    source = find_images((x, [0, 1] * 5))
    store = build(source, tmp_path / "cache")
    assert store.shape == (10, 16, 16, 3) and len(entries(tmp_path / "cache")) == 1
    assert np.array_equal(store.read(np.array([3])).numpy(), decode_batch([x[3]], FORM)[0].numpy())


def test_pages_are_handed_back_and_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(find_images(folder), tmp_path / "cache")
    want = store.read(np.arange(40))
    released: list[int] = []
    release = making._release
    monkeypatch.setattr(making, "_release", lambda pages: (released.append(1), release(pages)))
    monkeypatch.setattr(making, "RELEASE_BYTES", 100_000)
    for _ in range(9):
        assert torch.equal(store.read(np.arange(40)), want)
    assert 2 <= len(released) <= 3


def test_a_batch_of_any_inputs(folder: Path) -> None:
    path = folder / "a" / "0.jpg"
    array = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    inputs: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        b"",
        array,
        torch.from_numpy(array.copy()),
        np.zeros((2, 2, 7)),
    ]
    batch, problems = decode_batch(inputs, FORM)
    assert batch.shape == (7, 16, 16, 3) and list(problems) == [3, 6]
    for place in (1, 2, 4, 5):
        assert torch.equal(batch[place], batch[0])
    assert not batch[3].any() and not batch[6].any()
    with pytest.raises(DataError, match="Input 1 is a int"):
        decode_batch([path, 3], FORM)  # type: ignore[list-item]


def test_facts_hold_nothing_but_text(folder: Path, tmp_path: Path) -> None:
    build(find_images(folder), tmp_path / "cache")
    assert json.loads((entries(tmp_path / "cache")[0] / "facts.json").read_text()) == {"problems": {}, "notes": {}}
