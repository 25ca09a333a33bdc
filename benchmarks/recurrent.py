"""Recurrent training steps on this machine: the course's text model beside Keras, unequal lengths beside packing.

`python -m benchmarks recurrent [KERAS_PYTHON] [--torch-python PYTHON] [--rounds 7] [--steps 40]`

KERAS_PYTHON has keras, tensorflow and jax; the other one has keras and torch. A backend that is missing is left out, by
name. Everything is timed in one run, in turn (A B C A B C ...), so that a machine whose speed drifts favours nobody;
figures are medians over the rounds with their range. Peers run in processes of their own, as their threads would stay.

The course's model: Embedding 10000 x 128, LSTM 64 with dropout 0.2 and recurrent dropout 0.2, one sigmoid, binary cross
entropy, Adam, batches of 32, 100 steps long. Ours is the step of a run: batches by `SequenceBatches`, seeds, forward,
an `Update`, loss and accuracy read. Keras is `fit` over arrays. Masks differ, and both of ours are timed: "shared" is
one recurrent mask a batch (ours), "per_example" one a sequence (Keras's, which draws one for each gate besides).

Unequal lengths: as many words as the sentences of movie-reviews.csv have. Ours pads batches of like length. PyTorch is
timed as its tutorials write it (`peers/torch_packed.py`: packed sequences, its own Adam, batches as they come), and its
packed layer alone in our step, with batches as they come and with ours. No dropout, as `nn.LSTM` has none for states.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import DATA, PEERS, Way, peer, scratch, versions
from layerwise import device
from layerwise.data.ragged import Ragged, SequenceBatch, SequenceBatches
from layerwise.engine.update import Group, OptimizerRecipe, Update
from layerwise.models.by_task import Sizes, build_task_model

BATCH, LENGTH, VOCABULARY = 32, 100, 10_000
PLACE = Path(__file__).parent / "peers"


class Packed(nn.Module):
    """Ours with `nn.LSTM` over packed sequences in place of `Recurrent`."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128, padding_idx=0)
        self.recurrent = nn.LSTM(128, 64, batch_first=True)
        self.linear = nn.Linear(64, 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T), (B,) -> (B, 2)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.recurrent(packed)
        return F.pad(self.linear(last[0]), (1, 0))


def training(network: nn.Module, batches: Callable[[], Iterator[SequenceBatch]]) -> Way:
    """Seconds of an epoch, a step as a run makes it."""
    update = Update(
        [Group(list(network.parameters()))], OptimizerRecipe(name="adam"), learning_rate=1e-3, steps=1_000_000
    )
    network.train()

    def way() -> float:
        began = time.perf_counter()
        for step, batch in enumerate(batches()):
            device.seed(0, 0, step)
            logits = network(batch.inputs, batch.lengths)  # (B, 2): [0, z], so that this is the binary cross entropy
            loss = F.cross_entropy(logits, batch.targets)
            update(loss)
            loss.item(), (logits.argmax(1) == batch.targets).float().mean().item()
        return time.perf_counter() - began

    return way


def ours(kind: str, batches: Callable[[], Iterator[SequenceBatch]], **options: object) -> Way:
    """The table's network, trained."""
    sizes = Sizes(inputs=VOCABULARY, outputs=2, length=LENGTH)
    return training(build_task_model("text-classification", kind, sizes, options), batches)


def texts(lengths: np.ndarray) -> tuple[Ragged, np.ndarray]:
    """Random tokens of these lengths, and random targets."""
    draw = np.random.default_rng(0)
    tokens = Ragged.of([draw.integers(1, VOCABULARY, int(length)) for length in lengths])
    return tokens, draw.integers(0, 2, len(lengths))


def batches_of(data: tuple[Ragged, np.ndarray], *, pool: int = 50) -> Callable[[], Iterator[SequenceBatch]]:
    """The same epoch at each call; a pool of 1 is batches as they come."""
    parts = {"train": np.arange(len(data[1]))}
    made = SequenceBatches(*data, parts, BATCH, 0, torch.device("cpu"), pool=pool)
    return lambda: made.train(0)


def review_lengths(count: int) -> np.ndarray:
    """Words a sentence, of sentences drawn from movie-reviews.csv."""
    with (DATA / "text" / "movie-reviews.csv").open(newline="", encoding="utf-8") as file:
        words = np.array([len(row["text"].split()) for row in csv.DictReader(file)])
    return np.random.default_rng(0).choice(np.maximum(words, 1), count)


def measure(ways: dict[str, Way], *, sequences: int, rounds: int) -> dict[str, float]:
    """Print sequences a second of each way, taken in turn; medians."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            rate = sequences / way()
            if number:  # the first round warms up
                found[name].append(rate)
    for name, rates in found.items():
        print(f"  {name:<34} {statistics.median(rates):8.0f} a second ({min(rates):.0f} to {max(rates):.0f})")
    return {name: statistics.median(rates) for name, rates in found.items()}


def course(asked: argparse.Namespace, stack: ExitStack) -> None:
    """The course's text model."""
    equal = batches_of(texts(np.full(BATCH * asked.steps, LENGTH)))
    ways = {
        "LSTM, shared mask": ours("lstm", equal),
        "LSTM, mask per_example": ours("lstm", equal, recurrent_mask="per_example"),
        "GRU, shared mask": ours("gru", equal),
        "GRU, mask per_example": ours("gru", equal, recurrent_mask="per_example"),
    }
    for backend, name in PEERS.items():
        python = asked.torch_python if backend == "torch" else asked.keras
        keras = peer(stack, [python, str(PLACE / "keras_text.py"), str(asked.steps)], KERAS_BACKEND=backend)
        if keras is None:
            print(f"{name} does not start here and is left out.")
        else:
            ways |= {f"{name}, {kind}": keras(kind.lower()) for kind in ("LSTM", "GRU")}
    print(f"The course's text model, batch {BATCH}, {LENGTH} steps:")
    rates = measure(ways, sequences=BATCH * asked.steps, rounds=asked.rounds)
    for kind in ("LSTM", "GRU"):
        for mask in ("shared mask", "mask per_example"):
            own = rates[f"{kind}, {mask}"]
            found = [
                f"{own / rates[key]:.2f} x {name}" for name in PEERS.values() if (key := f"{name}, {kind}") in rates
            ]
            print(f"{kind}, {mask}: {', '.join(found)}")
    for mask in ("shared mask", "mask per_example"):
        print(f"LSTM over GRU, {mask}: {rates[f'LSTM, {mask}'] / rates[f'GRU, {mask}']:.2f} (1.3 at most is wanted)")


def unequal(asked: argparse.Namespace, stack: ExitStack) -> None:
    """Lengths as movie-reviews.csv has them."""
    lengths = review_lengths(BATCH * asked.steps)
    data = texts(lengths)
    file = stack.enter_context(scratch()) / "texts.npz"
    np.savez(file, tokens=data[0].values, starts=data[0].starts, targets=data[1])
    plain = peer(stack, [sys.executable, str(PLACE / "torch_packed.py"), str(file)])
    assert plain is not None
    like, mixed = batches_of(data), batches_of(data, pool=1)
    none = {"dropout": 0.0, "recurrent_dropout": 0.0}
    torch.manual_seed(0)
    ways = {
        "ours": ours("lstm", like, **none),
        "ours, batches as they come": ours("lstm", mixed, **none),
        "ours, dropout 0.2": ours("lstm", like),
        "PyTorch, packed": plain(""),
        "packed in our step": training(Packed(), mixed),
        "packed in our step and batches": training(Packed(), like),
    }
    words = f"{lengths.mean():.0f} words on average, {lengths.max()} at most"
    print(f"Lengths of movie-reviews.csv ({words}), batch {BATCH}:")
    rates = measure(ways, sequences=len(lengths), rounds=asked.rounds)
    for name in list(ways)[3:]:
        print(f"ours: {rates['ours'] / rates[name]:.2f} x {name}")


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks recurrent")
    parser.add_argument("keras", nargs="?", default=sys.executable, help="a Python with keras, tensorflow and jax")
    parser.add_argument("--torch-python", default=None, help="a Python with keras and torch; the same if none is given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="training steps of one timing")
    asked = parser.parse_args(words)
    asked.torch_python = asked.torch_python or asked.keras
    device.pick("cpu", "float32")
    print(versions(), f"{torch.get_num_threads()} threads", sep=", ")
    for part in (course, unequal):
        with ExitStack() as stack:
            part(asked, stack)
