"""The run folder: every file of a run by its name in the contract."""

from __future__ import annotations

import contextlib
import datetime
import difflib
import io
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from layerwise.errors import StoreError, UsageError
from layerwise.store import atomic, lock, strict_json


class RunFolder:
    """A folder with `recipe.toml`, `examples.parquet`, `log.jsonl`, `checkpoints/` and what a run leaves at its end.

    Use `create` for a new one and `open` for one that is there.

    Attributes:
        path: the folder.
        recipe, examples, log, metrics, predictions, report, model: paths of its files.
        checkpoints: path of the folder for `Checkpoints`.

    Example:
        >>> import tempfile
        >>> run = RunFolder.create(Path(tempfile.mkdtemp()) / "flowers", "flowers")
        >>> run.append_log({"epoch": 1, "loss": 0.5})
        >>> run.read_log()
        [{'epoch': 1, 'loss': 0.5}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.examples = path / "examples.parquet"
        self.log = path / "log.jsonl"
        self.metrics = path / "metrics.json"
        self.predictions = path / "predictions.csv"
        self.report = path / "report.html"
        self.model = path / "model.safetensors"
        self.checkpoints = path / "checkpoints"

    @staticmethod
    def create(path: Path | None, name: str) -> RunFolder:
        """Make a run folder.

        Args:
            path: a folder that is new or empty; None for `runs/DATE-TIME-NAME` where one stands.
            name: of the data, for the second case; any text.

        Raises:
            UsageError: `path` is a file, or holds anything at all. Nothing is changed.
            StoreError: the disk refused.
        """
        return RunFolder(new_folder(path, name))

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Open a run folder; the files that each run has from its start must be there.

        Raises:
            StoreError: it is not a run folder; what is missing is named.
        """
        run = RunFolder(path)
        missing = [file.name for file in (run.recipe, run.examples) if not file.is_file()]
        if not path.is_dir():
            missing_folder = f"{path} is a file." if path.exists() else f"There is no folder {path}."
            raise StoreError(missing_folder, expected="a run folder", fix="Check the path.")
        if missing:
            raise StoreError(
                f"{path} is not a run folder: {' and '.join(missing)} missing.",
                expected="the folder that layerwise train has written",
                fix="Check the path; a run that was stopped before its data was read has to be started again.",
            )
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out within the block, and remove what writes that were cut off have left.

        Raises:
            StoreError: another process is at work in the folder (its number is named), or the disk refused.
        """
        with lock.hold(self.path / ".lock"):
            atomic.remove_leftovers(self.path)
            yield

    def write_recipe(self, text: str) -> None:
        """Write the recipe, TOML as text. Raises StoreError."""
        atomic.write_text(self.recipe, text)

    def read_recipe(self) -> dict[str, Any]:
        """Read the recipe.

        Raises:
            StoreError: it cannot be read, or is not TOML.
        """
        try:
            return tomllib.loads(atomic.read_bytes(self.recipe).decode("utf-8"))
        except ValueError as error:
            raise StoreError(f"{self.recipe} is not TOML: {error}.", fix="Restore it, or train again.") from None

    def write_examples(self, table: pl.DataFrame) -> None:
        """Write every example, its split, its hash and its problem. Raises StoreError."""
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        atomic.write_bytes(self.examples, buffer.getvalue())

    def read_examples(self) -> pl.DataFrame:
        """Read the table of examples.

        Raises:
            StoreError: it cannot be read, or is not Parquet.
        """
        data = atomic.read_bytes(self.examples)
        try:
            return pl.read_parquet(io.BytesIO(data))
        except pl.exceptions.PolarsError as error:
            raise StoreError(f"{self.examples} is damaged: {error}.", fix="Restore it, or train again.") from None

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Add one line to the log and flush it; a torn line that an earlier process left is removed first.

        Raises:
            StoreError: the disk refused, or the log is damaged.
        """
        lines, torn = self._log_lines()
        if torn:
            self.rewrite_log(lines)
        atomic.append(self.log, _log_line(line))

    def rewrite_log(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Make these the lines of the log, as a resumed run does with those up to its checkpoint. Raises StoreError."""
        atomic.write_bytes(self.log, b"".join(_log_line(line) for line in lines))

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of the log; none where there is no log yet, and without a last line that was cut off.

        Raises:
            StoreError: it cannot be read, or another line than the last is damaged (its number is named).
        """
        return self._log_lines()[0]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the figures of the run; NaN and infinities become null. Raises StoreError."""
        atomic.write_json(self.metrics, metrics)

    def read_metrics(self) -> dict[str, Any]:
        """Read the figures of the run.

        Raises:
            StoreError: there are none yet, or the file is not acceptable JSON.
        """
        metrics = atomic.read_json(self.metrics)
        if not isinstance(metrics, dict):
            raise StoreError(f"{self.metrics} is not a table.", fix="Restore it, or train again.")
        return metrics

    def write_predictions(self, table: pl.DataFrame) -> None:
        """Write predictions as CSV, safe to open in a spreadsheet. Raises StoreError."""
        atomic.write_csv(self.predictions, table)

    def _log_lines(self) -> tuple[list[dict[str, Any]], bool]:
        """Lines, and whether the file ends in anything but a whole line."""
        if atomic.size(self.log) is None:
            return [], False
        *whole, rest = atomic.read_bytes(self.log).split(b"\n")
        lines = []
        for number, line in enumerate(whole, start=1):
            try:
                lines.append(_parse_line(line))
            except ValueError as error:
                raise StoreError(
                    f"{self.log} is damaged in line {number}: {error}.", fix="Remove that line, or train again."
                ) from None
        with contextlib.suppress(ValueError):
            lines.append(_parse_line(rest))  # whole but for its end of line
        return lines, bool(rest)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write further files of a run, named such as `samples/epoch-0001.png`, each whole or not at all.

    Raises:
        StoreError: the disk refused.
    """
    for name, content in files.items():
        file = folder / name
        atomic.make_folder(file.parent)
        atomic.write_bytes(file, content)


def named_run(path: Path) -> RunFolder:
    """A run folder that a person named.

    Raises:
        UsageError: there is nothing, or something else.
        StoreError: it is one, and a file of it is missing.
    """
    if not path.exists():
        above = sorted(each.name for each in path.absolute().parent.glob("*"))
        near = difflib.get_close_matches(path.name, above, n=3, cutoff=0.5)
        raise UsageError(
            f"There is no run at {path}.",
            expected=_RUN,
            fix=f"Near it: {', '.join(near)}." if near else "Check the path.",
        )
    if not (path / "recipe.toml").is_file():
        raise UsageError(f"{path} is not a run folder: it has no recipe.toml.", expected=_RUN, fix="Check the path.")
    return RunFolder.open(path)


_RUN = "the folder that layerwise train has written, such as runs/20261122-101500-flowers"


def new_folder(path: Path | None, name: str) -> Path:
    """Make a folder for results.

    Args:
        path: a folder that is new or empty; None for `runs/DATE-TIME-NAME` where one stands.
        name: for the second case; any text.

    Raises:
        UsageError: `path` is a file, or holds anything at all. Nothing is changed.
        StoreError: the disk refused.

    Example:
        >>> import tempfile
        >>> new_folder(Path(tempfile.mkdtemp()) / "mine", "screen").name
        'mine'
    """
    if path is None:
        return _make_unique(Path("runs"), name)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file.", expected="a new or empty folder", fix="Choose another one with --out.")
    if atomic.names(path):
        a_run = (path / "recipe.toml").exists()
        raise UsageError(
            f"{path} holds a run already." if a_run else f"{path} is not empty.",
            expected="a new or empty folder",
            fix=f"Choose another one with --out{f', or go on with: layerwise resume {path}' if a_run else ''}.",
        )
    atomic.make_folder(path)
    return path


def _make_unique(parent: Path, name: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
    stem = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{safe}"
    atomic.make_folder(parent)
    number = 1
    while True:
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        with atomic.disk(path, "made"):
            try:
                os.mkdir(path)  # fails where it exists, so two processes never share one
            except FileExistsError:
                number += 1
                continue
            atomic.flush_folder(parent)
            return path


def _log_line(line: Mapping[str, Any]) -> bytes:
    return strict_json.dumps(line) + b"\n"


def _parse_line(line: bytes) -> dict[str, Any]:
    value = strict_json.parse(line)
    if not isinstance(value, dict):
        raise ValueError(f"{json.dumps(value)[:40]} is not a table")
    return value


def discard(run: RunFolder, *, keep_folder: bool) -> None:
    """Take back `create` for a run that never began; a folder that holds anything but our lock stays."""
    if atomic.names(run.path) == [".lock"]:
        atomic.remove(run.path / ".lock")
        if not keep_folder:
            run.path.rmdir()


def discard_folder(path: Path, *, keep: bool) -> None:
    """Take back `new_folder` where nothing came of it; a folder that holds anything, or is to be kept, stays."""
    if not keep and not atomic.names(path):
        path.rmdir()
