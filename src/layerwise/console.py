"""What people see while a long step runs: bars with rate and time left, and lines that stay.

Everything goes to standard error, so that standard output stays free for results. Where standard error is no terminal
the bars are left out and the lines remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int], None]


class Show(Protocol):
    """What a long step tells a person."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A bar; the function it gives moves it on."""


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="dim")


class Terminal:
    """Shows on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """A bar that goes away when it is full."""
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), _Rate()]
        quiet = not self._console.is_terminal
        with Progress(
            *columns, TimeRemainingColumn(), console=self._console, transient=True, disable=quiet
        ) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.update(task, advance=count)


class Silent:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """Nothing."""
        yield lambda count: None


_UNSAID = ("macro_f1", "temperature", "smoothing")  # a line has room for what decides, and the log holds the rest


def epoch_line(line: Mapping[str, Any], epochs: int) -> str:
    """A line of the log for people."""
    train, valid = line["train"], line["valid"]
    told = ["loss"] if "loss" in train else list(train)  # networks that compete have a loss each
    return (
        f"stage {line['stage']}, epoch {line['epoch'] + 1}/{epochs}: train "
        + ", ".join(f"{name.replace('_', ' ')} {train[name]:.4f}" for name in told)
        + "; validation "
        + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in valid.items() if name not in _UNSAID)
        + f"; {line['seconds']['train'] + line['seconds']['valid']:.1f} s"
        + ("; best so far" if line["best"] else "")
    )
