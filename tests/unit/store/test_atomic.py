from __future__ import annotations

import csv
import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from layerwise.errors import StoreError
from layerwise.store import atomic


def test_a_write_takes_the_place_of_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"old", b"", b"new" * 1000):
        atomic.write_bytes(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_permissions_are_those_of_a_common_new_file(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("old", [b"old", None])
def test_killed_at_any_call_the_file_is_the_old_or_the_new_one(
    tmp_path: Path, faulty: SimpleNamespace, old: bytes | None, torn: bool
) -> None:
    disk = faulty.disk()
    atomic.write_bytes(tmp_path / "count", b"new content")
    points = len(disk.calls)
    assert disk.calls == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    for at in range(points):
        path = tmp_path / f"{at}"
        if old is not None:
            path.write_bytes(old)
        faulty.disk(at, torn=torn)
        with pytest.raises(faulty.Killed):
            atomic.write_bytes(path, b"new content")
        faulty.mend()
        found = path.read_bytes() if path.exists() else None
        assert found == (old if at <= 4 else b"new content")
    atomic.remove_leftovers(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_an_error_of_the_disk_at_any_call_is_told_and_leaves_no_part(tmp_path: Path, faulty: SimpleNamespace) -> None:
    path = tmp_path / "a.bin"
    for error in faulty.errors:
        for at in range(8):
            path.write_bytes(b"old")
            faulty.disk(at, error=error, torn=True)
            with pytest.raises(StoreError) as told:
                atomic.write_bytes(path, b"new content")
            faulty.mend()
            assert path.read_bytes() == (b"old" if at <= 4 else b"new content")
            assert os.listdir(tmp_path) == ["a.bin"]
            assert str(path) in str(told.value) and told.value.fix


def test_the_reason_is_said_in_words(tmp_path: Path, faulty: SimpleNamespace) -> None:
    words = {errno.ENOSPC: "disk is full", errno.EROFS: "read-only", errno.EIO: "fault", errno.EACCES: "permission"}
    for error, word in words.items():
        faulty.disk(1, error=error)
        with pytest.raises(StoreError, match=word):
            atomic.write_bytes(tmp_path / "a", b"x")


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_CHUNK", 7)
    atomic.write_bytes(tmp_path / "a", bytes(range(256)))
    assert (tmp_path / "a").read_bytes() == bytes(range(256))


def test_a_folder_that_knows_no_flush_is_no_error(tmp_path: Path, faulty: SimpleNamespace) -> None:
    faulty.disk(6, error=errno.EINVAL)
    atomic.write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_missing_folder_and_a_folder_of_that_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        atomic.write_bytes(tmp_path / "no" / "a", b"x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="folder"):
        atomic.write_bytes(tmp_path / "taken", b"x")
    assert os.listdir(tmp_path) == ["taken"]


def test_append_takes_back_what_a_full_disk_let_through(tmp_path: Path, faulty: SimpleNamespace) -> None:
    path = tmp_path / "log"
    atomic.append(path, b"one\n")
    for at in (2, 3):  # open, fstat, write, fsync
        faulty.disk(at, error=errno.ENOSPC, torn=True)
        with pytest.raises(StoreError, match="full"):
            atomic.append(path, b"two\n")
        faulty.mend()
        assert path.read_bytes() == b"one\n"
    atomic.append(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_leftovers_are_removed_and_files_of_others_are_not(tmp_path: Path) -> None:
    kept = {"a.tmp", ".hidden", ".layerwise-notes.txt", "layerwise-1.tmp"}
    for name in (*kept, ".layerwise-0123.tmp"):
        (tmp_path / name).touch()
    atomic.remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="regular"):
        atomic.read_bytes(tmp_path / "pipe")
    with pytest.raises(StoreError, match="folder"):
        atomic.read_bytes(tmp_path)
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(StoreError, match="too large"):
        atomic.read_bytes(tmp_path / "large", limit=4)
    assert atomic.read_bytes(tmp_path / "large", limit=5, first=2) == b"12"


def test_json_goes_through_a_file_and_bad_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_json(path, {"loss": float("inf"), "name": "Löwe\udcff"})
    assert atomic.read_json(path) == {"loss": None, "name": "Löwe\udcff"}
    path.write_text('{"a": NaN}')
    with pytest.raises(StoreError, match=r"a\.json cannot be used: NaN"):
        atomic.read_json(path)


def test_csv_cells_that_a_spreadsheet_would_run_are_marked_and_numbers_are_not(tmp_path: Path) -> None:
    risky = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=1", " =1", "\u00a0=1", "＝1"]
    fine = ["a=b", "", None, "'", "x\n=1", "1-2", "é", 'say "=1"', "a,b", "x\ry"]
    texts = risky + fine
    numbers = [-float(n) for n in range(len(texts))]
    table = pl.DataFrame({"text": texts, "=name": numbers, "-kind": pl.Series(texts, dtype=pl.Categorical)})
    atomic.write_csv(tmp_path / "a.csv", table)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    expected = ["'" + text for text in risky] + [text or "" for text in fine]
    assert header == ["text", "'=name", "'-kind"]
    assert [row[0] for row in rows] == [row[2] for row in rows] == expected
    assert [float(row[1]) for row in rows] == numbers
