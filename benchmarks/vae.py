"""Fashion-MNIST by `vae` and `vae-tutorial`: nats, samplers, latents in use, and outliers by their score.

`python -m benchmarks vae [SEEDS] [--jobs 2 --threads 1] [--out vae.json]`: each network by its own recipe. Figures are
of the 10,000 test images, which nothing was chosen by. Planted outliers are scored by `predict` beside 2,000 of the
test images: other test images inverted (white for black) or upside down, and scikit-learn's handwritten digits.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import versions
from benchmarks.generators import Asked, Done, column, each_seed, fashion, parser_of, settled, table, trained

NETWORKS = ("vae", "vae-tutorial")
WANTED = 243.0  # nats, of vae, after at most 10 epochs and 15 minutes
PLANTED = 1000  # outliers of each kind, among twice as many test images
NATS = ("negative_elbo", "reconstruction", "kl", "nll", "active_units")
SAMPLERS = {"N(0, I)": "N(0, I)", "mixture": "Gaussian mixture"}  # shown: the name in metrics.json


def outliers(test: np.ndarray) -> dict[str, np.ndarray]:
    """Images (n, 28, 28, 1) that are no Fashion-MNIST, by what they are."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = np.round(load_digits().images[:PLANTED] * (255 / 16)).astype(np.uint8)  # (n, 8, 8), from 0..16
    larger = [np.asarray(Image.fromarray(each).resize((28, 28), Image.Resampling.BILINEAR)) for each in digits]
    return {"inverted": 255 - test, "upside down": test[:, ::-1], "digits": np.stack(larger)[..., None]}


def told_apart(model: Any) -> dict[str, float]:
    """The area under the curve of the score, for each kind of outlier."""
    from layerwise.metrics.generation import auroc

    test = fashion()["test"][0]
    known = model.predict(test[: 2 * PLANTED])["score"].to_numpy()
    found = {}
    for kind, images in outliers(test[2 * PLANTED : 3 * PLANTED]).items():
        scores = np.concatenate([known, model.predict(np.ascontiguousarray(images))["score"].to_numpy()])
        found[kind] = float(auroc(scores, np.arange(len(scores)) >= len(known))["value"])
    return found


def work(asked: Asked) -> dict[str, Any]:
    """Both networks with one seed."""
    settled(asked)
    found = {}
    for name in NETWORKS:
        done, model = trained("vae", name, asked)
        found[name] = {"done": done, "auroc": told_apart(model)}
    return found


def line(name: str, seed: int, done: Done, auroc: dict[str, float]) -> str:
    """One run."""
    elbo = done.metrics["metrics"]["negative_elbo"]
    nats = ", ".join(f"{each} {done.value(each):.2f}" for each in NATS[1:])
    samplers = ", ".join(f"{shown} {_distance(done, name):.3f}" for shown, name in SAMPLERS.items())
    outside = ", ".join(f"{kind} {value:.3f}" for kind, value in auroc.items())
    return (
        f"{name}, seed {seed}: negative ELBO {elbo['value']:.2f} ({elbo['low']:.2f} to {elbo['high']:.2f}), {nats}; "
        f"distance {samplers}, real {done.real:.3f}; AUROC {outside}; {len(done.history)} epochs, "
        f"{done.training:.0f} s training, {done.seconds:.0f} s in all, {done.cpu / 60:.1f} CPU-minutes"
    )


def _distance(done: Done, sampler: str) -> float:
    return float(done.sampler(sampler)["distance"]["value"])


def summary(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    done = [each["done"] for each in runs]
    return [
        f"`{name}`",
        *(column([each.value(metric) for each in done]) for metric in NATS),
        *(column([_distance(each, sampler) for each in done]) for sampler in SAMPLERS.values()),
        column([each.real for each in done]),
        *(column([each["auroc"][kind] for each in runs]) for kind in runs[0]["auroc"]),
        column([each.seconds / 60 for each in done]),
        column([each.cpu / 60 for each in done]),
    ]


def main(words: list[str]) -> None:
    asked = parser_of("vae").parse_args(words)
    print(versions("scikit-learn"), flush=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
    record: dict[str, Any] = {}
    for seed, found in each_seed(asked, work):
        for name, each in found.items():
            runs[name].append(each)
            print(line(name, seed, each["done"], each["auroc"]), flush=True)
        record[str(seed)] = {name: {**each["done"].record(), "auroc": each["auroc"]} for name, each in found.items()}
        if asked.out:
            Path(asked.out).write_text(json.dumps(record))
    kinds = [f"AUROC, {kind}" for kind in runs[NETWORKS[0]][0]["auroc"]]
    head = ["network", "negative ELBO", "reconstruction", "KL", "NLL", "active units"]
    head += [f"distance, {shown}" for shown in SAMPLERS] + ["distance, real", *kinds, "minutes", "CPU-minutes"]
    print(table([head, *(summary(name, each) for name, each in runs.items())]))
    _told([each["done"] for each in runs["vae"]])


def _told(done: list[Done]) -> None:
    mean, epochs = (
        statistics.mean(each.value("negative_elbo") for each in done),
        max(len(each.history) for each in done),
    )
    minutes = max(each.seconds for each in done) / 60
    word = "reached" if mean <= WANTED and epochs <= 10 and minutes <= 15 else "not reached"
    print(
        f"vae: {mean:.2f} nats after {epochs} epochs and {minutes:.1f} minutes at most; wanted {WANTED}, 10, 15: {word}"
    )
    below = sum(_distance(each, SAMPLERS["mixture"]) < _distance(each, SAMPLERS["N(0, I)"]) for each in done)
    print(f"vae: the mixture's distance is below that of N(0, I) in {below} of {len(done)} runs")
