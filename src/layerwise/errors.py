"""Every error that layerwise raises on purpose.

    LayerwiseError                  exit code 1
    ├── UsageError                  exit code 2   the words of the call are wrong
    │   └── RecipeError                           an unknown key or an unusable value in a recipe
    ├── DataError                   exit code 2   the data cannot be used as it is
    │   └── BadImage                              one image cannot be read (listed, training goes on)
    ├── WeightsError                              pretrained weights cannot be reached or are not what was promised
    ├── StoreError                                a run folder, checkpoint or model file cannot be written or trusted
    └── TrainingError                             training cannot go on
        └── Diverged                              a loss or gradient is not finite

Each message says what came, what was expected and how to mend it. An `assert` in this code base is about our own
mistakes, never about a user's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LayerwiseError(Exception):
    """Root of the tree.

    Args:
        came: what was found, in a sentence.
        expected: what would have been right.
        fix: what the reader can do now.

    Example:
        >>> str(DataError("The folder is empty.", expected="a folder per class", fix="Check the path."))
        'The folder is empty. Expected: a folder per class. Check the path.'
    """

    exit_code = 1

    def __init__(self, came: str, *, expected: str = "", fix: str = "") -> None:
        self.came, self.expected, self.fix = came, expected, fix
        wanted = f"Expected: {expected.rstrip('.')}." if expected else ""
        super().__init__(" ".join(part for part in (came, wanted, fix) if part))


class UsageError(LayerwiseError):
    """A call, flag or argument that cannot mean anything."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe with an unknown key or an unusable value."""


class DataError(LayerwiseError):
    """Data that cannot be used as it is."""

    exit_code = 2


class BadImage(DataError):
    """One image that cannot be read; its reason goes on the list of problems and training goes on."""


class WeightsError(LayerwiseError):
    """Pretrained weights that cannot be reached, or whose content is not the one that was promised."""


class StoreError(LayerwiseError):
    """A run folder, checkpoint or model file that cannot be written, or must not be trusted."""


class TrainingError(LayerwiseError):
    """Training that cannot go on."""


class Diverged(TrainingError):
    """A loss or a gradient that is not a finite number."""


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint that names the closest known word, or lists the known words when none is close.

    Example:
        >>> nearest("epoch", ["epochs", "seed"])
        'Did you mean "epochs"?'
    """
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(known)}."
