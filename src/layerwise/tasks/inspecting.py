"""`inspect` for every task: which one the data are for, and what of it is written to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerwise.console import Show
from layerwise.errors import UsageError
from layerwise.report.inspection import write_inspection
from layerwise.store import atomic
from layerwise.tasks import TASKS, task_entry
from layerwise.tasks.guess import guess_task
from layerwise.tasks.inspection import Inspection
from layerwise.tasks.job import Columns


def inspect(data: Any, task: str | None, columns: Columns, show: Show) -> Inspection:
    """What data hold and what is wrong with them.

    Args:
        data: in any form that `train` takes.
        task: guessed from the data where none is named.
        columns: of a table, by what they hold.
        show: where progress is shown.

    Raises:
        UsageError: the task cannot be told, is unknown, or has no inspection; a column is named that it does not have.
        DataError: there is nothing there to look at.

    Example:
        >>> import numpy as np
        >>> from layerwise.console import Silent
        >>> inspect((np.zeros((2, 8, 8), np.uint8), ["a", "b"]), None, {}, Silent()).task
        'image-classification'
    """
    name = guess_task(data, {"data": dict(columns), **({} if task is None else {"task": task})})
    look = task_entry(name).inspect
    if look is None:
        known = ", ".join(each for each, entry in TASKS.items() if entry.inspect)
        raise UsageError(f"Data of {name} cannot be inspected.", expected=f"one of {known}")
    return look(data, columns, show)


def check_files(page: Path | None, exclude: Path | None) -> None:
    """Refuses names that nothing can be written to, before any work is done for them.

    Raises:
        UsageError: the suffix is another, it is a folder, or there is no such folder.
    """
    for path, suffix in ((page, ".html"), (exclude, ".csv")):
        if path is None:
            continue
        if path.suffix.lower() != suffix or path.is_dir():
            raise UsageError(f"{path} is no name for this file.", expected=f"a name that ends in {suffix}")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"There is no folder {path.absolute().parent}.", fix="Make it first.")


def write_files(found: Inspection, name: str, page: Path | None, exclude: Path | None) -> None:
    """The page for people, and the list of what can be left out; each whole or not at all.

    Args:
        found: what was found.
        name: what the data are called on the page.
        page: the HTML file.
        exclude: the CSV file.

    Raises:
        StoreError: the disk refused.
    """
    if exclude is not None:
        atomic.write_csv(exclude, found.excluded())
    if page is not None:
        groups = [each.groups for each in found.findings]
        write_inspection(page, found.record(), groups, found.table, found.thumbnail, name=name, what=found.what)
