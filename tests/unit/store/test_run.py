from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from layerwise.errors import StoreError, UsageError
from layerwise.store.run import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", "flowers")
    made.write_recipe("epochs = 3\n")
    made.write_examples(pl.DataFrame({"id": [0, 1], "path": ["a.jpg", "b.jpg"], "problem": [None, "empty"]}))
    return made


def test_a_run_without_a_path_gets_a_new_folder_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [
        RunFolder.create(None, name).path for name in ("flowers", "flowers", "flowers", "../a b/ö", "", "..", "x" * 300)
    ]
    assert len(set(made)) == len(made)
    assert all(path.is_dir() and path.parent == Path("runs") for path in made)
    assert made[0].name.endswith("-flowers")
    assert {path.name for path in made} == set(os.listdir("runs"))


def test_a_new_or_empty_folder_becomes_a_run(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "a" / "b", "x").path.is_dir()
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", "x")


def test_a_folder_with_anything_in_it_is_refused_and_left_as_it_is(tmp_path: Path, run: RunFolder) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("x")
    with pytest.raises(UsageError, match=r"not empty.*--out"):
        RunFolder.create(tmp_path / "mine", "x")
    assert os.listdir(tmp_path / "mine") == ["photo.jpg"]
    with pytest.raises(UsageError, match="layerwise resume"):
        RunFolder.create(run.path, "x")
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.create(tmp_path / "mine" / "photo.jpg", "x")


def test_open_names_what_is_missing(tmp_path: Path, run: RunFolder) -> None:
    assert RunFolder.open(run.path).read_recipe() == {"epochs": 3}
    run.examples.unlink()
    with pytest.raises(StoreError, match=r"examples\.parquet missing"):
        RunFolder.open(run.path)
    with pytest.raises(StoreError, match=r"recipe\.toml and examples\.parquet missing"):
        RunFolder.open(tmp_path)
    with pytest.raises(StoreError, match="no folder"):
        RunFolder.open(tmp_path / "no")
    with pytest.raises(StoreError, match="is a file"):
        RunFolder.open(run.recipe)


def test_examples_recipe_metrics_and_predictions_come_back(run: RunFolder) -> None:
    assert run.read_examples().rows() == [(0, "a.jpg", None), (1, "b.jpg", "empty")]
    run.write_metrics({"metrics": {"loss": float("nan")}})
    assert run.read_metrics() == {"metrics": {"loss": None}}
    run.write_predictions(pl.DataFrame({"path": ["=a.jpg"], "score": [-0.5]}))
    assert run.predictions.read_text() == "path,score\n'=a.jpg,-0.5\n"


def test_damaged_files_are_named(run: RunFolder) -> None:
    run.recipe.write_text("epochs = = 3")
    run.examples.write_bytes(b"PAR1 nonsense PAR1")
    run.metrics.write_text("[]")
    for read, name in ((run.read_recipe, "recipe"), (run.read_examples, "examples"), (run.read_metrics, "metrics")):
        with pytest.raises(StoreError, match=name) as told:
            read()
        assert told.value.fix
    run.metrics.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        run.read_metrics()


def test_the_log_grows_by_a_line_and_can_be_cut_back(run: RunFolder) -> None:
    assert run.read_log() == []
    lines = [{"epoch": epoch, "loss": 1 / (epoch + 1), "note": "ö\n"} for epoch in range(4)]
    for line in lines:
        run.append_log(line)
    assert run.read_log() == lines
    run.rewrite_log(lines[:2])
    assert run.read_log() == lines[:2]
    run.append_log({"epoch": 2, "loss": float("inf")})
    assert run.read_log()[-1] == {"epoch": 2, "loss": None}


def test_a_torn_last_line_is_passed_over_and_removed_by_the_next_one(run: RunFolder) -> None:
    run.append_log({"epoch": 0})
    run.append_log({"epoch": 1, "text": "x"})
    whole = run.log.read_bytes()
    for end in range(len('{"epoch": 0}\n'), len(whole)):
        run.log.write_bytes(whole[:end])
        before = run.read_log()
        assert before == [{"epoch": 0}] if end < len(whole) - 1 else [{"epoch": 0}, {"epoch": 1, "text": "x"}]
        run.append_log({"epoch": 9})
        assert run.read_log() == [*before, {"epoch": 9}]


def test_a_damaged_line_in_the_middle_is_told_by_its_number(run: RunFolder) -> None:
    run.log.write_text('{"epoch": 0}\n{"epo\n{"epoch": 2}\n')
    with pytest.raises(StoreError, match="line 2"):
        run.read_log()
    with pytest.raises(StoreError, match="line 2"):
        run.append_log({"epoch": 3})
    assert run.log.read_text().count("\n") == 3


def test_a_fault_at_any_call_of_an_append_keeps_the_lines_before(run: RunFolder, faulty: SimpleNamespace) -> None:
    run.rewrite_log([{"epoch": 0}])
    disk = faulty.disk()
    run.append_log({"epoch": 1})
    for error in (*faulty.errors, None):
        for at in range(len(disk.calls)):
            faulty.mend()
            run.rewrite_log([{"epoch": 0}])
            faulty.disk(at, error=error, torn=True)
            with pytest.raises((StoreError, faulty.Killed)):
                run.append_log({"epoch": 1})
            faulty.mend()
            assert run.read_log() in ([{"epoch": 0}], [{"epoch": 0}, {"epoch": 1}])


HOLD = """
import sys, time
from pathlib import Path
from layerwise.store.run import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(run: RunFolder) -> None:
    (run.path / ".layerwise-00ff.tmp").write_text("left by a write that was cut off")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        assert not (run.path / ".layerwise-00ff.tmp").exists()
        with pytest.raises(StoreError, match=f"process {holder.pid}"), run.lock():
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with run.lock(), pytest.raises(StoreError, match=f"process {os.getpid()}"), run.lock():
        pass
    with run.lock():
        pass


def test_a_lock_that_cannot_be_written_is_told(run: RunFolder) -> None:
    (run.path / ".lock").mkdir()
    with pytest.raises(StoreError, match="folder"), run.lock():
        pass
