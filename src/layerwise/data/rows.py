"""What every way of finding images hands over, and the words they share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerwise.errors import DataError

PARTS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


@dataclass
class Rows:
    """Examples as columns of equal length, row = id.

    `names` are for people (always printable), `files` are real paths, with surrogates where a name is not UTF-8;
    `beside` are further columns of a table, by the name that was asked for.
    """

    root: Path | None = None
    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)  # class folders without an image
    arrays: NDArray[np.uint8] | None = None
    beside: dict[str, list[str | None]] = field(default_factory=dict)

    def add(self, file: str, *, label: str | None, part: str | None, problem: str | None = None) -> None:
        """Append one file."""
        self.files.append(file)
        self.names.append(relative_name(file, self.root))
        self.labels.append(label)
        self.parts.append(part)
        self.problems.append(problem)


def printable(text: str) -> str:
    r"""A name as text that can be printed and written as UTF-8: bytes that are not UTF-8 become `\xe9`.

    Example:
        >>> printable("caf\udce9.jpg")
        'caf\\xe9.jpg'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def relative_name(file: str, root: Path | None) -> str:
    """A path below `root` as relative POSIX text; another path as it is."""
    path = Path(file)
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    return printable(path.as_posix())


def part_of(word: str) -> str | None:
    """The part that a word such as "Validation" names: train, valid, test, or None.

    Example:
        >>> part_of("Val")
        'valid'
    """
    return PARTS.get(word.strip().casefold())


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in order: by number where all are whole numbers, else by text.

    Example:
        >>> sort_classes(["10", "2", "2"]), sort_classes(["b", "10"])
        (('2', '10'), ('10', 'b'))
    """
    distinct = set(labels)
    numbers = all(re.fullmatch(r"0|-?[1-9][0-9]*", label) for label in distinct)
    return tuple(sorted(distinct, key=int) if numbers else sorted(distinct))


def alike(classes: Sequence[str]) -> list[str]:
    """Notes on classes whose names differ only by case, by outer spaces, or by their Unicode form.

    Example:
        >>> alike(["Cat", "cat", "dog"])
        ['The classes "Cat", "cat" differ only by case, spaces or Unicode form; they are kept apart.']
    """
    return [
        f"The classes {', '.join(quoted(name) for name in names)} differ only by case, spaces or Unicode form; "
        "they are kept apart."
        for names in alike_names(classes)
    ]


def alike_names(classes: Sequence[str]) -> list[list[str]]:
    """Classes whose names differ only by case, by outer spaces, or by their Unicode form, together.

    Example:
        >>> alike_names(["Cat", "cat ", "dog"])
        [['Cat', 'cat ']]
    """
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(unicodedata.normalize("NFC", name.strip().casefold()), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def quoted(name: str) -> str:
    """A quoted name; a decomposed one with its code points, as it would look the same."""
    return f'"{name}"' if unicodedata.is_normalized("NFC", name) else f'"{name}" (decomposed: {name!a})'


def counted(reasons: Iterable[Any], most: int = 5) -> str:
    """Reasons with their counts, most frequent first: `3 x "the file is empty", 1 x "not an image"`.

    Example:
        >>> counted(["a", "b", "a"])
        '2 x "a", 1 x "b"'
    """
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[str(reason)] = counts.get(str(reason), 0) + 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f'{count} x "{reason}"' for reason, count in ranked[:most])
    return shown + (f" and {len(ranked) - most} other reasons" if len(ranked) > most else "")


def require_columns(asked: Mapping[str, str], found: Iterable[str]) -> None:
    """Stop where a column decides on the parts and the data are no table.

    Args:
        asked: "group" and "time" -> column, as in split.group and split.time.
        found: which of them the data have.

    Raises:
        DataError: one is missing.
    """
    for name in sorted(set(asked) - set(found)):
        raise DataError(
            f"split.{name}={asked[name]} names a column, and the data are no table.",
            expected="a table (.csv .tsv .parquet .jsonl or a frame) with that column",
            fix="Of image files, split.group=burst keeps runs of frames together." if name == "group" else "",
        )


def require_usable(problems: Iterable[str | None], where: str) -> None:
    """Stop where not one example is left.

    Raises:
        DataError: with the counts of problems by reason.
    """
    reasons = list(problems)
    if reasons and None not in reasons:
        raise DataError(
            f"None of the {len(reasons):,} images in {where} can be used: {counted(reasons)}.",
            expected="JPEG, PNG, WebP, BMP, TIFF or GIF images",
        )


def untrained(classes: Iterable[str], trained: Iterable[str | None], what: str) -> list[str]:
    """Notes on classes that training never sees; `what` people call one example.

    Example:
        >>> untrained(["cat", "dog"], ["cat"], "image")
        ['The class "dog" has no image in train: it can never be predicted.']
    """
    seen = set(trained)
    return [
        f'The class "{name}" has no {what} in train: it can never be predicted.' for name in classes if name not in seen
    ]
