"""The figures of a run in TensorBoard and MLflow, beside its folder.

Both are plain writers that a session tells what it also writes to `log.jsonl` and `metrics.json`. One that fails is
told nothing more: no run ends because a disk is full or a server is gone.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, final
from urllib.parse import urlsplit

import pydantic

from layerwise.config import Section, build
from layerwise.console import Show
from layerwise.errors import StoreError
from layerwise.store.trackers import SQLITE, MLflow, TensorBoard, reason


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))


def _address(uri: str) -> str:
    """A SQLite file by its whole path, so that a run resumed elsewhere finds it; other addresses as they are."""
    if urlsplit(uri).password is not None:  # recipes lie in run folders and reports
        raise ValueError("an address without a password; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD hold it")
    return SQLITE + _absolute(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else uri


_GIVEN = pydantic.StringConstraints(min_length=1)


class TrackRecipe(Section):
    """Where the figures of a run go beside its folder; nothing of it changes what is trained."""

    # A folder for event files; each run has a folder of its own in it.
    tensorboard: Annotated[str, _GIVEN, pydantic.AfterValidator(_absolute)] | None = None
    # sqlite:///FILE.db, or the address of a server.
    mlflow: Annotated[str, _GIVEN, pydantic.AfterValidator(_address)] | None = None


class _Asked(Section):
    track: TrackRecipe = TrackRecipe()


class Tracker(Protocol):
    """What keeps the figures of a run. Its methods may raise anything."""

    def begin(self) -> int:
        """Begin the run, or go on with it; gives the number of epochs that are there already."""

    def epoch(self, number: int, line: Mapping[str, Any]) -> None:
        """Keep the figures of an epoch, a line of `log.jsonl`; epochs count from 1, over all stages."""

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Keep the figures of the end, `metrics.json`; the run folder is complete."""

    def close(self) -> None:
        """Leave the run as it is, finished or not."""


@final
class Tracking:
    """The trackers of a run; one that fails is given up, which is said once.

    Args:
        trackers: by their names for people.
        show: tells a person which is given up, and why.

    Example:
        >>> from layerwise.console import Silent
        >>> Tracking({}, Silent()).epochs([])
    """

    def __init__(self, trackers: Mapping[str, Tracker], show: Show) -> None:
        self._trackers, self._show = dict(trackers), show
        self._known: dict[str, int] = {}  # epochs that a tracker that has begun was told

    def epochs(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Tell each tracker the epochs that it does not know yet.

        Args:
            history: a line of `log.jsonl` for every epoch of the run so far.
        """
        self._each(lambda name, tracker: self._tell(name, tracker, history))

    def finish(self, history: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> None:
        """Tell each tracker how the run ended.

        Args:
            history: as `epochs` takes it.
            metrics: the content of `metrics.json`.
        """
        self.epochs(history)
        self._each(lambda name, tracker: tracker.finish(metrics))

    def close(self) -> None:
        """Let go of those that have begun."""
        self._each(lambda name, tracker: tracker.close() if name in self._known else None)

    def _tell(self, name: str, tracker: Tracker, history: Sequence[Mapping[str, Any]]) -> None:
        if name not in self._known:
            self._known[name] = tracker.begin()
        for number, line in enumerate(history[self._known[name] :], start=self._known[name] + 1):
            tracker.epoch(number, line)
            self._known[name] = number

    def _each(self, act: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of libraries, about one another
                    act(name, tracker)
            except Exception as error:
                del self._trackers[name]
                self._show.say(f"{name} is told nothing more of this run, which goes on. {reason(error)}")
                with contextlib.suppress(Exception):
                    tracker.close()


def open_tracking(asked: Any, folder: Path, show: Show, *, resumed: bool = False) -> Tracking:
    """The trackers that a recipe asks for; nothing is written before the first epoch.

    Args:
        asked: the recipe's `track`, if there is one.
        folder: of the run.
        show: tells a person what goes wrong later.
        resumed: whether the run goes on: what cannot be reached then is said, and the run goes on without it.

    Raises:
        RecipeError: a key or value is wrong.
        UsageError: a library is missing.
        StoreError: the folder or address cannot be used.
    """
    recipe = build(_Asked, {} if asked is None else {"track": asked}).track
    trackers: dict[str, Tracker] = {}
    for name, place, kind in (("TensorBoard", recipe.tensorboard, TensorBoard), ("MLflow", recipe.mlflow, MLflow)):
        if place is None:
            continue
        try:
            trackers[name] = kind(place, folder)
        except StoreError as error:
            if not resumed:
                raise
            show.say(f"{name} is told nothing of this run, which goes on. {error}")
    return Tracking(trackers, show)
