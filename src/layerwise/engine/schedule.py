"""Learning-rate schedules: pure functions from the share of training done (0 to 1) to a factor (0 to 1)."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "cosine", "linear", "one-cycle", "range"]

# One-cycle starts at 1/25 of the highest rate and rises for the first 30 % (Smith and Topin, 2018).
_START, _RISE = 1 / 25, 0.3

# A range test begins at this share of the highest rate.
_LOWEST = 1e-6


def factor(schedule: Schedule, done: float, *, warmup: float = 0.0) -> float:
    """What the learning rate is multiplied by.

    Args:
        schedule: constant; cosine, a half cosine down to 0 (Loshchilov and Hutter, 2017); linear, a straight line
            down to 0; one-cycle, a cosine up and a longer one down (Smith and Topin, 2018); range, the range test's
            exponential rise from 1e-6 (Smith, 2017; see `engine/finder.py`).
        done: share of the stage's steps already taken, 0 to 1.
        warmup: share of the steps in which the rate first rises in a line; one-cycle and range have their own rise.

    Example:
        >>> factor("cosine", 0.0), factor("linear", 0.75)
        (1.0, 0.25)
    """
    if schedule == "one-cycle":
        if done < _RISE:
            return _START + (1 - _START) * _cosine(1 - done / _RISE)
        return _cosine((done - _RISE) / (1 - _RISE))
    if schedule == "range":
        return float(_LOWEST ** (1 - done))
    if done < warmup:
        return done / warmup
    left = (done - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return {"constant": 1.0, "cosine": _cosine(left), "linear": 1 - left}[schedule]


def _cosine(done: float) -> float:
    """From 1 at the start to 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
