"""Labels that may be wrong: confident learning, on probabilities that no example had a part in.

C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70 (2021), arXiv
1911.00068. n examples, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspects:
    """Every example with a score, and which of them are suspect.

    Args:
        scores: (n,) 0 to 1: the label's probability beside the greatest other one; 0.5 where they are equal, and the
            lower, the worse the label fits.
        suggested: (n,) int64, the most probable class other than the label.
        suspect: (n,) bool: another class is confidently present, and the label is not the likeliest.
    """

    scores: NDArray[np.float64]
    suggested: NDArray[np.int64]
    suspect: NDArray[np.bool_]

    def ranked(self) -> NDArray[np.int64]:
        """Rows of the suspects, the worst first."""
        rows = np.flatnonzero(self.suspect)
        return rows[np.argsort(self.scores[rows], kind="stable")]


def find_suspects(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Suspects:
    """Compare labels with out-of-fold probabilities.

    A class is confidently present in an example if its probability reaches the mean that it has among the examples
    labelled so: thus a class that the model is never sure of needs less. Suspect is an example in which a class other
    than its label is confidently present, and likelier than the label. They are ordered by normalised margin.

    Args:
        probabilities: (n, k) of a model that did not learn from the row's own example; rows sum to 1, k at least 2.
        labels: (n,) 0 to k - 1.

    Example:
        >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
        >>> found = find_suspects(sure, np.array([0, 0, 1, 1, 1]))
        >>> found.ranked().tolist(), found.suggested[4].item()
        ([4], 0)
    """
    count, classes = probabilities.shape
    assert classes >= 2 and labels.shape == (count,), "probabilities are (n, k) of two classes or more"
    rows = np.arange(count)
    own = probabilities[rows, labels]
    sizes = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    thresholds = np.where(sizes > 0, sums / np.maximum(1, sizes), np.inf)  # a class that no example has is in none
    others = probabilities.astype(np.float64, copy=True)
    others[rows, labels] = -1.0
    suggested = others.argmax(1)
    best = others[rows, suggested]
    return Suspects(
        scores=(own - best + 1) / 2,
        suggested=suggested,
        suspect=(best >= thresholds[suggested]) & (best > own),
    )
