"""From series as they came to what a network takes."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from layerwise.config import Section
from layerwise.data.ragged import Ragged

Scaling = Literal["train", "series", "none"]
Flag = Literal["series", "time", "target", "label"]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]

_FLAT = 1e-12  # a deviation below this share of the mean is rounding: such a channel is left as it is but for its mean
_FARTHEST = 1e4  # deviations; a value farther off is held there, so that no answer can be infinite


class SequencePreprocess(Section):
    """What is done to each series; kept in the model file.

    Args:
        scale: train: by `mean` and `std`; series: by its own mean and deviation; none.
        mean, std: a number a channel, of all steps of the training part.
        every: so many steps are averaged into one.
        columns: of a long table, series, time, target and label -> the column that was learnt from, which tables of
            later series are then read by.
    """

    scale: Scaling
    mean: tuple[Number, ...] = pydantic.Field(min_length=1, max_length=1024)
    std: tuple[Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)], ...]
    every: int = pydantic.Field(1, ge=1)
    columns: dict[Flag, str] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _as_many(self) -> SequencePreprocess:
        if len(self.mean) != len(self.std):
            raise ValueError("as many deviations as means")
        return self

    def __call__(self, sequences: Ragged) -> Ragged:
        """(total, C) float64 -> scaled (total', C) float32.

        Example:
            >>> look = SequencePreprocess(scale="train", mean=(2.0,), std=(2.0,))
            >>> look(Ragged.of([np.array([[2.0], [6.0]])])).values.tolist()
            [[0.0], [2.0]]
        """
        fewer = averaged(sequences, self.every)
        if self.scale == "series":
            parts = [_scaled(fewer[row], *_moments(fewer[row])) for row in range(len(fewer))]
            return Ragged(np.concatenate(parts), fewer.starts)
        mean, std = (np.array(numbers) for numbers in (self.mean, self.std))
        return Ragged(_scaled(fewer.values, mean, std), fewer.starts)


def learn(sequences: Ragged, train: NDArray[np.int64], scale: Scaling, *, max_length: int) -> SequencePreprocess:
    """The preprocessing that suits the training part.

    Args:
        sequences: of all examples, (total, C).
        train: rows of the training part.
        scale: how values are scaled.
        max_length: steps; where a training series has more, neighbouring steps are averaged until none has.

    Example:
        >>> learn(Ragged.of([np.array([[1.0], [3.0]])]), np.array([0]), "train", max_length=100).mean
        (2.0,)
    """
    every = max(1, -(-int(sequences.lengths[train].max(initial=1)) // max_length))
    channels = sequences.values.shape[1]
    if scale != "train":
        return SequencePreprocess(scale=scale, mean=(0.0,) * channels, std=(1.0,) * channels, every=every)
    fewer = averaged(sequences, every)
    mean, std = _moments(np.concatenate([fewer[row] for row in train.tolist()]))
    return SequencePreprocess(scale=scale, mean=tuple(mean.tolist()), std=tuple(std.tolist()), every=every)


def averaged(sequences: Ragged, every: int) -> Ragged:
    """Each series with so many of its steps averaged into one; the last of a series may be of fewer.

    Example:
        >>> averaged(Ragged.of([np.array([[1.0], [3.0], [5.0]])]), 2).values.tolist()
        [[2.0], [5.0]]
    """
    if every == 1 or not len(sequences.values):
        return sequences
    lengths = -(-sequences.lengths // every)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)  # of each mean, its number within its series
    first = np.repeat(sequences.starts[:-1], lengths) + every * within
    sums = np.add.reduceat(sequences.values, first, axis=0)
    return Ragged(sums / np.diff(first, append=len(sequences.values))[:, None], starts)


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel: (T, C) -> (C,), (C,)."""
    if not len(values):
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    mean, std = values.mean(0), values.std(0)
    return mean, np.where(std > _FLAT * np.maximum(np.abs(mean), 1e-20), std, 1.0)


def _scaled(values: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = np.clip((values - mean) / std, -_FARTHEST, _FARTHEST).astype(np.float32)
    return scaled
