"""Which column of a table holds the texts and which the labels: by name, or by content where that leaves no doubt."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from layerwise.data.delimited import Table
from layerwise.data.tables import asked_column, guesses, texts_of
from layerwise.errors import DataError

# Earlier names are surer: of `title` and `text`, the text is `text`.
TEXT_NAMES = (
    ("text", "texts"),
    ("sentence", "message", "review", "question", "comment", "content", "body", "tweet", "document", "utterance"),
    ("sentences", "messages", "reviews", "questions", "comments", "tweets", "documents", "sms", "email", "post"),
    ("review_text", "comment_text", "tweet_text", "reviewtext", "text_content", "title", "headline", "description"),
)
LABEL_NAMES = (
    ("label", "labels"),
    ("class", "target", "category", "sentiment", "spam", "intent", "topic"),
    ("classes", "targets", "categories", "polarity", "emotion", "y"),
)
_SAMPLE = 2000  # rows that are looked at


@dataclass(frozen=True)
class Columns:
    """The columns of texts and labels by name; `notes` say how they were found, where that was not plain."""

    text: str
    label: str | None
    notes: tuple[str, ...] = ()


def find_columns(table: Table, *, text: str | None, label: str | None, labelled: bool) -> Columns:
    """Choose the columns; names that are given must exist, others are guessed only where that is certain.

    A column is known by its name; else, where all but one are taken or nearly empty, by what it holds: texts are
    mostly distinct and several words long, labels are few and short.

    Args:
        table: of at least one row.
        text, label: names that the user gave, or None.
        labelled: False needs no labels; a column of them is then taken only by its name.

    Raises:
        DataError: a column is not there, or cannot be told.

    Example:
        >>> table = Table(pl.DataFrame({"class": ["a", "b"], "message": ["one text", "another text"]}))
        >>> found = find_columns(table, text=None, label=None, labelled=True)
        >>> found.text, found.label
        ('message', 'class')
    """
    frame = table.frame
    found_text = asked_column(frame, text) if text is not None else _by_name(frame, TEXT_NAMES, label)
    found_label = asked_column(frame, label) if label is not None else _by_name(frame, LABEL_NAMES, found_text)
    rest = _filled(frame, found_text, found_label)
    by_content = False
    if labelled and found_text is None and found_label is None:
        found_text, found_label = _both(frame, rest)
        by_content = found_text is not None
    elif found_text is None and len(rest) == 1 and (frame.width == 1 or _holds_texts(frame, rest[0])):
        found_text = rest[0]
    elif labelled and found_label is None and len(rest) == 1 and _holds_labels(frame, rest[0]):
        found_label, by_content = rest[0], True
    if found_text is None:
        raise _unknown(frame, "text", "texts", TEXT_NAMES)
    if labelled and found_label is None:
        raise _unknown(frame, "label", "labels", LABEL_NAMES)
    if found_text == found_label:
        raise DataError(f'The column "{found_text}" is named for both texts and labels.', expected="two columns")
    if by_content and found_label is not None:
        _require_head(frame, found_text, found_label)
    return Columns(found_text, found_label, _note(frame, found_text, found_label, text, label))


def _by_name(frame: pl.DataFrame, names: tuple[tuple[str, ...], ...], taken: str | None) -> str | None:
    for tier in names:
        found = [column for column in guesses(frame, tier) if column != taken]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _filled(frame: pl.DataFrame, *taken: str | None) -> list[str]:
    """The columns that are neither taken nor the split, and not nearly empty."""
    free = [column for column in frame.columns if column not in taken and column not in guesses(frame, ("split",))]
    return [column for column in free if frame[column].null_count() <= frame.height / 2]


def _both(frame: pl.DataFrame, columns: list[str]) -> tuple[str | None, str | None]:
    if len(columns) != 2:
        return None, None
    first, second = columns
    fits = [
        (text, label)
        for text, label in ((first, second), (second, first))
        if _holds_texts(frame, text) and _holds_labels(frame, label)
    ]
    return fits[0] if len(fits) == 1 else (None, None)


def _sample(frame: pl.DataFrame, column: str) -> list[str]:
    """Values that are not empty, spread over all rows."""
    some = frame.gather_every(max(1, frame.height // _SAMPLE))
    return [value for value in texts_of(some, column) if value and value.strip()]


def _holds_texts(frame: pl.DataFrame, column: str) -> bool:
    values = _sample(frame, column)
    words = sum(len(value.split()) for value in values)
    return len(values) > 0 and len(set(values)) >= len(values) / 2 and words >= 3 * len(values)


def _holds_labels(frame: pl.DataFrame, column: str) -> bool:
    values = _sample(frame, column)
    few = 2 <= len(set(values)) <= max(2, len(values) / 4)
    return few and max(map(len, values)) <= 60 and sum(len(value.split()) for value in values) <= 3 * len(values)


def _require_head(frame: pl.DataFrame, text: str, label: str) -> None:
    """Stop where what was taken for names of columns is a row."""
    if label in frame[label].cast(pl.String).unique().to_list() or len(text.split()) > 5:
        raise DataError(
            f'The table seems to have no names of columns: its first line holds "{label}" and "{text[:40]}".',
            expected="a first line with the names, such as text,label",
            fix="Put such a line in front.",
        )


def _unknown(frame: pl.DataFrame, flag: str, what: str, names: tuple[tuple[str, ...], ...]) -> DataError:
    columns = ", ".join(f'"{column[:60]}"' for column in frame.columns[:20])
    more = f" and {frame.width - 20} more" if frame.width > 20 else ""
    return DataError(
        f"No column surely holds the {what}; the table has {columns}{more}.",
        expected=f"one column called {', '.join(names[0][:1] + names[1][:4])} or the like",
        fix=f"Name it with --{flag} COLUMN ({flag}=... in Python).",
    )


def _note(
    frame: pl.DataFrame, text: str, label: str | None, asked_text: str | None, asked_label: str | None
) -> tuple[str, ...]:
    """What was guessed, where there was something to choose."""
    guessed = [
        f'"{column}" as the {what}'
        for column, asked, what in ((text, asked_text, "text"), (label, asked_label, "label"))
        if column is not None and asked is None
    ]
    others = [column for column in frame.columns if column not in (text, label, *guesses(frame, ("split",)))]
    known = (name for tier in (*TEXT_NAMES, *LABEL_NAMES) for name in tier)
    plain = not others and {text.casefold(), (label or text).casefold()} <= set(known)
    return () if not guessed or plain else (f"Columns were guessed: {' and '.join(guessed)}.",)
