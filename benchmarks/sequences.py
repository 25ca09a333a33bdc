"""Sequence classification on the published test files: `auto` on four sets, the recurrent stacks on two.

Nothing was chosen by the test files: recipes come from cross-validation within the training files (docs/sequences.md).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator

from benchmarks.common import DATA, cpu_seconds, scratch, value, versions
from layerwise.api import Run, run_training
from layerwise.console import Silent

ANCHORS = {"GunPoint": 0.985, "ItalyPowerDemand": 0.96, "BasicMotions": 0.975, "JapaneseVowels": 0.97}
STACKS = ("lstm-stack", "gru-stack", "bilstm-stack")
STACKED = ("BasicMotions", "JapaneseVowels")


def main(words: list[str]) -> None:
    """[SEEDS] [MODEL]: 5 seeds of `auto` and of all stacks, or of one model on all sets."""
    seeds = int(words[0]) if words else 5
    pairs = [(name, words[1]) for name in ANCHORS] if len(words) > 1 else list(_pairs())
    print(versions("scikit-learn"), "\n")
    print(f"{'set':<18}{'model':<16}{'accuracy':>9}{'sd':>8}{'lowest':>8}  wanted   beside   kept; CPU s a run")
    for name, model in pairs:
        _line(name, model, seeds)


def _pairs() -> Iterator[tuple[str, str]]:
    yield from ((name, "auto") for name in ANCHORS)
    yield from ((name, model) for name in STACKED for model in STACKS)


def _line(name: str, model: str, seeds: int) -> None:
    found, kept, seconds, rivals = [], [], [], defaultdict(list)
    for seed in range(seeds):
        used = cpu_seconds()
        with scratch() as place:
            values = {"task": "sequence-classification", "model": model, "seed": seed}
            run: Run = run_training(DATA / "sequences" / name, values, None, place / "run", Silent())
            kept.append(run.model().card.model)
        found.append(value(run.metrics))
        seconds.append(cpu_seconds() - used)
        for rival in run.metrics["baselines"]:
            rivals[rival["name"]].append(value(rival))
    neighbour = statistics.mean(rivals["1-nearest-neighbour"])
    wanted = f">= {ANCHORS[name]:.3f}" if model == "auto" else f">  {neighbour:.3f}"
    networks = " ".join(f"{each} x{kept.count(each)}" for each in sorted(set(kept)))
    beside = ", ".join(f"{rival} {statistics.mean(each):.3f}" for rival, each in sorted(rivals.items()))
    deviation = statistics.stdev(found) if seeds > 1 else 0.0
    print(
        f"{name:<18}{model:<16}{statistics.mean(found):>9.4f}{deviation:>8.4f}{min(found):>8.4f}  {wanted}  {beside};"
        f"  {networks}; {statistics.mean(seconds):.1f}",
        flush=True,
    )
