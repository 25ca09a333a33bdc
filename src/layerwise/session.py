"""A session of training: a folder, the stages one by one, and the end.

The main path reads downwards: prepare the task, open the run folder, run the stages, each a call of the engine, and
finish with the kept weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from layerwise.config import merge, read_toml, to_toml
from layerwise.console import Show, epoch_line
from layerwise.engine import loop
from layerwise.engine.signals import wish_to_stop
from layerwise.errors import Diverged, StoreError, TrainingError
from layerwise.report.page import write_report
from layerwise.store.checkpoint import Checkpoints
from layerwise.store.model_file import load_model, save_model
from layerwise.store.run import RunFolder, discard, named_run, write_files
from layerwise.store.track import Tracking, open_tracking
from layerwise.tasks import job as jobs
from layerwise.tasks import task_entry
from layerwise.tasks.class_errors import error_files
from layerwise.tasks.explained_examples import SECONDS, choose, explained_files
from layerwise.tasks.guess import guess_task

_OF_IMAGES = ("image-classification", "vae", "gan")
_REPORT = 3.0  # seconds of a budget that the page may take


@dataclass(frozen=True)
class Session:
    """A run under way.

    Args:
        job: what is trained.
        folder: locked.
        checkpoints: of the run.
        position: where it stands.
        state: of the task at that position; none at the start of a run.
        show: tells a person how far it is.
        began: when, by `time.monotonic`.
        tracking: is told the figures too.
        network: the user's own; none for one of the table.
    """

    job: jobs.Job
    folder: RunFolder
    checkpoints: Checkpoints
    position: loop.Position
    state: Mapping[str, Any] | None
    show: Show
    began: float
    tracking: Tracking
    network: torch.nn.Module | None = None


def recipe_of(
    recipe: str | Path | Mapping[str, Any] | None, model: str | torch.nn.Module, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The user's part of a recipe: a TOML file or a mapping, and the arguments of a call laid over it, None left out.

    Example:
        >>> recipe_of({"epochs": 3}, "fcn", {"epochs": 5, "seed": None})
        {'epochs': 5, 'model': 'fcn'}
    """
    base = read_toml(Path(recipe)) if isinstance(recipe, str | Path) else dict(recipe or {})
    name = "custom" if not isinstance(model, str) else None if model == "auto" else model
    return merge(base, {key: value for key, value in {**given, "model": name}.items() if value is not None})


@contextmanager
def begun(
    data: Any, values: Mapping[str, Any], network: torch.nn.Module | None, out: str | Path | None, show: Show
) -> Iterator[Session]:
    """A new run in its locked folder. Nothing is left behind of a run whose data or recipe cannot be used."""
    began = time.monotonic()
    if isinstance(data, str | Path):  # where `resume` finds it, from whatever folder it is called in
        values = merge(values, {"data_path": _whole(data)})
    listed = values.get("data", {})
    if isinstance(listed, Mapping) and isinstance(listed.get("exclude"), str):
        values = merge(values, {"data": {"exclude": _whole(listed["exclude"])}})
    task = guess_task(data, values)
    entry = task_entry(task)
    existed = out is not None and Path(out).exists()
    name = Path(data).stem if isinstance(data, str | Path) else str(values.get("model", task)).replace(":", "-")
    folder = RunFolder.create(None if out is None else Path(out), name)
    with folder.lock():
        try:
            tracking = open_tracking(values.get("track"), folder.path, show)
            job = entry.prepare(data, values, network, show)
        except BaseException:
            discard(folder, keep_folder=existed)
            raise
        folder.write_recipe(to_toml(job.recipe))
        folder.write_examples(job.examples)
        position = loop.Position(seed=int(values.get("seed", 0)))
        with closing(tracking):
            yield Session(job, folder, Checkpoints(folder.checkpoints), position, None, show, began, tracking, network)


@contextmanager
def resumed(path: str | Path, data: Any, network: torch.nn.Module | None, show: Show) -> Iterator[Session]:
    """A run that stopped, in its locked folder, as it was at its last checkpoint; see `api.resume`."""
    began, folder = time.monotonic(), named_run(Path(path))
    with folder.lock():
        values = _as_it_began(folder.read_recipe())
        given = data if data is not None else values.get("data_path")
        if given is None:
            raise StoreError(
                "The data of this run were arrays, which are not kept.",
                fix=f'Give them, in Python: layerwise.resume("{path}", data=...).',
            )
        if folder.metrics.is_file():
            show.say("This run is finished: its model, figures and report are made again.")
        tracking = open_tracking(values.get("track"), folder.path, show, resumed=True)
        job = task_entry(values["task"]).prepare(given, values, network, show)
        same_examples(folder, job.examples)
        checkpoints = Checkpoints(folder.checkpoints)
        saved = checkpoints.latest()
        for line in checkpoints.skipped:
            show.say(f"Skipped: {line}")
        if saved is None and checkpoints.skipped:
            raise StoreError("None of the run's checkpoints can be trusted.", fix="Start a new run.")
        position = loop.Position(seed=values["seed"]) if saved is None else loop.Position(**saved.position)
        folder.rewrite_log(position.history)
        state = None if saved is None else saved.state
        with closing(tracking):
            yield Session(job, folder, checkpoints, position, state, show, began, tracking, network)


def _as_it_began(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe with what was the case before a key of it was known, so that an old run gets its own parts again."""
    if values["task"] not in _OF_IMAGES:
        return values
    before = {"refit": False} if values["task"] == "image-classification" else {}
    return merge({"split": {"near_copies": False}, **before}, values)


def run(session: Session) -> dict[str, Any]:
    """Train the stages that are left, and finish with the weights that validated best; gives `metrics.json`."""
    job, position, show = session.job, session.position, session.show
    seconds = {"prepare": time.monotonic() - session.began, "keep": 0.0}
    spent = sum(sum(line["seconds"].values()) for line in position.history)  # of the budget, before a stop
    deadline = None if job.deadline is None else job.deadline - spent
    budget = job.recipe.model_dump()["budget"]
    ends = None if budget is None else session.began + budget - spent
    state = session.state
    with wish_to_stop() as asked:
        for number in range(position.stage, len(job.stages)):
            stage, opened = job.stages[number], time.monotonic()
            if position.best is not None and deadline is not None and opened > deadline:
                show.say(f"The budget is spent: the stage {stage.name} is left out.")
                continue
            batches = job.enter(stage, show, state is not None)
            seconds["keep"] += time.monotonic() - opened
            if state is not None:
                job.task.load_state_dict(state)
                state = None
            elif number == 0:  # so that a kill before the first save goes on from the same weights
                session.checkpoints.save(job.task.state_dict(), asdict(position))
            position.begin_stage(number)
            pace = loop.Pace(stage.name, stage.epochs, job.patience, job.save_seconds, deadline)
            with show.bar(f"stage {stage.name}", stage.epochs * batches.steps) as advance:
                advance(position.epoch * batches.steps + position.step)
                reports = loop.train(job.task, batches, pace, position, session.checkpoints)
                # Closing saves where the run was, and says so where the disk refuses.
                with closing(reports), _kept_so_far(number, stage.name, show):
                    for report in reports:
                        if isinstance(report, loop.Step):
                            advance(1)
                        else:
                            session.folder.append_log(dict(report.line))
                            session.tracking.epochs(position.history)
                            write_files(session.folder.path, job.snapshot(position.epochs_done))
                            show.say(epoch_line(report.line, stage.epochs))
                        if asked():
                            break
            if asked():
                raise _stopped(session)
            assert position.best is not None
            job.task.load_weights(session.checkpoints.load_weights(position.best))
    return _finish(session, seconds, ends)


def _whole(path: str | Path) -> str:
    """A path that means the same in whatever folder it is read."""
    return os.path.abspath(os.path.expanduser(path))


@contextmanager
def _kept_so_far(number: int, name: str, show: Show) -> Iterator[None]:
    """A later stage that diverges is given up: what the stages before it have reached is not lost."""
    try:
        yield
    except Diverged as error:
        if number == 0:
            raise
        show.say(f"The stage {name} is given up, and the best so far is kept. {error}")


def _stopped(session: Session) -> TrainingError:
    path, recipe = session.folder.path, session.job.recipe.model_dump()
    missing = {"data": recipe["data_path"] is None, "network": recipe["model"] == "custom"}
    words = "".join(f", {name}=..." for name, needed in missing.items() if needed)
    way = f'in Python: layerwise.resume("{path}"{words})' if words else f"layerwise resume {path}"
    return TrainingError(f"Stopped, and saved at {_place(session.position)}.", fix=f"Go on with {way}")


def _place(position: loop.Position) -> str:
    return (
        f"epoch {position.epoch + 1}, step {position.step}" if position.step else f"the end of epoch {position.epoch}"
    )


def _finish(session: Session, seconds: dict[str, float], ends: float | None) -> dict[str, Any]:
    job, folder, position = session.job, session.folder, session.position
    seconds["train"] = sum(line["seconds"]["train"] for line in position.history)
    seconds["valid"] = sum(line["seconds"]["valid"] for line in position.history)
    kept = next(line["valid"] for line in reversed(position.history) if line["best"])
    if job.refit is not None:
        try:
            job.refit(position.history)
        except KeyboardInterrupt:  # all of it is done again, from what is saved already
            raise _stopped(session) from None
    outcome = job.finish(seconds, kept)
    save_model(folder.model, job.task.tensors(), outcome.card)
    folder.write_predictions(outcome.predictions)
    write_files(folder.path, outcome.files)
    folder.write_metrics(outcome.metrics)
    write_files(folder.path, error_files(outcome.predictions, job.thumbnail))
    write_files(folder.path, _explained(session, outcome, ends))
    write_report(folder.path, thumbnail=job.thumbnail)
    session.tracking.finish(position.history, outcome.metrics)
    return outcome.metrics


def _explained(session: Session, outcome: jobs.Outcome, ends: float | None) -> dict[str, bytes]:
    """Why some answers were given, as far as there is time until the budget ends."""
    job, card = session.job, outcome.card
    entry, device = task_entry(card.task), job.recipe.model_dump()["device"]
    left = SECONDS if ends is None else ends - time.monotonic() - _REPORT

    def restore() -> jobs.Model:
        return entry.restore(*load_model(session.folder.model), session.network, device)

    chosen = choose(outcome.predictions, job.explain)
    return explained_files(entry, restore, chosen, job.example or job.thumbnail, left)


def same_examples(folder: RunFolder, now: pl.DataFrame) -> None:
    """Refuse to go on with data that has changed: the end would be neither the old run's nor a new one's."""
    before = folder.read_examples()
    if before.height != now.height:
        came = f"The data has {now.height} examples now, and had {before.height} when the run began."
    else:
        same = {name: before[name].eq_missing(now[name]) for name in ("path", "label", "split", "hash")}
        if all(column.all() for column in same.values()):
            return
        # One image or label that changes may move others to another part: they are not what changed.
        given = same["path"] & same["label"] & same["hash"]
        changed = int((~(same["split"] if given.all() else given)).sum())
        came = f"{changed} of {now.height} examples have changed since the run began."
    raise StoreError(came, expected="the same data", fix="Put the data back as it was, or start a new run.")
