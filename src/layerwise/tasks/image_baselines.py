"""What every network for images is measured against: the most frequent class, and a linear model on pixels.

A pretrained network is also held against the nearest class mean of what its frozen layers give, which tells whether
training on top of them was worth it (T. Mensink, J. Verbeek, F. Perronnin, G. Csurka, "Metric Learning for Large Scale
Image Classification", ECCV 2012).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from layerwise.data.loader import Store
from layerwise.engine.solve import fit
from layerwise.metrics.baselines import ACCURACY, majority
from layerwise.metrics.scores import accuracy, log_loss, macro_f1
from layerwise.metrics.summary import MAJORITY, measure_of
from layerwise.tasks.image_data import ImageData, ids_of
from layerwise.tasks.image_features import PretrainedBody
from layerwise.tasks.image_frozen import Frozen

LINEAR, MEANS = "linear model on pixels", "nearest class mean of frozen features"

_SIDE, _MANY, _SMALL_SIDE = 16, 30, 8  # pixels a side; of more classes than so many, fewer pixels
_IMAGES, _HURRIED = 5000, 1000  # that are learnt from, evenly spaced of more; within a budget
_VALUES = 40_000_000  # rows times pixels times classes at most: a second or two
_DECAYS = (0.3, 0.03, 0.003)  # that are tried, from strong to weak
_ITERATIONS = 50
_PORTION = 4_000_000  # bytes of pictures that are shrunk at a time
_TEMPERATURES = np.geomspace(1e-3, 1.0, 31)  # in units of the mean squared distance
FEW = 2000  # images of the reported part, of more of which another pass of the frozen layers is not cheap

Probabilities = NDArray[np.float64]
Ids = NDArray[np.int64]


def rivals(found: ImageData, frozen: Frozen | None, body: PretrainedBody | None) -> dict[str, Probabilities]:
    """The baselines' answers to the reported part, (n, classes) by name.

    The first is the stronger in validation of the most frequent class and the linear model; the reported part has no
    say in it.

    Args:
        found: the data of the run.
        frozen: of a pretrained network, whose weights are kept as they are; none for one from scratch.
        body: that network as the run began with it.
    """
    train, valid, test = (ids_of(found.examples, part) for part in ("train", "valid", "test"))
    targets, classes = found.targets, len(found.classes)
    most = _IMAGES if found.recipe.budget is None else _HURRIED
    checked, answered = linear_on_pixels(
        found.store, targets, _spread(train, most), [_spread(valid, _IMAGES), test], classes
    )
    score = accuracy if measure_of(targets[train]) == ACCURACY else macro_f1
    known = targets[_spread(valid, _IMAGES)]
    linear_first = score(checked, known) > score(majority(targets[train], known, classes), known)
    same = {MAJORITY: majority(targets[train], targets[test], classes)}
    listed = {LINEAR: answered, **same} if linear_first else {**same, LINEAR: answered}
    means = None
    if frozen and body and found.recipe.budget is None:
        means = class_means(found, frozen, body)
    return listed if means is None else {**listed, MEANS: means}


def linear_on_pixels(
    store: Store, targets: Ids, train: Ids, asked: list[Ids], classes: int
) -> tuple[Probabilities, ...]:
    """Multinomial logistic regression on shrunk pictures.

    Pictures are averaged down to 16 x 16 pixels at most (8 x 8 where there are over 30 classes), and of very many
    classes fewer are learnt from. The strength of the penalty is that of three with the lowest log loss on the first
    of the lists that are asked.

    Args:
        store: pixels.
        targets: (N,) class numbers.
        train: rows that are learnt from.
        asked: lists of rows; the first chooses the penalty.
        classes: how many.

    Returns:
        (n, classes) for each list.

    Example:
        >>> from layerwise.data.pixels import PixelStore
        >>> from types import SimpleNamespace
        >>> pixels = torch.tensor([0, 200] * 20, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 8, 8, 1)
        >>> store = SimpleNamespace(shape=tuple(pixels.shape), read=lambda ids: pixels[torch.from_numpy(ids)])
        >>> rows = np.arange(40)
        >>> linear_on_pixels(store, rows % 2, rows[:20], [rows[20:30], rows[30:]], 2)[1].argmax(1).tolist()
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    """
    side = _SIDE if classes <= _MANY else _SMALL_SIDE
    channels = store.shape[3]
    train = _spread(train, max(2 * classes, _VALUES // (side * side * channels * classes)))
    features = _shrunk(store, train, side)
    wanted = torch.from_numpy(targets[train])
    others = [_shrunk(store, rows, side) for rows in asked]
    linear = nn.Linear(features.shape[1], classes)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    best: tuple[float, tuple[Probabilities, ...]] | None = None
    for decay in _DECAYS:
        fit(linear, features, wanted, decay=decay, iterations=_ITERATIONS)
        with torch.inference_mode():
            answers = tuple(linear(rows).double().softmax(1).numpy() for rows in others)
        loss = log_loss(answers[0], targets[asked[0]])
        if best is None or loss < best[0]:
            best = loss, answers
    assert best is not None
    return best[1]


def class_means(found: ImageData, frozen: Frozen, body: PretrainedBody) -> Probabilities | None:
    """Answers of the nearest class mean to the reported part, (n, classes); none where features are not at hand.

    The softmax of minus the squared distances to the means of the training images, divided by the temperature with the
    lowest log loss in validation.

    Args:
        found: the data of the run.
        frozen: says what is kept; the network is left as it is.
        body: the network as the run began with it.
    """
    parts = [ids_of(found.examples, part) for part in ("train", "valid", "test")]
    train, valid, test = parts
    cut = frozen.frontier.cut(0.0)
    # By what was planned, not by what lies on disk: a run that goes on says what an uninterrupted one does.
    kept = any(stage.keep and frozen.cuts[stage.name] == cut for stage in frozen.recipe.stages)
    if cut is None or not kept or len(test) > FEW:
        return None
    rows, values = body.features(np.concatenate(parts))
    assert len(rows) == sum(map(len, parts)), "no time was set"
    learnt, checked, asked = np.split(values.double().numpy(), [len(train), len(train) + len(valid)])
    means = _means(learnt, found.targets[train], len(found.classes))  # (classes, D)
    known, wanted = _squares(checked, means), _squares(asked, means)
    unit = float(known[np.isfinite(known)].mean()) or 1.0
    losses = [log_loss(_softmax(-known / (unit * each)), found.targets[valid]) for each in _TEMPERATURES]
    return _softmax(-wanted / (unit * float(_TEMPERATURES[int(np.argmin(losses))])))


def _means(features: NDArray[np.float64], targets: Ids, classes: int) -> NDArray[np.float64]:
    """(classes, D); NaN for a class without a training image."""
    found = np.full((classes, features.shape[1]), np.nan)
    for each in np.unique(targets).tolist():
        found[each] = features[targets == each].mean(axis=0)
    return found


def _squares(features: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (n, classes), infinite to a class without a mean."""
    found = (features**2).sum(1)[:, None] - 2 * features @ np.nan_to_num(means).T + (np.nan_to_num(means) ** 2).sum(1)
    found[:, np.isnan(means).any(axis=1)] = np.inf
    return np.asarray(np.maximum(found, 0.0))


def _softmax(logits: NDArray[np.float64]) -> Probabilities:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _shrunk(store: Store, rows: Ids, side: int) -> torch.Tensor:
    """(n, side * side * C) float32 of 0 to 1: each picture averaged down, or as it is where it is smaller."""
    _, height, width, channels = store.shape
    size = (min(side, height), min(side, width))
    step, parts = max(1, _PORTION // (height * width * channels)), []
    for first in range(0, len(rows), step):
        pixels = store.read(rows[first : first + step]).permute(0, 3, 1, 2).float()  # (n, C, H, W)
        parts.append(F.adaptive_avg_pool2d(pixels, size).flatten(1) / 255)
    return torch.cat(parts) if parts else torch.zeros(0, size[0] * size[1] * channels)


def _spread(rows: Ids, most: int) -> Ids:
    """At most so many of the rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]
