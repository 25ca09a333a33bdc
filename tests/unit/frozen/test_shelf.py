"""The shelf: rows come back as they were kept, nothing stale or half written is read, and nothing is computed twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerwise.data import cache as caching
from layerwise.data.cache import tidy
from layerwise.errors import RecipeError, StoreError, TrainingError
from layerwise.frozen import shelf as shelving
from layerwise.frozen.shelf import Dtype, Form, Shelf, clear, fill, row_key

MAP, TOKENS, VECTOR = (5, 4, 3), (7, 6), (9,)
Compute = Callable[[NDArray[np.int64]], tuple[Tensor, ...]]


def form(shape: tuple[int, ...] = MAP, dtype: Dtype = "float32", key: str = "a") -> Form:
    return Form(shape, dtype, key * 64)


def names(count: int, start: int = 0) -> list[bytes]:
    return [row_key(f"image {number}", "plain") for number in range(start, start + count)]


def values(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)) * 10


class Computed:
    """Gives rows of fixed tensors and remembers which were asked for."""

    def __init__(self, *whole: Tensor) -> None:
        self.whole, self.calls = whole, [np.zeros(0, np.int64)]

    def __call__(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        self.calls.append(rows)
        return tuple(each[torch.from_numpy(rows)] for each in self.whole)

    @property
    def rows(self) -> list[int]:
        return np.concatenate(self.calls).tolist()


def filled(root: Path, kind: Form, whole: Tensor, *, portion_rows: int = 1000) -> Shelf:
    shelf = Shelf(root, kind)
    done: list[int] = []
    keys = names(len(whole))
    fill([shelf], keys, Computed(whole), done.append, batch=4, portion_bytes=portion_rows * kind.row_bytes)
    assert sum(done) == len(keys)
    return shelf


def all_of(shelf: Shelf, count: int) -> Tensor:
    positions = shelf.find(names(count))
    assert (positions >= 0).all()
    return shelf.read(positions)


def shards(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if not folder.name.startswith(("tmp-", "old-")))


# What comes back


@pytest.mark.parametrize("shape", [MAP, TOKENS, VECTOR, (2, 3, 4, 5)], ids=str)
def test_float32_comes_back_bit_for_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    want = values(shape, 11)
    got = all_of(filled(tmp_path, form(shape), want, portion_rows=4), 11)
    assert got.dtype == torch.float32 and torch.equal(got, want)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_float16_comes_back_within_its_rounding_and_vectors_of_uint8_are_kept_so(tmp_path: Path, dtype: Dtype) -> None:
    want = values(VECTOR, 11) * torch.logspace(-7, 2, 9)
    got = all_of(filled(tmp_path, form(VECTOR, dtype), want), 11)
    assert torch.equal(got, want.half().float())
    assert ((got - want).abs() <= torch.maximum(want.abs() * 2**-11, torch.tensor(3e-8))).all()


@pytest.mark.parametrize(
    ("shape", "axes"), [(MAP, (2, 3)), (TOKENS, (1,)), ((2, 3, 4, 5), (1, 2, 3))], ids=["map", "tokens", "four axes"]
)
def test_uint8_comes_back_within_half_a_step_of_its_channel(
    tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    channels = (1, -1, 1, 1) if len(shape) == 3 else (-1,)
    size = shape[0] if len(shape) == 3 else shape[-1]
    want = values(shape, 11) * torch.logspace(-3, 3, size).reshape(channels) + 5
    got = all_of(filled(tmp_path, form(shape, "uint8"), want, portion_rows=4), 11)
    spread = want.amax(axes, keepdim=True) - want.amin(axes, keepdim=True)
    error = (got - want).abs()
    assert (error <= spread / 510 + want.abs().max() * 1e-6).all()
    assert error.max() > 0
    assert form(shape, "uint8").row_bytes == int(np.prod(shape)) + 8 * size


def test_uint8_keeps_a_constant_channel_exactly(tmp_path: Path) -> None:
    want = torch.full((3, *MAP), 0.1)
    want[:, 1] = 0.0
    assert torch.equal(all_of(filled(tmp_path, form(MAP, "uint8"), want), 3), want)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_any_order_memory_and_number_of_rows_gives_the_same(tmp_path: Path, dtype: Dtype) -> None:
    plain = values(MAP, 12)
    shelf = filled(tmp_path / "a", form(MAP, dtype), plain, portion_rows=4)
    want = all_of(shelf, 12)
    order = np.random.default_rng(0).permutation(12)
    assert torch.equal(shelf.read(shelf.find(names(12))[order]), want[torch.from_numpy(order)])
    assert torch.equal(shelf.read(np.array([3, 3, 0])), want[[3, 3, 0]])
    assert shelf.read(np.zeros(0, np.int64)).shape == (0, *MAP)
    last = plain.to(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(all_of(filled(tmp_path / "b", form(MAP, dtype), last), 12), want)


def test_what_is_read_and_what_was_given_is_memory_of_its_own(tmp_path: Path) -> None:
    given, want = values(MAP, 4), values(MAP, 4)
    shelf = Shelf(tmp_path, form())
    shared = torch.empty(2, *MAP)

    def compute(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        return (shared.copy_(given[torch.from_numpy(rows)]),)  # an engine that gives the same buffer each time

    fill([shelf], names(4), compute, lambda done: None, batch=2)
    all_of(shelf, 4).zero_()
    assert torch.equal(all_of(shelf, 4), want)


def test_other_float_dtypes_are_taken(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, form())
    want = values(MAP, 2)
    shelf.add(names(1), want[:1].double())
    shelf.add(names(1, 1), want[1:].bfloat16())
    got = all_of(shelf, 2)
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1].bfloat16().float())


# What is computed


def test_a_second_shelf_finds_all_and_computes_nothing(tmp_path: Path) -> None:
    want = values(MAP, 10)
    filled(tmp_path, form(), want, portion_rows=4).close()
    again, compute = Shelf(tmp_path, form()), Computed(want)
    done: list[int] = []
    assert fill([again], names(10), compute, done.append) == 0
    assert compute.rows == [] and done == [10] and len(again) == 10
    assert torch.equal(all_of(again, 10), want)
    assert again.bytes_kept == 10 * (4 * 60 + 16)
    assert again.find(names(2, 9)).tolist()[1] == -1


@pytest.mark.parametrize(
    "other", [form(key="b"), form(dtype="float16"), form(shape=(60,)), Form(MAP, "float32", "a" * 63 + "b")], ids=str
)
def test_another_form_sees_nothing(tmp_path: Path, other: Form) -> None:
    filled(tmp_path, form(), values(MAP, 4))
    assert (Shelf(tmp_path, other).find(names(4)) == -1).all()


def test_another_image_or_view_has_another_key() -> None:
    assert len({row_key("ab", "flip"), row_key("ab", "plain"), row_key("abf", "lip"), row_key("b", "flip")}) == 4
    assert len(row_key("ab", "flip")) == 16 and row_key("ab", "flip") == row_key("ab", "flip")


def test_growth_computes_new_rows_only(tmp_path: Path) -> None:
    want = values(MAP, 9)
    first = filled(tmp_path, form(), want[:5])
    for shelf in (first, Shelf(tmp_path, form())):
        compute = Computed(want)
        assert fill([shelf], names(9), compute, lambda done: None, batch=3) == 4
        assert compute.rows == [5, 6, 7, 8] and torch.equal(all_of(shelf, 9), want)
        assert [len(rows) for rows in compute.calls] == [0, 3, 1]


def test_several_shelves_are_filled_in_one_pass_and_each_gets_what_it_lacks(tmp_path: Path) -> None:
    deep, pooled = values(MAP, 10), values(VECTOR, 10)
    early, late = Shelf(tmp_path, form(MAP, key="b")), Shelf(tmp_path, form(VECTOR, key="c"))
    early.add(names(4), deep[:4])
    late.add(names(2, 3), pooled[3:5])
    compute = Computed(deep, pooled)
    keys = names(10)
    assert fill([early, late], keys, compute, lambda done: None, batch=3) == 9
    assert compute.rows == [0, 1, 2, 4, 5, 6, 7, 8, 9]  # row 3 is on both
    assert torch.equal(all_of(early, 10), deep) and torch.equal(all_of(late, 10), pooled)
    row_bytes = 60 * 4 + 16
    assert early.bytes_kept == 10 * row_bytes and late.bytes_kept == 10 * (9 * 4 + 16)


def test_equal_keys_are_computed_and_kept_once(tmp_path: Path) -> None:
    want = values(MAP, 3)
    keys = [names(3)[row] for row in (0, 1, 0, 2, 1)]
    shelf, compute = Shelf(tmp_path, form()), Computed(want[[0, 1, 0, 2, 1]])
    done: list[int] = []
    assert fill([shelf], keys, compute, done.append) == 3
    assert compute.rows == [0, 1, 3] and sum(done) == 5 and len(shelf) == 3
    assert torch.equal(shelf.read(shelf.find(keys)), want[[0, 1, 0, 2, 1]])
    shelf.add([*keys[:2], *names(2, 7)[:1] * 2], values(MAP, 4, seed=1))
    assert len(shelf) == 4 and torch.equal(shelf.read(shelf.find(keys[:2])), want[:2])
    assert shelf.bytes_kept == 4 * 256  # what was there is not written again
    assert torch.equal(shelf.read(shelf.find(names(1, 7))), values(MAP, 4, seed=1)[2:3])


def test_nothing_wanted_is_nothing_done(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "none", form())
    assert fill([shelf], [], Computed(values(MAP, 0)), lambda done: None) == 0
    shelf.add([], torch.empty(0, *MAP))
    assert shelf.find([]).shape == (0,) and not (tmp_path / "none").exists()


def test_portions_are_bounded_in_bytes_and_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "bytes", form(), values(MAP, 20), portion_rows=8)
    assert [len(np.fromfile(each / "keys.bin", "V16")) for each in shards(tmp_path / "bytes")].count(8) == 2
    monkeypatch.setattr(shelving, "PORTION_SECONDS", -1.0)
    filled(tmp_path / "time", form(), values(MAP, 20))
    assert len(shards(tmp_path / "time")) == 5  # one for each batch


# What cannot be kept


def test_values_too_large_for_float16_write_nothing_and_name_the_way_out(tmp_path: Path) -> None:
    whole = values(VECTOR, 6)
    whole[4, 2] = 65520.0
    shelf = Shelf(tmp_path / "shelf", form(VECTOR, "float16"))
    for call in (
        lambda: shelf.add(names(6), whole),
        lambda: fill([shelf], names(6), Computed(whole), lambda done: None, batch=2),
    ):
        with pytest.raises(RecipeError, match=r"up to 6.55e\+04.*--set frozen.dtype=float32"):
            call()
    assert not (tmp_path / "shelf").exists() and len(shelf) == 0
    whole[4, 2] = 65504.0
    shelf.add(names(6), whole)
    assert all_of(shelf, 6)[4, 2] == 65504.0


def test_a_range_too_large_for_uint8_names_the_way_out(tmp_path: Path) -> None:
    whole = values(MAP, 2)
    whole[0, 0, 0, :2] = torch.tensor([3e38, -3e38])
    with pytest.raises(RecipeError, match="--set frozen.dtype=float32"):
        Shelf(tmp_path, form(MAP, "uint8")).add(names(2), whole)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_an_error_that_names_the_rows(tmp_path: Path, dtype: Dtype, bad: float) -> None:
    whole = values(MAP, 30)
    whole[[7, *range(20, 29)], 3, 1, 1] = bad
    shelf = Shelf(tmp_path / "shelf", form(MAP, dtype))
    with pytest.raises(TrainingError, match="not finite for row 7, 20, 21, 22, 23 and 5 more"):
        shelf.add(names(30), whole)
    with pytest.raises(TrainingError, match="not finite for row 7[.]"):
        fill([shelf], names(30), Computed(whole), lambda done: None, batch=4)
    assert not (tmp_path / "shelf").exists()


def test_a_cache_that_cannot_be_written_is_an_error_with_neutral_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Derived files cannot be kept in .*LAYERWISE_CACHE"):
        Shelf(tmp_path / "file", form()).add(names(1), values(MAP, 1))


# What is damaged, half written or taken away


def _foreign_facts(entry: Path, **changes: object) -> None:
    facts = json.loads((entry / "facts.json").read_text())
    (entry / "facts.json").write_text(json.dumps({**facts, **changes}, indent=1))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "rows truncated": lambda entry: os.truncate(entry / "rows.bin", 100),
    "rows a byte short": lambda entry: os.truncate(entry / "rows.bin", 4 * 240 - 1),
    "rows a row longer": lambda entry: os.truncate(entry / "rows.bin", 5 * 240),
    "rows empty": lambda entry: os.truncate(entry / "rows.bin", 0),
    "rows missing": lambda entry: (entry / "rows.bin").unlink(),
    "keys missing": lambda entry: (entry / "keys.bin").unlink(),
    "keys short": lambda entry: os.truncate(entry / "keys.bin", 48),
    "keys changed": lambda entry: (entry / "keys.bin").write_bytes(b"x" * 64),
    "facts missing": lambda entry: (entry / "facts.json").unlink(),
    "facts garbage": lambda entry: (entry / "facts.json").write_bytes(b"\xff{[[[["),
    "facts of another format": lambda entry: _foreign_facts(entry, format=999),
    "facts of another shape": lambda entry: _foreign_facts(entry, shape=[60]),
    "facts of another dtype": lambda entry: _foreign_facts(entry, dtype="float16"),
    "facts of another key": lambda entry: _foreign_facts(entry, key="a" * 24 + "b" * 40),
    "a folder in place of rows": lambda entry: ((entry / "rows.bin").unlink(), (entry / "rows.bin").mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_removed_and_its_rows_computed_again(tmp_path: Path, damage: str) -> None:
    want = values(MAP, 8)
    filled(tmp_path, form(), want, portion_rows=4).close()
    victim = shards(tmp_path)[0]
    lost = np.fromfile(victim / "keys.bin", "V16").tolist()
    DAMAGES[damage](victim)
    shelf, compute = Shelf(tmp_path, form()), Computed(want)
    assert not victim.exists() and len(shelf) == 4
    fill([shelf], names(8), compute, lambda done: None)
    assert [names(8)[row] for row in compute.rows] == lost
    assert torch.equal(all_of(shelf, 8), want)


def test_facts_as_written_pass_the_check_that_the_damages_fail(tmp_path: Path) -> None:
    filled(tmp_path, form(), values(MAP, 4)).close()
    _foreign_facts(shards(tmp_path)[0])
    assert len(Shelf(tmp_path, form())) == 4


def test_a_shard_that_the_system_refuses_to_open_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, form(), values(MAP, 4)).close()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(shelving.mmap, "mmap", refuse)
    assert len(Shelf(tmp_path, form())) == 0
    monkeypatch.undo()
    assert len(Shelf(tmp_path, form())) == 4


def test_other_files_and_folders_below_the_root_stay(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    (tmp_path / "tmp-mine").mkdir()
    (tmp_path / f"{'a' * 24}-mine").mkdir()
    (tmp_path / "note").write_text("mine")
    long_ago = time.time() - 3600
    os.utime(tmp_path / "tmp-mine", (long_ago, long_ago))
    filled(tmp_path, form(), values(MAP, 4)).close()
    tidy(tmp_path, need=1, cap=1)
    assert clear(tmp_path) == 0 and len(list(tmp_path.iterdir())) == 4


def test_an_interrupted_fill_keeps_whole_portions_and_goes_on_behind_them(tmp_path: Path) -> None:
    want = values(MAP, 20)
    compute = Computed(want)

    def stop(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        if rows[0] >= 12:
            raise KeyboardInterrupt
        return compute(rows)

    with pytest.raises(KeyboardInterrupt):
        fill([Shelf(tmp_path, form())], names(20), stop, lambda done: None, batch=4, portion_bytes=8 * 240)
    assert len(list(tmp_path.iterdir())) == 1
    shelf, rest = Shelf(tmp_path, form()), Computed(want)
    assert fill([shelf], names(20), rest, lambda done: None) == 12 and rest.rows == list(range(8, 20))
    assert torch.equal(all_of(shelf, 20), want)


@pytest.mark.slow
def test_a_killed_fill_leaves_whole_shards_and_the_next_one_finishes(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, torch\nfrom pathlib import Path\n"
        "from layerwise.data import cache\nfrom layerwise.frozen.shelf import Form, Shelf, fill, row_key\n"
        "whole = torch.arange(20.0)[:, None].expand(20, 9)\n"
        "shelf = Shelf(Path(sys.argv[1]), Form((9,), 'float32', 'a' * 64))\n"
        "publish, left = cache._publish, [3]\n"
        "def killed(*paths):\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return publish(*paths)\n"
        "cache._publish = killed\n"
        "keys = [row_key(f'image {number}', 'plain') for number in range(20)]\n"
        "fill([shelf], keys, lambda rows: (whole[rows],), lambda done: None, batch=4, portion_bytes=4 * 36)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(shards(tmp_path)) == 2 and len(list(tmp_path.iterdir())) == 3  # the third is complete but for its name
    want = torch.arange(20.0)[:, None].expand(20, 9)
    shelf, compute = Shelf(tmp_path, form(VECTOR)), Computed(want)
    assert len(shelf) == 8
    assert fill([shelf], names(20), compute, lambda done: None) == 12
    assert torch.equal(all_of(shelf, 20), want)


def test_a_shard_that_goes_between_listing_and_claiming_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, form(), values(MAP, 8), portion_rows=4).close()
    claim, victim = shelving.claim, shards(tmp_path)[0]

    def late(entry: Path) -> int | None:
        if entry == victim:
            shutil.rmtree(entry)
        return claim(entry)

    monkeypatch.setattr(shelving, "claim", late)
    assert len(Shelf(tmp_path, form())) == 4


def test_rows_that_move_to_another_shard_meanwhile_are_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = values(MAP, 4)
    filled(tmp_path, form(), want).close()
    (before,) = shards(tmp_path)
    claim = shelving.claim

    def late(entry: Path) -> int | None:
        if entry == before:
            entry.rename(tmp_path / f"{'a' * 24}-{'0' * 16}")
        return claim(entry)

    monkeypatch.setattr(shelving, "claim", late)
    assert torch.equal(all_of(Shelf(tmp_path, form()), 4), want)


def test_rows_are_read_even_after_somebody_deletes_the_cache(tmp_path: Path) -> None:
    want = values(MAP, 4)
    shelf = filled(tmp_path / "cache", form(), want)
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(all_of(shelf, 4), want)
    shelf.add(names(1, 4), want[:1])
    assert torch.equal(shelf.read(shelf.find(names(1, 4))), want[:1])


# Many shards, many holders


def test_two_that_fill_at_once_are_harmless_and_the_spare_copy_goes(tmp_path: Path) -> None:
    want = values(MAP, 8)
    one, two = Shelf(tmp_path, form()), Shelf(tmp_path, form())
    for shelf in (one, two):
        fill([shelf], names(8), Computed(want), lambda done: None)
    assert len(shards(tmp_path)) == 2
    third = Shelf(tmp_path, form())
    assert len(third) == 8 and torch.equal(all_of(third, 8), want)
    assert torch.equal(all_of(one, 8), want) and torch.equal(all_of(two, 8), want)
    for shelf in (one, two, third):
        shelf.close()
    assert torch.equal(all_of(Shelf(tmp_path, form()), 8), want) and len(shards(tmp_path)) == 1


def test_many_shards_become_few_and_positions_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelving, "MOST_SHARDS", 6)
    monkeypatch.setattr(shelving, "_COPY_BYTES", 3 * 240)
    want = values(MAP, 40)
    shelf = Shelf(tmp_path, form())
    known = {}
    for row in range(40):
        shelf.add(names(1, row), want[row : row + 1])
        known[row] = int(shelf.find(names(1, row))[0])
        assert len(shards(tmp_path)) <= 6
    positions = np.array([known[row] for row in range(40)])
    assert np.array_equal(shelf.find(names(40)), positions)
    assert torch.equal(shelf.read(positions), want)
    assert shelf.bytes_kept == 40 * 256
    shelf.close()
    assert torch.equal(all_of(Shelf(tmp_path, form()), 40), want)
    monkeypatch.setattr(shelving, "MOST_SHARDS", 2)
    assert torch.equal(all_of(Shelf(tmp_path, form()), 40), want) and len(shards(tmp_path)) == 2


def test_with_no_room_to_merge_the_shards_stay_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = values(MAP, 6)
    shelf = filled(tmp_path, form(), want, portion_rows=4)
    shelf.add(names(1, 9), want[:1])
    shelf.close()
    monkeypatch.setattr(shelving, "MOST_SHARDS", 2)
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    assert torch.equal(all_of(Shelf(tmp_path, form()), 6), want) and len(shards(tmp_path)) == 3


def test_entries_in_use_outlive_a_small_cap_and_the_least_recently_used_go_first(tmp_path: Path) -> None:
    want = values(MAP, 4)
    for key in "bcd":
        filled(tmp_path, form(key=key), want).close()
    entry = {each.name[0]: each for each in shards(tmp_path)}
    for age, key in ((400, "b"), (300, "c"), (200, "d")):
        os.utime(entry[key] / "lock", (time.time() - age,) * 2)
    Shelf(tmp_path, form(key="b")).close()  # touches it
    held = Shelf(tmp_path, form(key="c"))
    size = sum(file.stat().st_size for file in entry["b"].iterdir())
    assert tidy(tmp_path, cap=2 * size + size // 2) == size and {key for key in entry if entry[key].exists()} == {
        "b",
        "c",
    }
    assert clear(tmp_path) == size
    assert shards(tmp_path) == [entry["c"]] and torch.equal(all_of(held, 4), want)
    held.close()
    assert clear(tmp_path) == size and list(tmp_path.iterdir()) == [] and clear(tmp_path / "none") == 0


def test_a_shelf_lets_go_when_it_is_closed_or_gone(tmp_path: Path) -> None:
    shelf = filled(tmp_path, form(), values(MAP, 4))
    shelf.close()
    shelf.close()
    assert len(shelf) == 0 and shelf.bytes_kept == 0 and shelf.find(names(1)).tolist() == [-1]
    assert clear(tmp_path) > 0
    shelf = filled(tmp_path, form(), values(MAP, 4))
    assert clear(tmp_path) == 0
    del shelf
    assert clear(tmp_path) > 0


def test_pages_are_handed_back_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = values(MAP, 40)
    shelf = filled(tmp_path, form(), want, portion_rows=8)
    monkeypatch.setattr(shelving, "RELEASE_BYTES", 4000)
    monkeypatch.setattr(shelving, "_FAULT_BYTES", 0)
    released: list[int] = []
    release = shelving.mmap.MADV_DONTNEED
    table = shelf._table
    spies = tuple(shard._replace(pages=_Spy(shard.pages, released)) for shard in table.shards)
    monkeypatch.setattr(shelf, "_table", table._replace(shards=spies))
    for _ in range(4):
        assert torch.equal(all_of(shelf, 40), want)
    assert released == [release] * len(spies) * 4


class _Spy:
    def __init__(self, pages: object, released: list[int]) -> None:
        self.pages, self.released = pages, released

    def madvise(self, advice: int) -> None:
        self.pages.madvise(advice)  # type: ignore[attr-defined]
        self.released.append(advice)


def test_ten_thousand_pooled_rows_are_read_in_well_under_a_second(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, form((640,), "float16"))
    keys = names(10_000)
    for start in range(0, 10_000, 1000):
        shelf.add(keys[start : start + 1000], torch.full((1000, 640), float(start)))
    positions = shelf.find(keys)[np.random.default_rng(0).permutation(10_000)]
    began = time.process_time()
    for start in range(0, 10_000, 32):
        shelf.read(positions[start : start + 32])
    assert time.process_time() - began < 1.0
