"""Batches of like length: every example once, the same whatever was before."""

from __future__ import annotations

import numpy as np
import torch

from layerwise.data.ragged import Ragged, SequenceBatch, SequenceBatches

LENGTHS = np.random.default_rng(0).integers(0, 40, 203)


def batches(lengths: np.ndarray = LENGTHS, *, seed: int = 0, size: int = 8) -> SequenceBatches:
    sequences = Ragged.of([np.full(length, row + 1, dtype=np.int32) for row, length in enumerate(lengths)])
    rows = np.arange(len(lengths))
    return SequenceBatches(sequences, rows % 3, {"train": rows, "valid": rows[::2]}, size, seed, torch.device("cpu"))


def seen(found: list[SequenceBatch]) -> list[int]:
    return [int(row) for batch in found for row in batch.ids]


def test_an_epoch_shows_every_example_once_with_its_own_values_and_target() -> None:
    found = list(batches().train(0))
    assert sorted(seen(found)) == list(range(203))
    assert len(found) == batches().steps
    for batch in found:
        for place, row in enumerate(batch.ids):
            length = int(batch.lengths[place])
            assert length == max(1, LENGTHS[row]) and batch.targets[place] == row % 3
            real = batch.inputs[place, : LENGTHS[row]]
            assert (real == row + 1).all() and (batch.inputs[place, LENGTHS[row] :] == 0).all()


def test_a_single_last_example_is_left_out_of_training_and_not_of_a_part() -> None:
    some = batches(LENGTHS[:17])
    assert some.steps == 2 and len(seen(list(some.train(0)))) == 16
    assert sorted(seen(list(some.part("train")))) == list(range(17))


def test_batches_hold_like_lengths() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 4000)
    found = list(batches(lengths, size=32).train(3))
    filled = sum(int(batch.lengths.sum()) for batch in found)
    given = sum(batch.inputs.numel() for batch in found)
    assert filled / given > 0.9  # in random batches it would be about a half


def test_an_epoch_depends_on_seed_and_epoch_only_and_goes_on_from_any_step() -> None:
    whole = [tuple(batch.ids) for batch in batches().train(2)]
    assert [tuple(batch.ids) for batch in batches().train(2, 5)] == whole[5:]
    assert [tuple(batch.ids) for batch in batches().train(1)] != whole
    assert [tuple(batch.ids) for batch in batches(seed=1).train(2)] != whole


def test_short_and_long_ones_come_mixed_over_an_epoch() -> None:
    longest = [batch.inputs.shape[1] for batch in batches().train(0)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_values_of_several_channels_become_floats() -> None:
    sequences = Ragged.of([np.ones((3, 2)), np.ones((5, 2))])
    part = {"train": np.arange(2)}
    found = SequenceBatches(sequences, np.zeros(2, dtype=np.int64), part, 2, 0, torch.device("cpu"))
    (batch,) = found.train(0)
    assert batch.inputs.dtype == torch.float32 and batch.inputs.shape == (2, 5, 2)
    assert batch.inputs.sum() == 16
