"""Run folders of generators, for the tests of the page about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from layerwise.report.grids import grid_png
from layerwise.store.atomic import write_csv, write_json
from layerwise_tests.pages import line, write_log


def shape_images(count: int, side: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Images (n, S, S, C) uint8 of discs, bars, rings and crosses, which follow one another."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side] / side
    found = np.empty((count, side, side, channels), np.uint8)
    for place in range(count):
        y, x, size = (*random.uniform(0.4, 0.6, 2), random.uniform(0.18, 0.36))
        far = np.hypot(down - y, across - x)
        near = np.minimum(abs(down - y), abs(across - x))
        seen = (far < size, abs(across - x) < size / 3, abs(far - size) < 0.07, (near < 0.07) & (far < size))[place % 4]
        bright = np.where(seen, random.uniform(0.7, 1.0, channels)[:, None, None], 0.05)
        found[place] = np.clip(255 * (bright + random.normal(0, 0.03, bright.shape)), 0, 255).transpose(1, 2, 0)
    return found


def _interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value * 0.96, "high": value * 1.05}


def _of_samples(*values: float) -> dict[str, dict[str, float]]:
    names = ("distance", "kid", "density", "coverage")
    return {name: _interval(value) for name, value in zip(names, values, strict=True)}


def generation(task: str, classes: Sequence[str]) -> dict[str, Any]:
    """The part "generation" of `metrics.json`, without an alarm."""
    second = [{"name": "N(0, I)", "metrics": _of_samples(31.2, 0.0213, 0.52, 0.55)}] if task == "vae" else []
    own = {"name": "mixture" if task == "vae" else "", "metrics": _of_samples(24.6, 0.0134, 0.71, 0.63)}
    shares = [1 / len(classes)] * len(classes) if classes else []
    made = [part * (0.6 + place % 3 * 0.4) for place, part in enumerate(shares)]
    return {
        "features": "a small classifier trained on the labels",
        "digest": "3f9a" * 16,
        "samples": 1000,
        "real": _of_samples(2.31, 0.00012, 0.98, 0.94),
        "samplers": [own, *second],
        "memorised": {"n": 1000, "flagged": 11, "threshold": 3.217, "pairs": []},
        "classes": {"names": classes, "real": shares, "samples": made},
        "alarms": [],
    }  # fmt: skip


def make_generator_run(
    folder: Path, task: str, classes: Sequence[str] = (), *, latents: int = 2, n: int = 300, epochs: int = 12
) -> Path:
    """A finished run of a generator with its rival, the tutorial's network; the last epoch but two was kept."""
    for part in (folder, folder / "samples", folder / "pictures"):
        part.mkdir()
    mine = {"negative_elbo": 241.7, "reconstruction": 228.4, "kl": 13.3, "nll": 238.1} if task == "vae" else {}
    figures = {name: _interval(value) for name, value in mine.items()}
    figures |= {"active_units": {"value": 2.0, "low": 1.0, "high": 2.0}} if task == "vae" else {}
    figures |= _of_samples(24.6, 0.0134, 0.71, 0.63)
    rivals = [
        {"name": name, "metrics": _of_samples(*values)}
        for name, values in (("PCA-Gaussian", (86.2, 0.0721, 0.11, 0.21)), ("mean image", (312.4, 0.416, 0.0, 0.004)))
    ]
    verdict = (
        "Better than PCA-Gaussian: distance 24.6 against 86.2 (difference -61.6, 95 % interval -63.0 to -60.1). Real "
        "images against real ones: 2.31. In validation 24.1, below the 55.0 of the tutorial at about the same cost."
    )
    write_json(folder / "metrics.json", {
        "task": task, "split": "test", "n": n, "metrics": figures, "baseline": rivals[0], "baselines": rivals,
        "verdict": verdict, "seconds": {"train": 75.2}, "generation": generation(task, classes),
    })  # fmt: skip
    random = np.random.default_rng(0)
    labels = [classes[row % len(classes)] if classes else None for row in range(n)]
    columns: dict[str, Any] = {"id": range(n), "path": [f"shapes/{row:04}.png" for row in range(n)]}
    columns |= {"label": pl.Series(labels, dtype=pl.String), "score": random.gamma(9, 5, n) + 200}
    if task == "vae":
        columns |= {"reconstruction": columns["score"] - 13, "kl": np.full(n, 13.0)}
        centres = random.normal(0, 2, (max(1, len(classes)), latents))
        places = centres[np.arange(n) % len(centres)] + random.normal(0, 0.5, (n, latents))
        columns |= {f"z{each}": places[:, each] for each in range(latents)}
    table = pl.DataFrame(columns)
    write_csv(folder / "predictions.csv", table)
    parts = pl.Series(["test", "train", "valid"])[np.arange(n) % 3]
    table.select("id", "path", "label").with_columns(split=parts, problem=pl.lit(None, pl.String)).write_parquet(
        folder / "examples.parquet"
    )
    _write_pictures(folder, task, latents, epochs)
    _write_generator_log(folder, task, epochs)
    (folder / "recipe.toml").write_text(f'task = "{task}"\ndata_path = "shapes"\n', encoding="utf-8")
    return folder


def _write_pictures(folder: Path, task: str, latents: int, epochs: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 28, 28, 1))
    clear = shape_images(64)
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        mixed = (share * clear + (1 - share) * noise).astype(np.uint8)
        (folder / f"samples/epoch-{epoch:04}.png").write_bytes(grid_png(mixed, 8))
    sheets = {"samples": (64, 8), "nearest": (32, 8)}
    if task == "vae":
        sheets |= {"reconstructions": (64, 16), "interpolation": (40, 10), "traversal": (latents * 9, 9)}
        sheets |= {"outliers": (16, 8)} | ({"plane": (225, 15)} if latents == 2 else {})
    for name, (count, columns) in sheets.items():
        (folder / f"pictures/{name}.png").write_bytes(grid_png(shape_images(count), columns))


def _write_generator_log(folder: Path, task: str, epochs: int) -> None:
    lines = []
    for index, name in enumerate((task, f"{task}-tutorial")):
        for epoch in range(epochs if not index else 3):
            fall = 1 / (epoch + 1) + 0.3 * index
            valid = {"distance": 20 + 60 * fall, "coverage": 0.7 - 0.4 * fall, "diversity": 0.9}
            train = {"generator_loss": 0.9 - 0.1 * fall, "discriminator_loss": 1.2 + 0.1 * fall}
            if task == "vae":
                train = {"negative_elbo": 240 + 80 * fall, "reconstruction": 226 + 85 * fall, "kl": 14 - 5 * fall}
                valid |= {key: value + 3 for key, value in train.items()}
            best = not index and epoch == epochs - 3
            lines.append(line(name, index, epoch, train=train, valid=valid, best=best))
    write_log(folder, lines)
