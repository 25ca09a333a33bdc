"""What thawing is worth: head alone beside head and thaw.

`python -m benchmarks thaw [--quick] [--parts flowers,ants-bees,screened]`: flowers in 5-fold cross-validation, the same
folds for both, and ants-bees' own `val/` over 5 seeds, with EfficientNet-Lite0; and ants-bees again with the network
that `layerwise screen` finds best of those with weights in a package, which it does without `val/`. Differences are
paired: fold by fold, seed by seed, and photograph by photograph.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.model_selection import StratifiedKFold

import layerwise
from benchmarks.common import DATA, scratch, value, versions
from layerwise import api

MODEL, FOLDS, SEEDS = "efficientnet_lite0", 5, 5
PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
WAYS: dict[str, dict[str, Any]] = {"head": {"thaw": "none"}, "head + thaw": {}}


def lay_folds(place: Path, folds: int) -> list[Path]:
    """Folders with train/ and test/ of links to flowers' photographs, stratified; every photograph is tested once."""
    files = np.array(sorted((DATA / "flowers").glob("*/*.jpg")))
    labels = [file.parent.name for file in files]
    found = []
    parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(files, labels)
    for number, (train, test) in enumerate(parts):
        found.append(place / f"fold-{number}")
        for part, rows in (("train", train), ("test", test)):
            for file in files[rows]:
                link = found[-1] / part / file.parent.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
    return found


def train(data: Path, model: str, seed: int, recipe: dict[str, Any]) -> tuple[float, list[bool], float]:
    """Accuracy on the held-out part, which photographs are right (by path), and seconds."""
    began = time.perf_counter()
    with scratch() as place:
        run = layerwise.train(data, model=model, seed=seed, out=place / "run", recipe=recipe)
        table = pl.read_csv(run.path / "predictions.csv").sort("path")
    right = (table["label"].cast(pl.String) == table["predicted"].cast(pl.String)).to_list()
    return value(run.metrics), right, time.perf_counter() - began


def error(values: Sequence[float]) -> float:
    """Standard error of a mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def both(name: str, model: str, turns: Sequence[tuple[str, Path, int]]) -> None:
    """Train both ways in every turn and print what each reaches and how they differ."""
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    rights: dict[str, list[bool]] = {way: [] for way in WAYS}
    for turn, data, seed in turns:
        for way, recipe in WAYS.items():
            accuracy, right, took = train(data, model, seed, dict(recipe))
            scores[way].append(accuracy)
            rights[way] += right
            print(f"{name} {turn}, {way}: {accuracy:.4f} of n={len(right)}, {took:.0f} s", flush=True)
    for way, found in scores.items():
        print(f"{name}, {way}: {statistics.mean(found):.4f}, standard error {error(found):.4f}, n={len(found)}")
    first, second = (np.array(scores[way]) for way in WAYS)
    gains = (second - first).tolist()
    print(
        f"{name}, gain by thawing: {statistics.mean(gains):+.4f}, standard error {error(gains):.4f} over {len(gains)}"
    )
    each = (np.array(rights["head + thaw"], float) - np.array(rights["head"], float)).tolist()
    won, lost = sum(gain > 0 for gain in each), sum(gain < 0 for gain in each)
    print(
        f"{name}, photographs: {won} only with thaw, {lost} only without, standard error {error(each):.4f}", flush=True
    )


def screened(data: Path) -> str:
    """The most accurate network in cross-validation on the part that is trained on."""
    with scratch() as place:
        return api.screen(data, models=PACKAGED, out=place / "screen").best


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks thaw")
    parser.add_argument("--quick", action="store_true", help="one fold and one seed: does everything run?")
    parser.add_argument("--parts", default="flowers,ants-bees,screened")
    asked = parser.parse_args(words)
    parts, seeds = asked.parts.split(","), 1 if asked.quick else SEEDS
    if unknown := set(parts) - {"flowers", "ants-bees", "screened"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    print(versions("timm"))
    with scratch() as place:
        os.environ.setdefault("LAYERWISE_CACHE", str(place / "cache"))
        folds = lay_folds(place, FOLDS)[: 1 if asked.quick else FOLDS]
        turns = [(f"seed {seed}", DATA / "ants-bees", seed) for seed in range(seeds)]
        if "flowers" in parts:
            both("flowers", MODEL, [(f"fold {number}", fold, 0) for number, fold in enumerate(folds)])
        if "ants-bees" in parts:
            both("ants-bees", MODEL, turns)
        if "screened" in parts:
            model = screened(DATA / "ants-bees")
            both(f"ants-bees, {model}", model, turns)
