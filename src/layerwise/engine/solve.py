"""The last layer by full-batch L-BFGS: on features that are kept, a linear classifier needs no epochs.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn

from layerwise.device import mix, threads
from layerwise.errors import DataError, Diverged

# From strong to weak. On features of EfficientNet-Lite0 the best in validation was 0.1 to 0.02 for photographs of
# flowers, ants and bees (50 to 640 rows), and 0.3, 0.1 and 0.04 for 500, 2,000 and 8,000 images of CIFAR-10: where
# classes are clear it hardly depends on the number of rows, elsewhere it falls with it.
DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)

# Multiply-adds of a product that one thread does in milliseconds. More threads would wait for one another: with other
# work on the machine a fit took 7 s in place of 0.2.
_SMALL = 20_000_000

# The one to take where nothing can be tried.
DECAY = 0.03

_ROWS = 2000  # that a decay is found on: it hangs little on their number
_LEAST = 1e-12  # a probability that counts as none


@final
class Solver:
    """Fits a linear classifier to features, one weight decay a call, from strong to weak, each from the one before.

    Going on after a stop needs only the layer's weights and the number of calls done, and gives the same bits.

    Args:
        linear: (B, D) -> (B, C), with a bias; changed by each call.
        decays: the path; none for the one that `best_decay` finds at the first call.
        label_smoothing: 0 to below 1.
        iterations: at most, each call.
        seed: of the folds that a decay is found with.
        class_weights: (C,) what each class counts, none for 1 each.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> solver = Solver(linear)
        >>> solver.decay
        1.0
        >>> objective = solver(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]), np.arange(2))
        >>> solver.decay
        0.3
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        decays: tuple[float, ...] = DECAYS,
        label_smoothing: float = 0.0,
        iterations: int = 100,
        seed: int = 0,
        class_weights: Tensor | None = None,
    ) -> None:
        self._linear, self._decays, self._done, self._seed = linear, decays, 0, seed
        self._class_weights = class_weights
        self._label_smoothing, self._iterations = label_smoothing, iterations

    @property
    def steps(self) -> int:
        """Calls until the path is at its end."""
        return max(1, len(self._decays))

    @property
    def decay(self) -> float:
        """Of the next call; the last one stays."""
        return self._decays[min(self._done, len(self._decays) - 1)] if self._decays else DECAY

    def __call__(self, features: Tensor, targets: Tensor, images: NDArray[np.int64]) -> float:
        """Fit to features (N, D) and targets as `fit` takes them; returns what `fit` minimised.

        Args:
            features: (N, D).
            targets: (N,) int64 classes.
            images: (N,) what each row is a view of: a decay is found on one view of each.

        Raises:
            Diverged: as `fit` does; the layer is as it was.
        """
        if not self._decays:
            rows = torch.from_numpy(np.unique(images, return_index=True)[1]).to(features.device)
            classes, weights = self._linear.out_features, self._class_weights
            found = best_decay(features[rows], targets[rows], classes=classes, seed=self._seed, class_weights=weights)
            self._decays = (found,)
        objective, _ = fit(
            self._linear,
            features,
            _weighed(_rows(targets, self._linear.out_features, 0.0), self._class_weights),
            decay=self.decay,
            label_smoothing=self._label_smoothing,
            iterations=self._iterations,
        )
        self._done += 1
        return objective

    @property
    def last(self) -> float:
        """The decay of the last call."""
        return self._decays[min(self._done, len(self._decays)) - 1]

    def state_dict(self) -> dict[str, Any]:
        """How far along the path it is; the weights themselves are the network's."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._done = int(state["done"])


def fit(
    linear: nn.Linear,
    features: Tensor,
    targets: Tensor,
    *,
    decay: float,
    label_smoothing: float = 0.0,
    iterations: int = 100,
) -> tuple[float, int]:
    """Set a linear layer to the minimum of mean cross entropy + decay / 2 * |V|², by L-BFGS.

    V are the weights on features whose mean over the rows is 0 and whose variance, averaged over all features, is 1:
    so that a decay means the same for every backbone. Not each feature by itself: that lifts the ones that hardly vary
    and validated worse on all sets that were tried (flowers, 400 rows: log loss 0.30 beside 0.27). A feature that is
    constant gets the weight 0. The bias does not decay.

    D. C. Liu, J. Nocedal, "On the limited memory BFGS method", Math. Programming 45 (1989); SciPy's code. Draws no
    random number.

    Args:
        linear: with a bias; its present weights are where the search begins.
        features: (N, D) floats, N >= 1.
        targets: (N,) int64 classes, of which some may be missing; or (N, C) floats, rows that sum to what they count.
        decay: of the mean loss over rows, not of its sum; views of an image are rows as well.
        label_smoothing: share of each target that is spread over all classes, 0 to below 1.
        iterations: at most.

    Returns:
        What was reached, and how often it was computed.

    Raises:
        Diverged: a feature, a weight or the result is not finite; the layer is as it was.

    Example:
        >>> linear = nn.Linear(1, 2)
        >>> _ = fit(linear, torch.tensor([[5.0], [6.0], [8.0]]), torch.tensor([0, 0, 1]), decay=0.01)
        >>> linear(torch.tensor([[5.5], [7.5]])).argmax(1)
        tensor([0, 1])
    """
    assert linear.bias is not None, "features are centred, and the bias takes that up"
    with torch.no_grad():
        features = _with_float64(features)
        start = _Classifier(linear.weight.to(features.device), linear.bias.to(features.device))
        wanted = _rows(targets.to(features.device), linear.out_features, label_smoothing)
        ((found, objective, evaluations),) = _minima(start, features, wanted, (decay,), iterations)
        linear.weight.copy_(found.weight)
        linear.bias.copy_(found.bias)
    return objective, evaluations


def cross_validate(
    features: Tensor, targets: Tensor, *, classes: int, seed: int, folds: int = 5, decay: float = DECAY
) -> NDArray[np.float64]:
    """Probabilities (N, C) that a linear classifier gives each row when it was fitted without that row's fold.

    Folds hold the classes in equal shares. A class that is missing in what a fold was fitted to gets next to nothing.
    As fast as scikit-learn's `LogisticRegression`, and the head that training would fit.

    Args:
        features: (N, D).
        targets: (N,) int64 classes.
        classes: C.
        seed: of the folds.
        folds: fewer are made where no class has so many rows.
        decay: see `fit`.

    Raises:
        DataError: no class has two rows.
        Diverged: see `fit`.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]])
        >>> cross_validate(features, torch.tensor([0, 0, 0, 1, 1, 1]), classes=2, seed=0, folds=3).argmax(1)
        array([0, 0, 0, 1, 1, 1])
    """
    wanted = _rows(targets, classes, 0.0)
    probabilities: NDArray[np.float64] = _cross_validated(features, targets, wanted, seed, folds, (decay,))[0]
    return probabilities


def _cross_validated(
    features: Tensor, targets: Tensor, wanted: Tensor, seed: int, folds: int, decays: Sequence[float]
) -> NDArray[np.float64]:
    """Probabilities (len(decays), N, C) of fits to `wanted` (N, C); each fold goes along the path of decays."""
    classes = wanted.shape[1]
    probabilities = np.zeros((len(decays), len(targets), classes))
    with torch.no_grad():
        features, wanted = _with_float64(features), wanted.to(_with_float64(features[:0]).device)
        start = _Classifier(features.new_zeros((classes, features.shape[1])), features.new_zeros(classes))
        for fitted, left in _folds(targets.cpu().numpy(), folds, seed):
            for place, (found, _, _) in enumerate(_minima(start, features[fitted], wanted[fitted], decays, 100)):
                logits = features[left].float() @ found.weight.T + found.bias  # (n, C)
                probabilities[place, left] = logits.double().softmax(1).cpu().numpy()
    return probabilities


def best_decay(
    features: Tensor, targets: Tensor, *, classes: int, seed: int, class_weights: Tensor | None = None
) -> float:
    """The weight decay of `DECAYS` with the least log loss in 5-fold cross-validation.

    On a few hundred rows this tells more than a tenth of them set apart: on flowers' features, 575 rows, the decay that
    65 others chose was 1.0 in three of five folds.

    Args:
        features: (N, D), one row an image.
        targets: (N,) int64 classes.
        classes: C.
        seed: of the folds.
        class_weights: (C,) what each class counts, none for 1 each.

    Raises:
        Diverged: see `fit`.
    """
    step = -(-len(features) // _ROWS)
    features, targets = features[::step], targets[::step]
    if int(targets.bincount().max()) < 2:
        return DECAY
    wanted = _weighed(_rows(targets, classes, 0.0), class_weights)
    found = _cross_validated(features, targets, wanted, seed, 5, DECAYS)  # (decays, N, C)
    logs = np.log(np.maximum(found, _LEAST))
    return DECAYS[int((logs * wanted.cpu().numpy()).sum(2).mean(1).argmax())]


def _folds(targets: NDArray[np.int64], folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of the rows to fit and of those left out."""
    most = int(np.bincount(targets).max(initial=0))
    if most < 2:
        raise DataError(
            f"No class has more than {most} example{'' if most == 1 else 's'}.",
            expected="two examples of a class, one to learn from and one to check",
        )
    splitter = StratifiedKFold(min(folds, most), shuffle=True, random_state=mix(seed) % 2**32)
    with warnings.catch_warnings():
        # A class with fewer rows than folds is missing in some; that is no reason to stop.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splits = list(splitter.split(np.zeros(len(targets)), targets))
    yield from splits


@dataclass(frozen=True)
class _Classifier:
    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)


@dataclass(frozen=True)
class _Coordinates:
    """Centred features, divided by one number, and turned to as few axes as the rows span.

    With fewer rows than features every gradient lies in the span of the rows, and so does the minimum: the weights on
    an orthonormal basis of it are the same problem, smaller. N 640, D 2,048, C 100: 0.45 s instead of 1.5.
    """

    mean: Tensor  # (D,) float64
    deviation: float
    basis: Tensor | None  # (D, N) orthonormal columns; None: the features' own axes

    def into(self, classifier: _Classifier) -> NDArray[np.float64]:
        """Its weights and bias in these coordinates: (C, R + 1), R axes."""
        weight = classifier.weight.double()
        bias = classifier.bias.double() + weight @ self.mean
        weight = weight * self.deviation
        if self.basis is not None:
            weight = weight @ self.basis.double()
        return torch.cat([weight, bias[:, None]], 1).cpu().numpy()

    def back(self, values: Tensor) -> _Classifier:
        """(C, R + 1) float64 -> the classifier of the features as they came, float32."""
        weight, bias = values[:, :-1] / self.deviation, values[:, -1]
        if self.basis is not None:
            weight = weight @ self.basis.double().T  # (C, D)
        return _Classifier(weight.float(), (bias - weight @ self.mean).float())


def _minima(
    start: _Classifier, features: Tensor, wanted: Tensor, decays: Sequence[float], iterations: int
) -> Iterator[tuple[_Classifier, float, int]]:
    """For each decay the classifier, what was reached, and how often it was computed; each from the one before."""
    coordinates, rows = _standardised(features)
    values = coordinates.into(start)
    shape = values.shape
    values[:, :-1][:, (rows == 0).all(0).cpu().numpy()] = 0.0  # no gradient would move these
    begin = values.ravel()
    for decay in decays:
        with threads(1 if rows.numel() * shape[0] < _SMALL else torch.get_num_threads()):
            found = minimize(
                _objective(rows, wanted, decay, shape),
                begin,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": iterations, "gtol": 1e-5, "ftol": 1e-9},
            )
        begin = found.x
        solution = coordinates.back(torch.from_numpy(found.x).view(shape).to(features.device))
        finite = all(bool(each.isfinite().all()) for each in (solution.weight, solution.bias))
        if not (np.isfinite(found.fun) and finite):
            raise Diverged("The classifier that L-BFGS came to is not finite.", fix=_BROKEN)
        yield solution, float(found.fun), int(found.nfev)


def _with_float64(features: Tensor) -> Tensor:
    """On the CPU where they lie on a device that has no float64."""
    return features.cpu() if features.device.type == "mps" else features


def _standardised(features: Tensor) -> tuple[_Coordinates, Tensor]:
    """The coordinates, and the features in them: (N, R) float32."""
    mean = features.mean(0, dtype=torch.float64).float()  # (D,)
    rows = features.float() - mean
    rows[:, features.amin(0) == features.amax(0)] = 0.0
    deviation = float(rows.square().mean(dtype=torch.float64).sqrt()) or 1.0
    if not np.isfinite(deviation):
        raise Diverged("A feature is not finite.", fix=_BROKEN)
    rows /= deviation
    if rows.shape[0] >= rows.shape[1]:
        return _Coordinates(mean.double(), deviation, None), rows
    basis, turned = torch.linalg.qr(rows.T)  # (D, N), (N, N)
    rows = turned.T.contiguous()
    # Centred rows span one axis fewer than they are; on the last one there is rounding only.
    lengths = rows.norm(dim=0)
    rows[:, lengths <= 1e-5 * lengths.amax()] = 0.0
    return _Coordinates(mean.double(), deviation, basis), rows


def _rows(targets: Tensor, classes: int, label_smoothing: float) -> Tensor:
    """Targets of both kinds -> (N, C) float32, smoothed as `F.cross_entropy` smooths them."""
    rows = F.one_hot(targets, classes).float() if targets.ndim == 1 else targets.float()
    return rows * (1 - label_smoothing) + label_smoothing / classes


def _weighed(rows: Tensor, class_weights: Tensor | None) -> Tensor:
    """(N, C) targets, each row times what its class counts."""
    return rows if class_weights is None else rows * (rows @ class_weights.to(rows.device, rows.dtype))[:, None]


def _objective(
    rows: Tensor, wanted: Tensor, decay: float, shape: tuple[int, ...]
) -> Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]:
    """Mean cross entropy + decay / 2 * |V|² and its gradient, of weights and bias (C * (R + 1)) float64.

    The two products with all rows, nearly all of the work, are float32.
    """
    mass = wanted.sum(1, keepdim=True)  # (N, 1)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        values = torch.from_numpy(flat).view(shape).to(rows.device)
        weight, bias = values[:, :-1], values[:, -1]
        logs = torch.addmm(bias.float(), rows, weight.float().T).log_softmax(1)  # (N, C)
        loss = -(wanted * logs).sum(dtype=torch.float64) / len(rows)
        slope = (logs.exp() * mass - wanted) / len(rows)  # (N, C)
        by_weight = (slope.T @ rows).double() + decay * weight
        gradient = torch.cat([by_weight, slope.sum(0, dtype=torch.float64)[:, None]], 1)
        total = loss + decay / 2 * weight.square().sum()
        return float(total), gradient.flatten().cpu().numpy()

    return objective


_BROKEN = "Look for broken values in the data or the weights."
