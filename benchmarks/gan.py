"""Fashion-MNIST by `gan`, and by `gan-tutorial` for the same wall time.

`python -m benchmarks gan [SEEDS] [--jobs 2 --threads 1] [--vae vae.json] [--out gan.json]`. `gan` runs by its own
recipe. Then the tutorial's network runs for one epoch; the seconds of all epochs of `gan` (training and validation, as
log.jsonl has them) over those of that one are the tutorial's epochs, so both have the same clock on the same machine
under the same load. Its schedule is the course's, a constant rate, so that the number of epochs changes nothing else.
Either is kept at its best epoch in validation. Figures are of the test images; `real` is real against real images of
equal n.

`--vae` names what `python -m benchmarks vae --out` has written; its distances are used where the feature network of the
run of the same seed is the same, which their digests tell.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import versions
from benchmarks.generators import Asked, Done, column, each_seed, parser_of, settled, table, trained

NETWORKS = ("gan", "gan-tutorial")
METRICS = ("distance", "kid", "density", "coverage")
CPU_MINUTES = 30.0


def work(asked: Asked) -> dict[str, Done]:
    """Both networks with one seed, for the same time."""
    settled(asked)
    ours, tutorial = NETWORKS
    first, _ = trained("gan", ours, asked)
    one, _ = trained("gan", tutorial, replace(asked, keep=None), epochs=1)
    epochs = max(1, round(first.training / one.training))
    second = one if epochs == 1 else trained("gan", tutorial, asked, epochs=epochs)[0]
    return {ours: first, tutorial: second}


def line(name: str, seed: int, done: Done) -> str:
    """One run."""
    found = []
    for metric in METRICS:
        each = done.metrics["metrics"][metric]
        found.append(f"{metric} {each['value']:.4g} ({each['low']:.4g} to {each['high']:.4g})")
    generation = done.metrics["generation"]
    memory, alarms = generation["memorised"], generation.get("alarms", [])
    best = max((number for number, each in enumerate(done.history, 1) if each["best"]), default=0)
    return (
        f"{name}, seed {seed}: {', '.join(found)}; real {done.real:.4g}; {memory['flagged']} of {memory['n']} samples "
        f"flagged as memorised; {len(alarms)} alarms; epoch {best} of {len(done.history)} kept, {done.training:.0f} s "
        f"training, {done.seconds:.0f} s in all, {done.cpu / 60:.1f} CPU-minutes"
    )


def summary(name: str, runs: list[Done]) -> list[str]:
    """A row of the table."""
    return [
        f"`{name}`",
        *(column([each.value(metric) for each in runs]) for metric in METRICS),
        column([each.real for each in runs]),
        column([float(each.metrics["generation"]["memorised"]["flagged"]) for each in runs]),
        column([float(len(each.history)) for each in runs]),
        column([each.training for each in runs]),
        column([each.cpu / 60 for each in runs]),
    ]


def of_vae(path: str | None, seed: int, ours: Done) -> float | None:
    """The distance of the VAE's samples, where the run of this seed had the same feature network."""
    if path is None:
        return None
    runs = json.loads(Path(path).read_text())
    if str(seed) not in runs:
        return None
    metrics = runs[str(seed)]["vae"]["metrics"]
    if metrics["generation"]["digest"] != ours.metrics["generation"]["digest"]:
        print(f"Seed {seed}: the run of the VAE had another feature network, its distance cannot be compared.")
        return None
    if metrics["generation"]["samples"] != ours.metrics["generation"]["samples"]:
        print(f"Seed {seed}: the run of the VAE had another number of samples, its distance cannot be compared.")
        return None
    return float(metrics["metrics"]["distance"]["value"])


def told(runs: dict[str, list[Done]], vae: list[float | None]) -> None:
    """What was wanted, and what came."""
    ours, tutorial = (runs[name] for name in NETWORKS)
    ratios = [one.value("distance") / other.value("distance") for one, other in zip(ours, tutorial, strict=True)]
    print(
        f"distance of gan over gan-tutorial's: {column(ratios)} ({min(ratios):.3f} to {max(ratios):.3f}); wanted 0.333"
    )
    times = [other.training / one.training for one, other in zip(ours, tutorial, strict=True)]
    print(f"seconds of gan-tutorial over gan's: {column(times)}")
    minutes = max(each.cpu for each in ours) / 60
    print(f"CPU-minutes of a run of gan: {minutes:.1f} at most; wanted {CPU_MINUTES:.0f}")
    mean = statistics.mean(each.value("distance") for each in ours)
    real = statistics.mean(each.real for each in ours)
    known = [each for each in vae if each is not None]
    if known:
        theirs = statistics.mean(known)
        bounds = f"2 x real + the VAE's = {2 * real + theirs:.4g}, 2 x (real + the VAE's) = {2 * (real + theirs):.4g}"
        print(f"distance of gan {mean:.4g}, real {real:.4g}, the VAE's {theirs:.4g}: {bounds}")


def main(words: list[str]) -> None:
    parser = parser_of("gan")
    parser.add_argument("--vae", default=None, metavar="FILE.json", help="what the benchmark vae wrote with --out")
    asked = parser.parse_args(words)
    print(versions("scikit-learn"), flush=True)
    runs: dict[str, list[Done]] = {name: [] for name in NETWORKS}
    vae: list[float | None] = []
    record: dict[str, Any] = {}
    for seed, found in each_seed(asked, work):
        for name, done in found.items():
            runs[name].append(done)
            print(line(name, seed, done), flush=True)
        vae.append(of_vae(asked.vae, seed, found["gan"]))
        record[str(seed)] = {name: done.record() for name, done in found.items()}
        if asked.out:
            Path(asked.out).write_text(json.dumps(record))
    head = ["network", *METRICS, "real distance", "flagged", "epochs", "training s", "CPU-minutes"]
    print(table([head, *(summary(name, each) for name, each in runs.items())]))
    told(runs, vae)
