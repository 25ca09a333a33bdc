"""Copies of training images planted among samples: does the memorisation check find them, and nothing else?

`python -m benchmarks memorised [--run RUN] [--draws 5]`: all of Fashion-MNIST's 60,000 training images, half of its
test images to learn the threshold from, the other half as fresh images. 100 copies are planted among 900 samples of the
PCA-Gaussian of the training images, or of the model of `--run`, which must have been trained on the same images. Also
counted, though no promise is made of them: copies with noise of 4 in 255, and copies moved by a pixel.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.common import versions
from benchmarks.generators import fashion
from layerwise.metrics.generation_baselines import pca_gaussian
from layerwise.metrics.memorisation import Memory

PLANTED, OTHERS = 100, 900


def changed(copies: np.ndarray, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """The copies as they are, and changed a little: (n, H, W, C) uint8."""
    noisy = np.clip(np.rint(copies + draw.normal(0, 4, copies.shape)), 0, 255).astype(np.uint8)
    return {"copies": copies, "with noise": noisy, "moved by a pixel": np.roll(copies, 1, axis=2)}


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks memorised")
    parser.add_argument("--run", default=None, help="a run folder, whose model makes the other samples")
    parser.add_argument("--draws", type=int, default=5, help="times that copies and samples are drawn")
    parser.add_argument("--images", type=int, default=0, help="train images; all by default")
    asked = parser.parse_args(words)
    print(versions())
    data = fashion()
    train = data["train"][0][: asked.images or None]
    held, fresh = np.array_split(np.random.default_rng(0).permutation(data["test"][0]), 2)
    if asked.run:
        from layerwise import api

        model = api.load(asked.run)

        def sampler(count: int, seed: int) -> np.ndarray:
            return np.asarray(model.sample(count, seed=seed))
    else:
        sampler = pca_gaussian(train)
    began = time.perf_counter()
    memory = Memory.of(train, held)
    print(f"{len(train):,} training images, threshold from {memory.held_out:,} held out: {memory.threshold:.1f}")
    print(f"{memory.copies_held_out} of these are copies of training images, {time.perf_counter() - began:.1f} s")
    flagged = memory.flagged(fresh)
    exact = memory.nearest(fresh)[0] == 0
    shares = f"{flagged.mean():.2%} of {len(fresh):,} fresh images flagged, wanted 5 % at most"
    print(f"{shares}; {exact.sum()} of them are in the training part, pixel for pixel")
    for number in range(asked.draws):
        draw = np.random.default_rng(number)
        kinds = changed(train[draw.choice(len(train), PLANTED, replace=False)], draw)
        samples = sampler(OTHERS, number)
        places = draw.permutation(PLANTED + OTHERS)
        found = memory.flagged(np.concatenate([kinds["copies"], samples])[places])[np.argsort(places)]
        near = ", ".join(f"{kind} {memory.flagged(images).sum()}" for kind, images in list(kinds.items())[1:])
        print(
            f"draw {number}: {found[:PLANTED].sum()} of {PLANTED} copies found, {found[PLANTED:].sum()} of {OTHERS} "
            f"samples flagged ({'the model' if asked.run else 'PCA-Gaussian'}); {near} of {PLANTED}",
            flush=True,
        )
