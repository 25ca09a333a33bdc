from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from layerwise.errors import StoreError
from layerwise.store import checkpoint, strict_json
from layerwise.store.checkpoint import Checkpoints, Saved

DRIVER = Path(__file__).parents[2] / "faults" / "kill_driver.py"


def state(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    return {
        "network": {
            "weight": torch.randn(3, 4, 5, 5, generator=generator).contiguous(memory_format=torch.channels_last)
        },
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "lr": 0.1, "betas": (0.9, 0.999)},
    }


def position(step: int, best: dict[str, str] | None = None) -> dict[str, Any]:
    return {"step": step, "score": float("-inf"), "best": best}


def check(saved: Saved | None, step: int) -> None:
    assert saved is not None
    assert saved.position["step"] == step
    want, got = state(step), saved.state
    assert torch.equal(got["network"]["weight"], want["network"]["weight"])
    assert got["network"]["weight"].stride() == want["network"]["weight"].stride()
    assert got["optimizer"] == want["optimizer"]


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def pairs(*counters: int) -> set[str]:
    return {f"step-{counter:08d}.{kind}" for counter in counters for kind in ("json", "safetensors")}


def test_a_state_and_its_position_come_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    checkpoints.save(state(1), position(1))
    saved = Checkpoints(tmp_path / "checkpoints").latest()
    check(saved, 1)
    assert saved is not None
    assert saved.position == position(1)
    assert saved.versions == {"layerwise": saved.versions["layerwise"], "torch": torch.__version__}


def test_the_last_ones_are_kept_in_the_order_of_saving(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(state(step), position(step))
        check(checkpoints.latest(), step)
    assert names(tmp_path) == pairs(4, 5)
    for path in tmp_path.iterdir():  # a changed clock changes nothing
        os.utime(path, (0, 0) if "5" in path.name else None)
    check(checkpoints.latest(), 5)


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    others = {"notes.txt", "step-1.txt", "step-best.json", "weights.safetensors", "a.tmp"}
    for name in others:
        (tmp_path / name).write_text("mine")
    Checkpoints(tmp_path, keep=1).save(state(1), position(1))
    assert names(tmp_path) == others | pairs(1)


def test_best_weights_live_as_long_as_a_kept_checkpoint_names_them(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    shared = torch.ones(3)
    old = checkpoints.save_weights("best", {"a": shared, "b": shared, "c": torch.ones(2, 3).T})
    checkpoints.save(state(1), position(1, old))
    new = checkpoints.save_weights("best", {"a": torch.zeros(3)})
    assert {old["file"], new["file"]} <= names(tmp_path)
    checkpoints.save(state(2), position(2, new))
    assert torch.equal(checkpoints.load_weights(old)["c"], torch.ones(3, 2))
    stray = checkpoints.save_weights("best", {"a": torch.full((3,), 7.0)})
    checkpoints.save(state(3), position(3, new))
    assert names(tmp_path) == pairs(2, 3) | {new["file"]}
    assert torch.equal(checkpoints.load_weights(new)["a"], torch.zeros(3))
    with pytest.raises(StoreError, match="does not exist"):
        checkpoints.load_weights(stray)
    with pytest.raises(StoreError, match="gone"):
        checkpoints.save(state(4), position(4, stray))
    check(checkpoints.latest(), 3)


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", "weights-best-0123.safetensors", "", "step-00000001.json"]
)
def test_a_reference_cannot_name_other_files(tmp_path: Path, file: str) -> None:
    with pytest.raises(StoreError, match="does not name saved weights"):
        Checkpoints(tmp_path).load_weights({"file": file, "sha256": "0" * 64})


def test_damaged_best_weights_are_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    reference = checkpoints.save_weights("best", {"a": torch.ones(3)})
    damage(tmp_path / reference["file"], random.Random(0), "flip")
    with pytest.raises(StoreError, match="hash"):
        checkpoints.load_weights(reference)


# What a save meets: nothing, an older one, one to delete, one to delete with the best weights that only it names.
SITUATIONS = {"first": (0, 2), "second": (1, 2), "rotation": (2, 2), "keep one": (1, 1), "new best": (1, 1)}


def prepare(folder: Path, situation: str) -> tuple[Callable[[], None], int]:
    """A folder before a save, that save, and the step of the checkpoint before it (0: none)."""
    before, keep = SITUATIONS[situation]
    checkpoints = Checkpoints(folder, keep)
    pattern = folder.parent / f"pattern {situation}"
    if before and not pattern.exists():
        first = Checkpoints(pattern, keep)
        old = first.save_weights("best", {"a": torch.ones(3)}) if situation == "new best" else None
        for step in range(1, before + 1):
            first.save(state(step), position(step, old))
    if before:
        shutil.copytree(pattern, folder)

    def save() -> None:
        best = checkpoints.save_weights("best", {"a": torch.zeros(3)}) if situation == "new best" else None
        checkpoints.save(state(before + 1), position(before + 1, best))

    return save, before


def count_calls(tmp_path: Path, faulty: SimpleNamespace, situation: str) -> int:
    save, _ = prepare(tmp_path / "count", situation)
    disk = faulty.disk()
    save()
    faulty.mend()
    return len(disk.calls)


def check_either(folder: Path, before: int) -> int:
    """The newest good checkpoint is the one before the save or the one of the save; which?"""
    fresh = Checkpoints(folder, keep=1)
    saved = fresh.latest()
    if saved is None:
        assert before == 0
        return 0
    step = int(saved.position["step"])
    assert step in (before, before + 1)
    check(saved, step)
    if saved.position["best"]:
        assert set(fresh.load_weights(saved.position["best"])) == {"a"}
    return step


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_killed_at_any_call_of_a_save_a_good_checkpoint_is_left(
    tmp_path: Path, faulty: SimpleNamespace, situation: str, torn: bool
) -> None:
    found = []
    for at in range(count_calls(tmp_path, faulty, situation)):
        folder = tmp_path / "run"
        save, before = prepare(folder, situation)
        faulty.disk(at, torn=torn)
        with pytest.raises(faulty.Killed):
            save()
        faulty.mend()
        found.append(check_either(folder, before))
        after = Checkpoints(folder, keep=1)
        after.save(state(9), position(9))
        check(after.latest(), 9)
        left = names(folder)
        assert len(left) == 2 and not [name for name in left if not name.startswith("step-")], (at, left)
        shutil.rmtree(folder)
    assert found == sorted(found) and set(found) == {before, before + 1}, "first the old one, then the new one"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_error_of_the_disk_at_any_call_of_a_save_leaves_the_older_checkpoints(
    tmp_path: Path, faulty: SimpleNamespace, situation: str
) -> None:
    points = count_calls(tmp_path, faulty, situation)
    for at in range(points):
        error = faulty.errors[at % len(faulty.errors)]
        folder = tmp_path / "run"
        save, before = prepare(folder, situation)
        faulty.disk(at, error=error, torn=True)
        with pytest.raises(StoreError) as told:
            save()
        faulty.mend()
        assert str(folder) in str(told.value) and told.value.fix, "names the path and a way on"
        check_either(folder, before)
        save()  # the same process goes on when the disk does
        check_either(folder, before)
        assert len([name for name in names(folder) if name.endswith(".tmp")]) == 0
        shutil.rmtree(folder)


def test_a_disk_that_stays_full_is_told_each_time_and_keeps_no_remains(tmp_path: Path, faulty: SimpleNamespace) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), position(1))
    for _ in range(3):
        faulty.disk(full=True)
        with pytest.raises(StoreError, match="full"):
            checkpoints.save(state(2), position(2))
        faulty.mend()
        assert names(tmp_path) == pairs(1)
    check(checkpoints.latest(), 1)


def damage(path: Path, draw: random.Random, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[draw.randrange(len(data)) :]
    elif kind == "zeros":
        size = min(len(data), 4096 if draw.random() < 0.3 else 64)
        start = draw.randrange(len(data) - size + 1)
        data[start : start + size] = bytes(size)
    elif kind == "longer":
        data += draw.randbytes(draw.randrange(1, 100))
    elif kind == "gone":
        path.unlink()
        return
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["flip", "cut", "zeros", "longer", "gone"])
def test_damage_is_seen_named_and_passed_over(tmp_path: Path, kind: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), position(1))
    checkpoints.save(state(2), position(2))
    for seed in range({"gone": 2, "longer": 10}.get(kind, 80)):
        path = tmp_path / f"step-00000002.{('json', 'safetensors')[seed % 2]}"
        whole = path.read_bytes()
        damage(path, random.Random(seed), kind)
        check(checkpoints.latest(), 1)
        (reason,) = checkpoints.skipped
        assert "step-00000002" in reason and len(reason) > len(str(path)) + 10
        path.write_bytes(whole)
    check(checkpoints.latest(), 2)
    assert checkpoints.skipped == []


@pytest.mark.parametrize(
    ("kind", "module", "reader"), [("safetensors", checkpoint, "_parse"), ("json", strict_json, "parse")]
)
def test_nothing_is_parsed_before_its_hash_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: ModuleType, reader: str
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), position(1))
    parsed: list[bytes] = []
    honest = getattr(module, reader)
    monkeypatch.setattr(module, reader, lambda data, *rest: parsed.append(data) or honest(data, *rest))
    check(checkpoints.latest(), 1)
    assert len(parsed) == 1
    damage(tmp_path / f"step-00000001.{kind}", random.Random(0), "flip")
    assert checkpoints.latest() is None
    assert len(parsed) == 1


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_good_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(state(1), position(1))
    checkpoints.save(state(2), position(2))
    damage(tmp_path / "step-00000002.json", random.Random(1), "flip")
    checkpoints.save(state(3), position(3))
    assert names(tmp_path) == pairs(1, 3)


def rewrite(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_bytes())
    del content["sha256"]
    path.write_bytes(strict_json.seal({**content, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"counter": 7},
        {"more": 1},
        {"schema_version": 0},
        {"schema_version": "1"},
        {"tensors": None},
        {"tensors": {"size": 1}},
        {"position": [1]},
        {"position": {"$tuple": 1}},
        {"state": {"$tensor": "no such"}},
        {"state": {}},
    ],
)
def test_a_manifest_that_layerwise_never_writes_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), position(1))
    checkpoints.save(state(2), position(2))
    rewrite(tmp_path / "step-00000002.json", **changes)
    check(checkpoints.latest(), 1)
    assert len(checkpoints.skipped) == 1


def test_checkpoints_of_a_newer_layerwise_are_named_and_never_rotated_away(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state(1), position(1))
    rewrite(tmp_path / "step-00000001.json", schema_version=2, layerwise="9.0", news=1)
    assert checkpoints.latest() is None
    assert "newer layerwise (9.0)" in checkpoints.skipped[0]
    with pytest.raises(StoreError, match="newer"):
        checkpoints.save(state(2), position(2))
    assert pairs(1) <= names(tmp_path)


def test_a_write_that_the_disk_garbles_is_seen_before_the_older_one_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state(1), position(1))
    honest = checkpoint.atomic.write_bytes
    for kind in (".safetensors", ".json"):

        def garble(path: Path, data: bytes, kind: str = kind) -> None:
            honest(path, data[:-1] + b"\x00" if path.name.endswith(kind) else data)

        monkeypatch.setattr(checkpoint.atomic, "write_bytes", garble)
        with pytest.raises(StoreError, match="read back"):
            checkpoints.save(state(2), position(2))
        monkeypatch.undo()
        check(Checkpoints(tmp_path).latest(), 1)


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(StoreError, match="at task/loss"):
        checkpoints.save({"task": {"loss": len}}, position(1))
    assert names(tmp_path) == set()


def test_a_saving_process_that_is_killed_at_random_loses_nothing_it_announced() -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--kills", "20", "--seed", "1"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] == 20
    assert figures["lost"] == figures["bad"] == 0
