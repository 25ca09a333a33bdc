"""Whether a generator beats what needs no network, in a sentence for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from layerwise.metrics.generation import Influence, frechet_influence
from layerwise.metrics.means import mean_interval

Values = NDArray[np.float64]

_QUANTILE = float(norm.ppf(0.975))


class SameCost(NamedTuple):
    """Another network of the run, trained at about the same cost, by its distance in validation.

    Attributes:
        name: of the network, as in `gan-tutorial`.
        distance: its best distance in validation.
        ours: the model's distance in validation.
    """

    name: str
    distance: float
    ours: float


def verdict(
    samples: Values,
    real: Values,
    rivals: Mapping[str, Values],
    *,
    real_distance: float | None = None,
    same_cost: SameCost | None = None,
) -> str:
    """One sentence for people: are the samples nearer to real images than the strongest rival's?

    The difference of the two Fréchet distances is paired: both are from the same real images, whose influence on the
    one is taken from that on the other (see `frechet_influence`). Only a difference whose 95 % interval lies below 0
    is "Better". Give as many samples of every rival as of the model, as the distance depends on the number.

    Args:
        samples: (n, F) features of the model's samples.
        real: (m, F) of real images that nothing was trained on.
        rivals: name within the sentence -> (n, F) features of its samples; at least one.
        real_distance: of other real images from these, for comparison.
        same_cost: another network to name, which was trained beside this one.

    Example:
        >>> random = np.random.default_rng(0)
        >>> real, model = random.normal(size=(500, 4)), random.normal(size=(500, 4))
        >>> print(verdict(model, real, {"the mean image": np.zeros((500, 4))}, real_distance=0.02))
        Better than the mean image: distance 0.0306 against 4.01 (difference -3.98, 95 % interval -4.23 to -3.74). \
Real images against real ones: 0.0200.
    """
    assert rivals
    if not np.isfinite(samples).all():
        return f"Not better than {next(iter(rivals))}: the samples are not finite, and have no distance."
    model = frechet_influence(samples, real)
    others = {name: frechet_influence(features, real) for name, features in rivals.items()}
    name = min(others, key=lambda each: others[each].value)
    low, high = _difference(model, others[name])
    ours, theirs = model.value, others[name].value
    said = [
        f"{'Better' if high < 0 else 'Not better'} than {name}: distance {_short(ours)} against {_short(theirs)} "
        f"(difference {_short(ours - theirs)}, 95 % interval {_short(low)} to {_short(high)})."
    ]
    if real_distance is not None:
        said.append(f"Real images against real ones: {_short(real_distance)}.")
    if same_cost is not None:
        said.append(_of_same_cost(same_cost))
    n, features = min(len(samples), len(real)), samples.shape[1]
    if n < 2 * features:
        said.append(f"Only {n} images for {features} features: distances come out too large, and more would tell.")
    return " ".join(said)


def verdict_nats(model: Values, baseline: Values, *, than: str = "the mean image") -> str:
    """One sentence for people: does a variational autoencoder describe images in fewer nats than a baseline?

    Args:
        model: (n,) negative evidence lower bound of each held-out image, nats.
        baseline: (n,) negative log-likelihood of the same images under the baseline, nats.
        than: what the baseline is called within the sentence.

    Example:
        >>> print(verdict_nats(np.array([100.0, 110.0, 90.0]), np.array([200.0, 212.0, 188.0])))
        Better than the mean image: 100 nats an image against 200 (difference -100, 95 % interval -105 to -95.0).
    """
    lost = int((~np.isfinite(model)).sum())
    if lost:
        return f"Not better than {than}: {lost:,} of {len(model):,} images have no finite number of nats."
    found = mean_interval(model - baseline)
    low, high, ours, theirs = found["low"], found["high"], float(model.mean()), float(baseline.mean())
    figures = f"{_short(ours)} nats an image against {_short(theirs)}"
    if low is None or high is None:
        return f"Not better than {than}: {figures} on one image, which is too little to be sure."
    between = f"difference {_short(ours - theirs)}, 95 % interval {_short(low)} to {_short(high)}"
    return f"{'Better' if high < 0 else 'Not better'} than {than}: {figures} ({between})."


def _difference(model: Influence, rival: Influence) -> tuple[float, float]:
    """Bounds of the model's distance less the rival's, from the same real images."""
    sides = (model.first, rival.first, model.second - rival.second)
    half = _QUANTILE * math.sqrt(sum(float(side.var(ddof=1)) / len(side) for side in sides))
    apart = model.value - rival.value
    return apart - half, apart + half


def _of_same_cost(other: SameCost) -> str:
    word = "below" if other.ours < other.distance else "not below"
    theirs = f"the {_short(other.distance)} of {other.name} at about the same cost"
    return f"In validation {_short(other.ours)}, {word} {theirs}."


def _short(number: float) -> str:
    """Three digits that tell, and no exponent."""
    if number == 0 or not math.isfinite(number):
        return f"{number:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{number:.3g}")))))
    return f"{number:,.{digits}f}"
