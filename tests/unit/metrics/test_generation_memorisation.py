"""The nearest training image, and when a sample is one."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from layerwise.metrics import memorisation
from layerwise.metrics.memorisation import Memory, nearest


def fashion(folder: Path, part: str, count: int, start: int = 0) -> np.ndarray:
    file = folder / "fashion-mnist" / f"{part}-images-idx3-ubyte.gz"
    if not file.is_file():
        pytest.skip(f"no Fashion-MNIST at {file}")
    with gzip.open(file) as opened:
        opened.seek(16 + 784 * start)
        return np.frombuffer(opened.read(784 * count), dtype=np.uint8).reshape(count, 28, 28, 1)


def noisy(pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    moved = pixels + np.random.default_rng(seed).integers(-2, 3, size=pixels.shape)
    return moved.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("blocks", [(1024, 4096), (7, 11)])
def test_nearest_is_exact(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorisation, "_QUERIES", blocks[0])
    monkeypatch.setattr(memorisation, "_KEYS", blocks[1])
    random = np.random.default_rng(0)
    queries, keys = random.normal(size=(60, 20)) + 100, random.normal(size=(90, 20)) + 100
    distances, rows = nearest(queries, keys)
    pairs = cdist(queries, keys)
    assert rows.tolist() == pairs.argmin(axis=1).tolist()
    assert distances == pytest.approx(pairs.min(axis=1), rel=1e-12)


def test_nearest_takes_pixels_as_they_are() -> None:
    keys = np.random.default_rng(0).integers(0, 256, size=(50, 4, 4, 3)).astype(np.uint8)
    before = keys.copy()
    distances, rows = nearest(keys[[7, 3]] ^ np.uint8(1), keys)
    assert rows.tolist() == [7, 3]
    assert distances == pytest.approx(np.sqrt([48, 48]))
    assert (keys == before).all()


def test_copies_are_flagged_and_fresh_images_seldom(shared_data: Path) -> None:
    train, held = fashion(shared_data, "train", 10_000), fashion(shared_data, "t10k", 1000)
    memory = Memory.of(train, held)
    planted = train[np.random.default_rng(0).permutation(10_000)[:100]]
    assert memory.flagged(planted).sum() == 100
    changed = noisy(planted)
    assert memory.flagged(changed).sum() == 100
    assert (memory.nearest(changed)[1] == memory.nearest(planted)[1]).all()
    fresh = memory.flagged(fashion(shared_data, "t10k", 1000, start=5000))
    assert fresh.mean() <= 0.05
    assert memory.share == pytest.approx(0.02, abs=0.001)


def test_pixels_and_shares_of_them_flag_the_same(shared_data: Path) -> None:
    train, held = fashion(shared_data, "train", 2000), fashion(shared_data, "t10k", 400)
    samples = np.concatenate([noisy(train[:50]), fashion(shared_data, "t10k", 300, start=5000)])
    found = Memory.of(train, held).flagged(samples)
    shares = Memory.of(train / np.float32(255), held / np.float32(255)).flagged(samples / np.float32(255))
    assert (found == shares).all()


@pytest.mark.parametrize("held", [95, 200, 1000])
def test_at_most_5_in_100_of_fresh_images_are_flagged_whatever_was_held_out(held: int) -> None:
    random, rates = np.random.default_rng(0), []
    train = random.normal(size=(300, 4))
    fresh = nearest(random.normal(size=(4000, 4)), train)[0]
    for _ in range(200):
        memory = Memory.of(train, random.normal(size=(held, 4)))
        rates.append((fresh <= memory.threshold).mean())
    assert np.mean(np.array(rates) > 0.05) <= 0.03  # promised is 1 in 100
    assert np.mean(rates) == pytest.approx(memory.share, rel=0.25)


def test_few_held_out_images_flag_copies_only() -> None:
    random = np.random.default_rng(0)
    train = random.integers(0, 256, size=(200, 6, 6, 1)).astype(np.uint8)
    for held in (train[:0], random.integers(0, 256, size=(80, 6, 6, 1)).astype(np.uint8)):
        memory = Memory.of(train, held)
        assert memory.share == 0
        assert memory.flagged(train).all()
        assert not memory.flagged(random.integers(0, 256, size=(200, 6, 6, 1)).astype(np.uint8)).any()


def test_held_out_copies_of_training_images_do_not_lower_the_threshold() -> None:
    random = np.random.default_rng(0)
    train, held = random.normal(size=(500, 8)), random.normal(size=(300, 8))
    clean, leaky = Memory.of(train, held), Memory.of(train, np.concatenate([train[:100], held]))
    assert (leaky.threshold, leaky.held_out, leaky.copies_held_out) == (clean.threshold, 300, 100)
    assert clean.copies_held_out == 0
    assert leaky.flagged(train[:100]).all()
    assert leaky.flagged(train[:100] + 1e-6).all()


def test_training_images_all_alike_are_still_found() -> None:
    train = np.full((20, 4, 4, 1), 9, dtype=np.uint8)
    memory = Memory.of(train, train)
    assert memory.flagged(train).all()
    assert not memory.flagged(train + np.uint8(1)).any()
