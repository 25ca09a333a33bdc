"""All that a door needs: train, resume, load, evaluate, predict, report. The command line and the estimators call this.

The main path reads downwards from `train` into `session.run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from layerwise import session
from layerwise.config import build, merge, read_toml
from layerwise.console import Show, Silent, Terminal
from layerwise.errors import UsageError, nearest
from layerwise.report.compare import compare_runs
from layerwise.report.forest import write_forest
from layerwise.report.headline import name_of
from layerwise.report.page import write_report
from layerwise.report.pareto import Point, write_pareto
from layerwise.store import atomic
from layerwise.store.run import discard_folder, named_run, new_folder, write_files
from layerwise.tasks import DEMOS, inspecting, task_entry
from layerwise.tasks.explanation import ExplainRecipe
from layerwise.tasks.image_screen import screen as screen_images
from layerwise.trained import Model as Model
from layerwise.trained import load as load


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: its folder.
        metrics: the content of its `metrics.json`.

    Example:
        >>> run = train("photos/")                                          # doctest: +SKIP
        >>> run.metrics["metrics"]["accuracy"]                              # doctest: +SKIP
        {'value': 0.93, 'low': 0.88, 'high': 0.97}
        >>> run.model().predict(["new.jpg"])                                # doctest: +SKIP
    """

    path: Path
    metrics: Mapping[str, Any]

    @property
    def report(self) -> Path:
        """Where its page lies."""
        return self.path / "report.html"

    def model(self, device: str = "auto") -> Model:
        """The trained model."""
        return load(self.path, device=device)


@dataclass(frozen=True)
class Screen:
    """Which pretrained network suits the data: what `screen` gives.

    Args:
        path: the folder with `screen.json` and `screen.svg`.
        found: the content of `screen.json`.

    Example:
        >>> found = screen("photos/", models=["efficientnet_lite0", "resnet50"])   # doctest: +SKIP
        >>> train("photos/", model=found.best)                                     # doctest: +SKIP
    """

    path: Path
    found: Mapping[str, Any]

    @property
    def results(self) -> pl.DataFrame:
        """A row a network, the most accurate first; columns as in `screen.json`."""
        return pl.DataFrame(self.found["results"])

    @property
    def best(self) -> str:
        """The name of the most accurate network."""
        return str(self.found["best"])

    @property
    def quick(self) -> str:
        """The name of the fastest whose accuracy lies within the interval of the best one."""
        return str(self.found["quick"])


@dataclass(frozen=True)
class Comparison:
    """Which run is better, and how surely: what `compare` gives.

    Args:
        path: the folder with `compare.json` and `compare.svg`.
        found: the content of `compare.json`; see `report.compare.compare_runs`.

    Example:
        >>> compare(["runs/a", "runs/b"]).found["verdict"]                  # doctest: +SKIP
    """

    path: Path
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Explanations:
    """Why inputs were answered as they were: what `explain` gives.

    Args:
        path: the folder with `explanations.json` and a picture an input.
        found: the content of `explanations.json`.

    Example:
        >>> explain("runs/a", "new.jpg").found["inputs"][0]["words"]        # doctest: +SKIP
    """

    path: Path
    found: Mapping[str, Any]


def train(
    data: Any,
    *,
    model: str | torch.nn.Module = "auto",
    task: str | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
) -> Run:
    """Train a network on `data` and leave everything in a run folder.

    Args:
        data: images: a folder with a folder per class (with or without `train/ val/ test/` above), a table of paths and
            labels, an `.npz`, a folder of idx files; texts: a table; sequences: `.ts` files, a long table, an `.npz`;
            series: a long or wide table; for `vae` and `gan` images in any of these forms, or a flat folder of them; or
            arrays of any of them: `(x, y)` or `{"train": (x, y), "test": (x, y)}`.
        model: a name that `layerwise models` lists, `timm:NAME`, or an `nn.Module` of your own.
        task: guessed from the data where it is certain.
        out: the run folder; by default a new one under `runs/`.
        epochs: over all stages, or where networks compete of each; by default the network's own.
        seed: of everything random.
        device: auto, cpu, cuda or mps.
        recipe: a TOML file, or a mapping such as `{"augment": {"flip": True}}`; the arguments above win over it.

    Raises:
        LayerwiseError: see `layerwise.errors`; every message says how to mend it.

    Example:
        >>> run = train("photos/", model="efficientnet_lite0", epochs=8)     # doctest: +SKIP
    """
    network = None if isinstance(model, str) else model
    values = session.recipe_of(recipe, model, {"task": task, "epochs": epochs, "seed": seed, "device": device})
    with session.begun(data, values, network, out, Terminal()) as began:
        return Run(began.folder.path, session.run(began))


def run_training(
    data: Any, values: Mapping[str, Any], network: torch.nn.Module | None, out: str | Path | None, show: Show
) -> Run:
    """`train` with its words put in one mapping; what the command line and the estimators call."""
    with session.begun(data, values, network, out, show) as began:
        return Run(began.folder.path, session.run(began))


def resume(
    path: str | Path, *, data: Any = None, network: torch.nn.Module | None = None, show: Show | None = None
) -> Run:
    """Go on where a run stopped; the end is the one it would have had without the stop, bit for bit.

    Args:
        path: the run folder.
        data: only for a run whose data were arrays: the same arrays.
        network: only for a run of your own network: one like it.
        show: where progress is shown.

    Raises:
        StoreError: there is nothing to resume, or the data is no longer what it was.
    """
    with session.resumed(path, data, network, show or Terminal()) as stopped:
        return Run(stopped.folder.path, session.run(stopped))


def report(path: str | Path) -> Path:
    """Write the report of a run again; returns where it lies.

    Worst errors are shown where the run's images are still where they were.
    """
    folder = named_run(Path(path))
    values = folder.read_recipe()
    return write_report(folder.path, thumbnail=task_entry(values["task"]).thumbnails(values, folder.read_examples()))


def inspect(
    data: Any,
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    page: str | Path | None = None,
    exclude: str | Path | None = None,
    show: Show | None = None,
) -> dict[str, Any]:
    """What is in the data and what is wrong with it; every example is looked at, nothing is changed.

    Args:
        data: in any form that `train` takes.
        task: guessed from the data where it is certain.
        columns: of a table, by what they hold: `{"label": "species"}`.
        page: an HTML file to write, with pictures of what was found.
        exclude: a CSV file to write: what can be left out, for `train(..., recipe={"data": {"exclude": FILE}})`.
        show: where progress is shown.

    Returns:
        {"task", "n", "usable", "classes": {name: count}, "parts": {name: count}, "facts", "notes": [...],
        "problems": [{"path", "reason"}, ...], "findings": [{"kind", "weight", "message", "groups", "exclude"}, ...]};
        docs/trust.md says more.
    """
    files = [None if each is None else Path(each) for each in (page, exclude)]
    inspecting.check_files(*files)
    found = inspecting.inspect(data, task, columns or {}, show or Silent())
    inspecting.write_files(found, str(data) if isinstance(data, str | Path) else "arrays", *files)
    return found.record()


def screen(
    data: Any,
    *,
    models: Sequence[str] | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    show: Show | None = None,
) -> Screen:
    """Compare pretrained networks on `data` without training any: frozen features, logistic regression.

    At most 1,000 images of the train and valid parts, the same for all, in 5-fold stratified cross-validation. The test
    part is left out. What a network gives is kept where `train` looks for it, so a call after a stop goes on where that
    one was.

    Args:
        data: in any form that `train` takes.
        models: names that `layerwise models` lists with a top-1, or `timm:NAME`; all of the table by default.
        out: a new or empty folder for `screen.json` and `screen.svg`; by default a new one under `runs/`.
        seed: of parts, sample and folds; give `train` the same.
        device: auto, cpu, cuda or mps.
        recipe: a TOML file or a mapping, as in `train`.
        show: where progress and each result are shown.

    Raises:
        LayerwiseError: see `layerwise.errors`. A network that cannot be loaded is no error; it is listed as skipped.
    """
    base = read_toml(Path(recipe)) if isinstance(recipe, str | Path) else dict(recipe or {})
    values = merge(base, {key: value for key, value in {"seed": seed, "device": device}.items() if value is not None})
    existed = out is not None and Path(out).exists()
    path = new_folder(None if out is None else Path(out), "screen")
    try:
        found = screen_images(data, values, models, show or Terminal())
    except BaseException:
        discard_folder(path, keep=existed)
        raise
    points = [
        Point(each.name, each.accuracy, each.low, each.high, 1000 * each.seconds_per_image) for each in found.results
    ]
    write_pareto(path / "screen.svg", points, found.front)
    atomic.write_json(path / "screen.json", found.record())
    return Screen(path, found.record())


def compare(paths: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Which of several finished runs is better on the same examples, and how surely.

    Args:
        paths: run folders of one task, two or more.
        out: a new or empty folder for `compare.json` and `compare.svg`; by default a new one under `runs/`.

    Raises:
        UsageError: the runs are of several tasks, or of one whose figures are not of single examples.
        StoreError: one is not finished.
        DataError: they were not judged on the same examples.
    """
    found = compare_runs([named_run(Path(path)).path for path in paths])
    path = new_folder(None if out is None else Path(out), "compare")
    measure = found["measure"]
    rows = [{"name": run["name"], **run["metrics"][measure]} for run in found["runs"]]
    write_forest(path / "compare.svg", rows, f"{name_of(measure)} on the same {found['n']:,} examples, the best on top")
    atomic.write_json(path / "compare.json", found)
    return Comparison(path, found)


def explain(
    path: str | Path,
    inputs: Any,
    *,
    out: str | Path | None = None,
    device: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    network: torch.nn.Module | None = None,
    show: Show | None = None,
) -> Explanations:
    """Why a model answers inputs as it does, as pictures and numbers; docs/explain.md says how.

    Args:
        path: a run folder or a model file.
        inputs: as `Model.predict` takes them.
        out: a new or empty folder for `explanations.json` and the pictures; by default a new one under `runs/`.
        device: auto, cpu, cuda or mps.
        recipe: `{"class": NAME, "most": NUMBER}`: another class than the predicted one, and how many inputs (64).
        network: only for a model that was your own `nn.Module`: one like it.
        show: where progress is shown.

    Raises:
        LayerwiseError: see `layerwise.errors`. An input that cannot be used is no error; it is listed with its problem.
    """
    model, chosen = load(path, network=network, device=device or "auto"), build(ExplainRecipe, recipe or {})
    existed = out is not None and Path(out).exists()
    folder = new_folder(None if out is None else Path(out), "explain")
    try:
        done = model.explain(inputs, label=chosen.label, most=chosen.most, show=show or Terminal())
    except BaseException:
        discard_folder(folder, keep=existed)
        raise
    found = {"model": str(path), "task": model.card.task, "network": model.card.model, **done.record()}
    write_files(folder, done.files())
    atomic.write_json(folder / "explanations.json", found)
    return Explanations(folder, found)


def demo(name: str = "digits", *, out: str | Path | None = None, seed: int = 0) -> Run:
    """A full run on data that comes with the installation, with no network.

    Args:
        name: "digits", scikit-learn's 1,797 handwritten digits: by EfficientNet-Lite0, frozen and then thawed, where
            the extra `offline` is installed, else by a small network from scratch. "text": docstrings of Python's
            standard library, by package. "sequence": the digits read row by row. "forecast": a year of airline
            passengers from the eleven before. "vae", "gan": networks that learn to draw the digits.
        out: the run folder.
        seed: of everything random.
    """
    if name not in DEMOS:
        raise UsageError(f'There is no demo "{name}".', fix=nearest(name, DEMOS))
    data, recipe = DEMOS[name]()
    return run_training(data, merge(recipe, {"seed": seed}), None, out, Terminal())
