"""Flipped labels in flowers: how many of the worst suspects are among them?

`python -m benchmarks suspects [--seeds 5] [--share 0.05]`: a share of all labels is changed to another class, evenly
drawn. Precision at as many suspects as were flipped: of so many labels that the check trusts least, the share that was
flipped. The features are those of efficientnet_lite0, whose weights are installed.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.common import DATA, scratch, spread, versions
from layerwise.console import Silent
from layerwise.data.images import find_images
from layerwise.device import pick
from layerwise.metrics.suspects import find_suspects
from layerwise.tasks import image_data
from layerwise.tasks.image_features import PretrainedBody
from layerwise.tasks.suspects import held_out_images


def flipped(table: pl.DataFrame, share: float, seed: int) -> tuple[list[str], np.ndarray]:
    """The labels with some changed, and which: (N,) bool."""
    draw = np.random.default_rng(seed)
    labels, classes = table["label"].to_list(), sorted(set(table["label"]))
    rows = draw.choice(len(labels), round(share * len(labels)), replace=False)
    for row in rows.tolist():
        others = [name for name in classes if name != labels[row]]
        labels[row] = others[int(draw.integers(len(others)))]
    return labels, np.isin(np.arange(len(labels)), rows)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks suspects")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are flipped")
    asked = parser.parse_args(words)
    print(versions("timm", "scikit-learn"))
    source = find_images(DATA / "flowers")
    known = source.table.filter(pl.col("label").is_not_null())
    files = [str(source.file(row)) for row in known["id"].to_list()]
    values: dict[str, Any] = {"model": "efficientnet_lite0"}
    precisions, among = [], []
    with scratch() as place:
        for seed in range(asked.seeds):
            labels, wrong = flipped(known, asked.share, seed)
            pl.DataFrame({"image": files, "label": labels}).write_csv(place / f"{seed}.csv")
            found = image_data.read(place / f"{seed}.csv", {**values, "seed": seed}, Silent())
            began = time.perf_counter()
            held = held_out_images(found, PretrainedBody(found, pick("cpu", "float32"), "torch"))
            suspects = find_suspects(held.probabilities, found.targets[held.rows])
            order = np.lexsort((suspects.scores, ~suspects.suspect))
            count = int(wrong[held.rows].sum())
            precisions.append(float(wrong[held.rows][order[:count]].mean()))
            among.append(float(wrong[held.rows][suspects.ranked()].mean()) if suspects.suspect.any() else 0.0)
            print(
                f"seed {seed}: {len(held.rows):,} images, {count} flipped, {int(suspects.suspect.sum())} suspects; "
                f"precision at {count}: {precisions[-1]:.3f}, of all suspects {among[-1]:.3f}; "
                f"{time.perf_counter() - began:.1f} s",
                flush=True,
            )
    print(f"precision at as many as were flipped: {spread(precisions)}, wanted 0.6 or more")
