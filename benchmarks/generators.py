"""What the benchmarks of generators share: Fashion-MNIST, a process for each run, and what a run says.

Each seed runs in a process of its own, so that its processor time is its own; with `--jobs 2 --threads 1` two of them
run side by side. CPU-minutes are of a whole run: reading, the feature network, training, figures, pictures and report.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, cpu_seconds, scratch
from layerwise.config import merge, parse_sets

FASHION = DATA / "fashion-mnist"


@dataclass(frozen=True)
class Asked:
    """What a run of a benchmark is asked for.

    Args:
        seed: of the run.
        images: of the training part, and a tenth of them of the test part; 0 for all.
        epochs: of each network; 0 for its own.
        threads: of torch; 0 for its own choice.
        set: further values of the recipe.
        keep: where the run folders stay; none for nowhere.
    """

    seed: int
    images: int
    epochs: int
    threads: int
    set: Mapping[str, Any]
    keep: str | None


@dataclass(frozen=True)
class Done:
    """A finished run.

    Args:
        model: that was asked for.
        metrics: of its `metrics.json`.
        history: of its `log.jsonl`.
        seconds: of the whole run.
        cpu: of them, processor seconds of all threads.
    """

    model: str
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    cpu: float

    @property
    def training(self) -> float:
        """Seconds of all epochs and their validations."""
        return sum(sum(line["seconds"].values()) for line in self.history)

    def value(self, name: str) -> float:
        """A figure of the reported part."""
        return float(self.metrics["metrics"][name]["value"])

    def sampler(self, name: str) -> Mapping[str, Any]:
        """The figures of a sampler."""
        found = {each["name"]: each["metrics"] for each in self.metrics["generation"]["samplers"]}
        return dict(found[name])

    @property
    def real(self) -> float:
        """Distance of real images from real ones, of equal n."""
        return float(self.metrics["generation"]["real"]["distance"]["value"])

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {**asdict(self), "metrics": {key: self.metrics[key] for key in ("metrics", "generation", "seconds")}}


def fashion() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Fashion-MNIST: {"train": (60000, 28, 28, 1) uint8 with labels, "test": 10000}."""
    from layerwise.data.images import find_images

    source = find_images(FASHION)
    assert source.arrays is not None
    labels, parts = source.table["label"].to_numpy(), source.table["split"].to_numpy()
    return {part: (source.arrays[parts == part], labels[parts == part]) for part in ("train", "test")}


def data_of(images: int) -> Any:
    """Where Fashion-MNIST lies, or the first of its images where so many are asked for."""
    if not images:
        return FASHION
    found = fashion()
    return {
        part: tuple(each[: images // share] for each in found[part]) for part, share in (("train", 1), ("test", 10))
    }


def trained(task: str, model: str, asked: Asked, epochs: int = 0, **values: Any) -> tuple[Done, Any]:
    """A run and its model, in this process."""
    from layerwise.api import run_training
    from layerwise.console import Silent

    own = {"task": task, "model": model, "seed": asked.seed}
    recipe = merge(merge(own | ({"epochs": n} if (n := epochs or asked.epochs) else {}), asked.set), values)
    began, used = time.perf_counter(), cpu_seconds()
    with scratch() as place:
        out = Path(asked.keep) / f"{model}-{asked.seed}" if asked.keep else place / "run"
        run = run_training(data_of(asked.images), recipe, None, out, Silent())
        seconds, processor = time.perf_counter() - began, cpu_seconds() - used
        history = _history(run.path)
        return Done(model, dict(run.metrics), history, seconds, processor), run.model("cpu")


def _history(path: Path) -> list[dict[str, Any]]:
    from layerwise.store.run import RunFolder

    return RunFolder.open(path).read_log()


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The options that the benchmarks of quality share."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {verb}")
    parser.add_argument("seeds", nargs="?", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--epochs", type=int, default=0, help="of each network; its own by default")
    parser.add_argument("--images", type=int, default=0, help="train with so many, to see that everything runs")
    parser.add_argument("--threads", type=int, default=0, help="of each process")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run side by side")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", default=None, metavar="FOLDER", help="leave the run folders there")
    parser.add_argument("--out", default=None, metavar="FILE.json", help="write all figures there")
    return parser


def each_seed(
    asked: argparse.Namespace, work: Callable[[Asked], dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What `work` gives for each seed, in order, each in a process of its own."""
    if asked.threads:
        os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # the processes begin with it
    seeds = range(asked.first, asked.first + asked.seeds)
    jobs = [Asked(seed, asked.images, asked.epochs, asked.threads, parse_sets(asked.set), asked.keep) for seed in seeds]
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        yield from zip(seeds, pool.map(work, jobs), strict=True)


def settled(asked: Asked) -> None:
    """Begin a process."""
    import torch

    if asked.threads:
        torch.set_num_threads(asked.threads)


def column(values: Sequence[float]) -> str:
    """Mean and deviation over seeds, for a table."""
    mean = statistics.mean(values)
    digits = 1 if abs(mean) >= 100 else 2 if abs(mean) >= 10 else 3
    return f"{mean:.{digits}f}" + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])
