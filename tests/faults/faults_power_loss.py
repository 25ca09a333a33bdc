"""Power cuts during a save, replayed without root: the method of ALICE (Pillai et al., OSDI 2014).

The calls of one save are recorded. Then every state is built that a weak file system may leave when the power goes
after any prefix of them: what was written to a file and not flushed is there, half there, zeros, or gone; each name
that was made, changed or removed since its folder was flushed is, or is not. In every state the newest good checkpoint
must be the one before or the one of the save, and the one of the save once `save` had returned.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from layerwise.errors import StoreError
from layerwise.store import atomic
from layerwise.store.checkpoint import Checkpoints


class Recorder:
    """Stands in for the module `os`: does what it is asked, and writes down what it means for the disk."""

    def __init__(self, forget: str = "") -> None:
        self.trace: list[tuple[Any, ...]] = []
        self.forget = forget  # a planted mistake: "file" or "folder" is never flushed
        self._open: dict[int, Path] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        handle = os.open(path, flags, mode)
        self._open[handle] = Path(path)
        if flags & os.O_CREAT:
            self.trace.append(("create", Path(path).name))
        return handle

    def write(self, handle: int, data: memoryview) -> int:
        self.trace.append(("write", self._open[handle].name, bytes(data)))
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:
        path = self._open[handle]
        kind = "folder" if path.is_dir() else "file"
        if kind != self.forget:
            self.trace.append((f"flush {kind}", path.name))

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)
        self.trace.append(("rename", Path(old).name, Path(new).name))

    def unlink(self, path: Path) -> None:
        os.unlink(path)
        self.trace.append(("unlink", Path(path).name))


FATES = 60


@dataclass
class Disk:
    """What is surely on the disk, and what may be."""

    names: dict[str, int]
    contents: dict[int, bytes]
    flushed: set[int]
    current: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[Any, ...]] = field(default_factory=list)

    def do(self, step: tuple[Any, ...]) -> None:
        kind, name = step[0], step[1]
        if kind == "create":
            number = len(self.contents)
            self.contents[number] = b""
            self.current[name] = number
            self.pending.append(("set", name, number))
        elif kind == "write":
            self.contents[self.current[name]] += step[2]
        elif kind == "flush file":
            self.flushed.add(self.current[name])
        elif kind == "rename":
            number = self.current.pop(name)
            self.current[step[2]] = number
            self.pending.append(("move", name, step[2], number))
        elif kind == "unlink":
            del self.current[name]
            self.pending.append(("drop", name))
        elif kind == "flush folder":
            self.names, self.pending = dict(self.current), []

    def states(self) -> Iterator[dict[str, bytes]]:
        """All that may be left when the power goes now."""
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            names = dict(self.names)
            for step in itertools.compress(self.pending, chosen):
                if step[0] == "set":
                    names[step[1]] = step[2]
                elif step[0] == "move":
                    names.pop(step[1], None)
                    names[step[2]] = step[3]
                else:
                    names.pop(step[1], None)
            loose = sorted(set(names.values()) - self.flushed)
            for torn, fate in itertools.product(loose or [-1], range(FATES if loose else 1)):
                # One file at a time, with the others there or gone: all at once would be too many.
                for others in (0, 1) if len(loose) > 1 else (0,):
                    fates = {number: fate if number == torn else others for number in loose}
                    yield {name: _left(self.contents[number], fates.get(number, 0)) for name, number in names.items()}


def _left(content: bytes, fate: int) -> bytes:
    """What is there of a file that was not flushed: all, a beginning, an end behind zeros, or zeros."""
    if fate == 0:
        return content
    cut = len(content) * (fate // 2) // (FATES // 2)
    return content[:cut] if fate % 2 else bytes(cut) + content[cut:]


def state(step: int) -> dict[str, Any]:
    return {"weight": torch.full((500,), float(step)), "optimizer": {0: {"step": step}}}


def prepare(folder: Path, before: int, keep: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep)
    folder.mkdir()
    for step in range(1, before + 1):
        best = checkpoints.save_weights("best", {"a": torch.full((5,), float(step))})
        checkpoints.save(state(step), {"step": step, "best": best})
    return checkpoints


def record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, keep: int, forget: str
) -> tuple[Disk, list[Any]]:
    checkpoints = prepare(tmp_path / "run", before, keep)
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    names = {name: number for number, name in enumerate(files)}
    disk = Disk(names, dict(enumerate(files.values())), set(names.values()), dict(names))
    recorder = Recorder(forget)
    monkeypatch.setattr(atomic, "os", recorder)
    best = checkpoints.save_weights("best", {"a": torch.full((5,), before + 1.0)})
    checkpoints.save(state(before + 1), {"step": before + 1, "best": best})
    monkeypatch.undo()
    return disk, recorder.trace


def is_good(folder: Path, allowed: set[int]) -> bool:
    checkpoints = Checkpoints(folder)
    saved = checkpoints.latest()
    if saved is None:
        return 0 in allowed
    step = saved.position["step"]
    try:
        best = checkpoints.load_weights(saved.position["best"])
    except StoreError:
        return False
    exact = torch.equal(saved.state["weight"], state(step)["weight"]) and bool((best["a"] == step).all())
    return step in allowed and exact


def survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, keep: int, forget: str = ""
) -> tuple[int, int]:
    """States looked at, and those in which a checkpoint is lost."""
    disk, trace = record(tmp_path, monkeypatch, before, keep, forget)
    seen, lost = set(), 0
    folder = tmp_path / "after"
    for at in range(len(trace) + 1):
        if at:
            disk.do(trace[at - 1])
        done = at == len(trace)
        for files in disk.states():
            key = (done, tuple(sorted(files.items())))
            if key in seen:
                continue
            seen.add(key)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            lost += not is_good(folder, {before + 1} if done else {before, before + 1})
    return len(seen), lost


@pytest.mark.parametrize(("before", "keep"), [(0, 2), (1, 2), (2, 2), (1, 1), (3, 3)])
def test_no_power_cut_loses_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, keep: int
) -> None:
    seen, lost = survey(tmp_path, monkeypatch, before, keep)
    assert lost == 0
    assert seen >= 100
    sys.stdout.write(f"before={before} keep={keep}: {seen} states, {lost} lost\n")


@pytest.mark.parametrize("forget", ["file", "folder"])
def test_the_method_finds_a_flush_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: str
) -> None:
    assert survey(tmp_path, monkeypatch, 1, 1, forget)[1] > 0
