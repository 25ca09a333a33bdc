"""Kept activations under kill -9: at every call to the file system, then at random moments; and memory while reading.

Run as a program this file is its own driver, as a child must be forked from a process without threads.
"""

from __future__ import annotations

import argparse
import builtins
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerwise.data import cache
from layerwise.frozen import shelf as shelving
from layerwise.frozen.shelf import Form, Shelf, fill, row_key

DEEP, POOLED = Form((6, 5, 5), "float16", "a" * 64), Form((4,), "float32", "b" * 64)
ROWS, BEFORE, BATCH = 28, 12, 4
KEYS = [row_key(f"image {number}", "plain") for number in range(ROWS)]
RANDOM_KILLS = 100
CALLS = ("open", "mkdir", "rename", "fsync", "utime", "unlink", "rmdir", "close")


def compute(rows: np.ndarray) -> tuple[torch.Tensor, ...]:
    numbers = torch.from_numpy(rows).float()
    return numbers.view(-1, 1, 1, 1).expand(-1, 6, 5, 5), numbers.view(-1, 1).expand(-1, 4)


def fill_both(folder: Path, rows: int = ROWS, *, portion: int = 1) -> int:
    shelves = [Shelf(folder, form) for form in (DEEP, POOLED)]
    return fill(shelves, KEYS[:rows], compute, lambda done: None, batch=BATCH, portion_bytes=portion)


class Killer:
    """Ends this process at its n-th call to the file system; a write is cut in half."""

    def __init__(self, at: float) -> None:
        self.at, self.calls = at, 0
        for name in CALLS:
            setattr(os, name, self.counted(getattr(os, name)))
        shelving.open = self.opened  # type: ignore[attr-defined]

    def now(self) -> bool:
        self.calls += 1
        return self.calls >= self.at

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def with_count(*words: Any, **more: Any) -> Any:
            if self.now():
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **more)

        return with_count

    def opened(self, path: Path, mode: str) -> Any:
        file = builtins.open(path, mode)  # noqa: SIM115
        return CutFile(file, self) if mode == "wb" else file


class CutFile:
    def __init__(self, file: Any, killer: Killer) -> None:
        self.file, self.killer = file, killer
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self) -> CutFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, part: Any) -> None:
        whole = bytes(part)
        if self.killer.now():
            self.file.write(whole[: len(whole) // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(whole)


def child(folder: Path, at: float, announce: int) -> None:
    """Fill, and say in bytes how many rows of which shelf are kept: a portion is announced once `fill` has it."""
    keep = Shelf._keep

    def announced(self: Shelf, *words: Any) -> None:
        number = bytes([self.form == POOLED, len(words[0])])
        keep(self, *words)
        write(announce, number)

    write = os.write
    Shelf._keep = announced  # type: ignore[method-assign]
    killer = Killer(at)
    fill_both(folder)
    write(announce, b"c" + killer.calls.to_bytes(4, "little"))
    os._exit(0)


def start(folder: Path, at: float) -> tuple[int, int]:
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        child(folder, at, writes)
    os.close(writes)
    return pid, reads


def end(pid: int, reads: int) -> tuple[list[int], int]:
    """Rows announced for each shelf, and calls in all where the child came to its end."""
    os.waitpid(pid, 0)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read()
    calls = 0
    if said[-5:-4] == b"c":
        said, calls = said[:-5], int.from_bytes(said[-4:], "little")
    rows = [0, 0]
    for place in range(0, len(said), 2):
        rows[said[place]] += said[place + 1]
    return rows, calls


def look(folder: Path, announced: list[int]) -> dict[str, int]:
    """What a kill left: `lost` rows that were announced, `bad` rows or folders; then whether the next fill mends it."""
    figures = {"lost": 0, "bad": 0}
    for form, more in ((DEEP, announced[0]), (POOLED, announced[1])):
        shelf = Shelf(folder, form)
        found = np.flatnonzero(shelf.find(KEYS) >= 0)
        figures["lost"] += len(found) < BEFORE + more or set(range(BEFORE)) - set(found.tolist()) != set()
        rows = shelf.read(shelf.find(KEYS)[found]).flatten(1)
        figures["bad"] += not bool((rows == torch.from_numpy(found)[:, None]).all())
        shelf.close()
    fill_both(folder, portion=10**6)
    for form in (DEEP, POOLED):
        shelf = Shelf(folder, form)
        rows = shelf.read(shelf.find(KEYS)).flatten(1)
        figures["bad"] += not bool((rows == torch.arange(ROWS)[:, None]).all())
        shelf.close()
    cache.tidy(folder)
    figures["bad"] += any(not (each / "facts.json").is_file() for each in folder.iterdir())
    return figures


def kill_at_every_call(base: Path, began: Path) -> dict[str, int]:
    figures = {"kills": 0, "lost": 0, "bad": 0, "unfinished": 0}
    dry = base / "dry"
    shutil.copytree(began, dry)
    _, calls = end(*start(dry, math.inf))
    for at in range(1, calls + 1):
        folder = base / "one"
        shutil.copytree(began, folder)
        announced, _ = end(*start(folder, at))
        figures["unfinished"] += any(each.name.startswith(("tmp-", "old-")) for each in folder.iterdir())
        for name, count in look(folder, announced).items():
            figures[name] += count
        figures["kills"] += 1
        shutil.rmtree(folder)
    return figures


def kill_at_random(base: Path, began: Path, kills: int) -> dict[str, int]:
    figures = {"kills": 0, "lost": 0, "bad": 0, "within": 0}
    draw = random.Random(11)
    for _ in range(kills):
        folder = base / "one"
        shutil.copytree(began, folder)
        pid, reads = start(folder, math.inf)
        time.sleep(draw.random() * 0.15)
        os.kill(pid, signal.SIGKILL)
        announced, calls = end(pid, reads)
        figures["within"] += sum(announced) > 0 and calls == 0
        for name, count in look(folder, announced).items():
            figures[name] += count
        figures["kills"] += 1
        shutil.rmtree(folder)
    return figures


def read_much(base: Path) -> dict[str, int]:
    """Peak of mapped and of own memory, in MB, while 600 MB are read twice in random order."""
    form = Form((1024, 14, 14), "float16", "c" * 64)
    keys = [row_key(f"image {number}", "plain") for number in range(1500)]
    shelf = Shelf(base, form)
    batch = torch.zeros(32, *form.shape)
    fill([shelf], keys, lambda rows: (batch[: len(rows)],), lambda done: None)
    shelf.close()
    shelf = Shelf(base, form)
    first = memory()
    seen = {"RssFile": 0, "RssAnon": 0}
    for epoch in range(2):
        positions = shelf.find(keys)[np.random.default_rng(epoch).permutation(len(keys))]
        for begin in range(0, len(keys), 32):
            shelf.read(positions[begin : begin + 32])
            now = memory()
            seen = {name: max(seen[name], now[name] - first[name]) for name in seen}
    return {"kept": shelf.bytes_kept // 10**6, **seen}


def memory() -> dict[str, int]:
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss")]
    return {name.rstrip(":"): int(kilobytes) // 1000 for name, kilobytes, _ in lines}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["calls", "random", "memory"])
    what = parser.parse_args().what
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="layerwise-shelf-") as name:
        base = Path(name)
        if what == "memory":
            sys.stdout.write(json.dumps(read_much(base)) + "\n")
            return
        cache._GRACE = -1.0  # what is left over may go at once
        shelving.MOST_SHARDS = 4
        fill_both(base / "began", BEFORE)
        figures = (
            kill_at_every_call(base, base / "began")
            if what == "calls"
            else kill_at_random(base, base / "began", RANDOM_KILLS)
        )
        sys.stdout.write(json.dumps(figures) + "\n")


def driven(what: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, __file__, what], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(f"{what}: {done.stdout}")
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


def test_a_fill_killed_at_every_call_to_the_file_system_leaves_whole_shards() -> None:
    figures = driven("calls")
    assert figures["lost"] == figures["bad"] == 0
    assert figures["kills"] >= 200 and figures["unfinished"] >= 50


def test_a_fill_killed_at_random_leaves_whole_shards() -> None:
    figures = driven("random")
    assert figures["kills"] == RANDOM_KILLS and figures["lost"] == figures["bad"] == 0
    assert figures["within"] >= RANDOM_KILLS // 5, "most kills missed the writing, so this shows little"


def test_memory_stays_flat_while_much_is_read() -> None:
    figures = driven("memory")
    assert figures["kept"] >= 600
    assert figures["RssFile"] <= 200 and figures["RssAnon"] <= 250


if __name__ == "__main__":
    main()
