"""A training step of the course's GAN and of its VAE: ours beside Keras on three backends and plain PyTorch loops.

`python -m benchmarks generator-speed [KERAS_PYTHON] [--torch-python PYTHON] [--rounds 7] [--steps 20] [--only gan]`

KERAS_PYTHON has keras, tensorflow and jax; the other one has keras and torch. A backend that is missing is left out, by
name. Everything is timed in one run, in turn (A B C A B C ...), so that a machine whose speed drifts favours nobody;
figures are medians over the rounds with their range. Peers run in processes of their own, as their threads would stay.

Batches of 32 images of 28x28 (Fashion-MNIST's, or random ones where they are missing). Ours are the steps of a run, by
the job that `layerwise train` prepares: batches, seeds, `train_step` with its `Update`s, losses read, and what it
watches for alarms; once without and once with the average of the generator's weights. Its GAN makes one batch of fakes
for both networks. Keras's step is that of keras.io's examples, by `fit`: fakes for the discriminator, and others for
the generator. Plain PyTorch is timed both ways, "one" as its DCGAN tutorial does it, "two" as Keras; channels-last,
which is the faster on a CPU. JAX runs a tenth of the steps: its transposed convolutions are very slow on a CPU.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import PEERS, Way, peer, versions
from benchmarks.generators import FASHION, fashion, table
from layerwise import device
from layerwise.config import merge
from layerwise.console import Silent
from layerwise.tasks import task_entry

BATCH, HELD = 32, 512
PLACE = Path(__file__).parent / "peers"
# Ours over each peer, at least.
WANTED = {"gan": {"tensorflow": 1.3, "torch": 2.0}, "vae": {"tensorflow": 1.1}}
PLAIN = {
    "gan": {"PyTorch loop, one batch of fakes": "one", "PyTorch loop, two": "two"},
    "vae": {"PyTorch loop": "loop"},
}


def images(count: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """So many training images, and some to validate and report on, with labels."""
    if FASHION.is_dir():
        pixels, labels = fashion()["train"]
    else:
        draw = np.random.default_rng(0)
        pixels, labels = draw.integers(0, 256, (count + 2 * HELD, 28, 28, 1), dtype=np.uint8), np.arange(count) % 10
        labels = np.resize(labels, len(pixels)).astype(str)
    ends = {"train": (0, count), "val": (count, count + HELD), "test": (count + HELD, count + 2 * HELD)}
    return {part: (pixels[first:end], labels[first:end]) for part, (first, end) in ends.items()}


def ours(task: str, steps: int, ema: float) -> Way:
    """Seconds of so many steps of a run of the course's network."""
    fixed = {"task": task, "model": f"{task}-tutorial", "batch_size": BATCH, "epochs": 1000, "precision": "float32"}
    recipe = merge(fixed, {"optimizer": {"ema": ema}, "judge": {"network": "small"}})
    job = task_entry(task).prepare(images(BATCH * max(steps, 64)), recipe, None, Silent())
    batches = job.enter(job.stages[0], Silent(), False)
    epochs = itertools.count()

    def way() -> float:
        epoch = next(epochs)
        began = time.perf_counter()
        for step, batch in enumerate(itertools.islice(batches.train(epoch), steps)):
            device.seed(0, epoch, step)
            job.task.train_step(batch)
        return time.perf_counter() - began

    return way


def peers(task: str, asked: argparse.Namespace, stack: ExitStack) -> dict[str, tuple[int, Way]]:
    """Steps that each peer takes, and its way."""
    found: dict[str, tuple[int, Way]] = {}
    # torch takes OMP_NUM_THREADS; TensorFlow is given as many threads.
    threads = str(torch.get_num_threads())
    plain = peer(stack, [sys.executable, str(PLACE / f"torch_{task}.py"), str(asked.steps)])
    assert plain is not None
    found |= {name: (asked.steps, plain(line)) for name, line in PLAIN[task].items()}
    for backend, name in PEERS.items():
        if backend in asked.without:
            continue
        steps = max(1, asked.steps // 10) if backend == "jax" else asked.steps
        python = asked.torch_python if backend == "torch" else asked.keras
        keras = peer(
            stack,
            [python, str(PLACE / f"keras_{task}.py"), str(steps)],
            KERAS_BACKEND=backend,
            TF_NUM_INTRAOP_THREADS=threads,
        )
        if keras is None:
            print(f"{name} does not start here and is left out.")
        else:
            found[name] = (steps, keras(""))
    return found


def measured(ways: dict[str, tuple[int, Way]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds a step of each way in each round, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (steps, way) in ways.items():
            taken = 1000 * way() / steps
            if number:  # the first round warms up
                found[name].append(taken)
    return found


def report(task: str, found: dict[str, list[float]]) -> None:
    """The table, and what was wanted."""
    plain, averaged = list(found)[:2]
    rows = [["the course's " + task.upper(), "ms a step", "range", "times ours", "times ours with EMA"]]
    for name, taken in found.items():
        # Of the same round, so that a drift of the machine cancels.
        ratios = [[their / our for their, our in zip(taken, found[own], strict=True)] for own in (plain, averaged)]
        shown = [f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in ratios]
        rows.append([name, f"{statistics.median(taken):.1f}", f"{min(taken):.1f} to {max(taken):.1f}", *shown])
    print(table(rows))
    for backend, wanted in WANTED[task].items():
        if PEERS[backend] in found:
            times = statistics.median(a / b for a, b in zip(found[PEERS[backend]], found[plain], strict=True))
            print(f"{PEERS[backend]}: {times:.2f} times, wanted {wanted}: {'' if times >= wanted else 'not '}reached")
    loop = min(statistics.median(found[name]) for name in PLAIN[task])
    own = statistics.median(found[averaged])
    print(
        f"with EMA {own:.1f} ms against {loop:.1f} of the faster plain loop: {'' if own <= loop else 'not '}reached\n"
    )


def of(task: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One of the two networks."""
    with ExitStack() as stack:
        ways = {
            name: (asked.steps, ours(task, asked.steps, ema)) for name, ema in (("ours", 0.0), ("ours, EMA", 0.999))
        }
        found = measured(ways | peers(task, asked, stack), asked.rounds)
    report(task, found)
    return found


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks generator-speed")
    parser.add_argument("keras", nargs="?", default=sys.executable, help="a Python with keras, tensorflow and jax")
    parser.add_argument("--torch-python", default=None, help="a Python with keras and torch; the same if none is given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--steps", type=int, default=20, help="training steps of one timing of the GAN; 5 times for the VAE"
    )
    parser.add_argument("--only", choices=("gan", "vae"), default=None)
    parser.add_argument("--without", action="append", default=[], choices=tuple(PEERS), help="leave a backend out")
    asked = parser.parse_args(words)
    asked.torch_python = asked.torch_python or asked.keras
    print(versions(), f"{torch.get_num_threads()} threads, batch {BATCH}", sep=", ")
    for task, times in (("gan", 1), ("vae", 5)):
        if asked.only in (None, task):
            of(task, argparse.Namespace(**{**vars(asked), "steps": asked.steps * times}))
