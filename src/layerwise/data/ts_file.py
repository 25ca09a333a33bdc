"""The `.ts` files of the UCR and UEA archives (timeseriesclassification.com; M. Middlehurst et al., arXiv 2304.13029).

Comments begin with `#`, a header of `@` lines ends with `@data`, and then each line is one series: channels apart by
`:`, values apart by `,`, `?` where one is missing, and the class at the end where the header says `@classLabel true`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from layerwise.errors import DataError, nearest

_TAGS = frozenset(
    {"problemname", "timestamps", "missing", "univariate", "dimension", "dimensions", "equallength", "serieslength"}
    | {"classlabel", "targetlabel", "data"}
)
_EXPECTED = "a .ts file of the UCR and UEA archives: a header of @ lines, @data, then a series a line"
_LINES = re.compile(r"\r\n|\r|\n")  # not str.splitlines, to which more characters end a line than to an editor


@dataclass(frozen=True)
class TsHeader:
    """What a file says of its series.

    Args:
        dimensions: channels; none where it does not say.
        length: steps of every series; none where they differ or it does not say.
        classes: in the file's order; none where its lines bear no class.
        missing: whether values may be missing; none where it does not say.
    """

    dimensions: int | None = None
    length: int | None = None
    classes: tuple[str, ...] | None = None
    missing: bool | None = None


@dataclass(frozen=True)
class TsLine:
    """One series.

    Args:
        number: of its line, from 1.
        values: (T, C) float64, NaN where missing; none where it has a problem.
        label: its class; none where the file has none or it has a problem.
        problem: why it cannot be used.
    """

    number: int
    values: NDArray[np.float64] | None
    label: str | None
    problem: str | None = None


def read_ts(path: Path) -> tuple[TsHeader, list[TsLine]]:
    """Read a `.ts` file.

    Args:
        path: of the file; UTF-8, or where it is not, Latin-1.

    Returns:
        its header, and a line for each series: what cannot be read has a problem that says why.

    Raises:
        DataError: it cannot be read, its header is broken, or it has no series.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "steps.ts"
        >>> _ = path.write_text("@univariate true\\n@classLabel true up down\\n@data\\n1,2,?:up\\n3,2:down\\n")
        >>> [(line.values[:, 0].tolist(), line.label) for line in read_ts(path)[1]]
        [([1.0, 2.0, nan], 'up'), ([3.0, 2.0], 'down')]
    """
    lines = _LINES.split(_text(path))
    header, first = _header(path, lines)
    dimensions, found = header.dimensions, []
    for number, line in enumerate(lines[first:], start=first + 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        series = _series(number, text, header, dimensions)
        if dimensions is None and series.values is not None:  # the header does not say: the first series does
            dimensions = series.values.shape[1]
        found.append(series)
    if not found:
        raise DataError(f"{path} has no series behind its @data line.", expected=_EXPECTED)
    return header, found


def _text(path: Path) -> str:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise DataError(f"{path} is no regular file.", expected=_EXPECTED)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", expected=_EXPECTED) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _header(path: Path, lines: list[str]) -> tuple[TsHeader, int]:
    """The header, and the index of the first line behind it."""
    tags: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        tag = words[0][1:].casefold()
        if not words[0].startswith("@"):
            raise DataError(f'{path}, line {index + 1}: "{line[:40]}" stands before @data.', expected=_EXPECTED)
        if tag not in _TAGS:
            hint = nearest(tag, _TAGS)
            raise DataError(f'{path}, line {index + 1}: unknown header line "{words[0][:40]}".', fix=hint)
        tags[tag] = words[1:]
        if tag == "data":
            return _checked(path, tags), index + 1
    raise DataError(f"{path} has no @data line.", expected=_EXPECTED)


def _checked(path: Path, tags: dict[str, list[str]]) -> TsHeader:
    if _flag(path, tags, "timestamps"):
        raise DataError(
            f"{path} has a time for each value (@timeStamps true).",
            expected="values at equal steps",
            fix="Write them as a long table with a series, a time and value columns.",
        )
    if _flag(path, tags, "targetlabel"):
        raise DataError(f"{path} has numbers to predict (@targetLabel true).", expected="@classLabel true CLASS ...")
    univariate = _flag(path, tags, "univariate")
    dimensions = _count(path, tags, "dimensions") or _count(path, tags, "dimension") or (1 if univariate else None)
    if univariate and dimensions != 1:
        raise DataError(f"{path} says @univariate true and {dimensions} dimensions.", expected="one of the two")
    length = _count(path, tags, "serieslength") if _flag(path, tags, "equallength") is not False else None
    classes = tags.get("classlabel", ["false"])
    named = classes[:1] != [] and classes[0].casefold() == "true"
    if named and len(classes) < 2:
        raise DataError(f"{path} says @classLabel true and names no class.", expected="@classLabel true CLASS ...")
    return TsHeader(dimensions, length, tuple(classes[1:]) if named else None, _flag(path, tags, "missing"))


def _flag(path: Path, tags: dict[str, list[str]], tag: str) -> bool | None:
    """The first word of a header line as true or false; none where there is no such line."""
    if tag not in tags:
        return None
    word = " ".join(tags[tag][:1]).casefold()
    if word not in ("true", "false"):
        raise DataError(f'{path}: @{tag} is "{word}".', expected="true or false")
    return word == "true"


def _count(path: Path, tags: dict[str, list[str]], tag: str) -> int | None:
    word = " ".join(tags.get(tag, []))
    if tag not in tags or word == "0":  # some files write 0 for "it differs"
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", word):
        raise DataError(f'{path}: @{tag} is "{word}".', expected="a whole number")
    return int(word)


def _series(number: int, text: str, header: TsHeader, dimensions: int | None) -> TsLine:
    parts = [part.strip() for part in text.split(":")]
    label = parts.pop() if header.classes is not None else None
    problem = None
    if not parts:
        problem = "no values"
    elif label is not None and header.classes is not None and label not in header.classes:
        problem = f'the class "{label[:40]}" is not one of the header'
    elif dimensions is not None and len(parts) != dimensions:
        problem = f"{len(parts)} channels where {dimensions} are expected"
    if problem:
        return TsLine(number, None, None, problem)
    channels: list[NDArray[np.float64]] = []
    for place, part in enumerate(parts, start=1):
        values, wrong = _values(part)
        if wrong is not None:
            return TsLine(number, None, None, f'channel {place}: "{wrong[:40]}" is no number')
        channels.append(values)
    lengths = sorted({len(channel) for channel in channels})
    if len(lengths) > 1:
        problem = f"channels of {lengths[0]} to {lengths[-1]} steps"
    elif header.length is not None and lengths[0] != header.length:
        problem = f"{lengths[0]} steps where the header says {header.length}"
    if problem:
        return TsLine(number, None, None, problem)
    return TsLine(number, np.stack(channels, axis=1), label)  # (T, C)


def _values(text: str) -> tuple[NDArray[np.float64], str | None]:
    """(T,) values, or the first word that is no number."""
    values = []
    for word in text.split(","):
        try:
            values.append(float("nan" if word.strip() == "?" else word))
        except ValueError:
            return np.empty(0), word.strip()
    return np.array(values), None
