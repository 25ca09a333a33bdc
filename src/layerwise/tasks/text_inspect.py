"""What a set of texts holds, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from layerwise.console import Show
from layerwise.data import text_flaws
from layerwise.data.copies import equal
from layerwise.data.languages import languages
from layerwise.data.rows import quoted
from layerwise.data.text_copies import Words, count_words, near_pairs, normal_form
from layerwise.data.texts import TextSource, find_texts
from layerwise.tasks.copy_findings import Copies, of_groups, of_pairs
from layerwise.tasks.inspection import Finding, Inspection
from layerwise.tasks.job import Columns, check_columns
from layerwise.tasks.label_findings import (
    class_counts,
    gravest_first,
    label_findings,
    named,
    part_counts,
    singles,
    unusable,
)
from layerwise.tasks.text_recipe import TASK

_WHAT = "texts"
_LISTED = 0.01  # share of the texts above which a language is listed
_ODD = 0.05  # share of texts of one word up to which they are odd
_TELLS = 0.99  # of a class's texts hold a word, and of all others hold it not, where it tells the class by itself
_LEAST = 20  # texts of a class, below which a word is in all of them by chance
_STEPS = 4  # of the bar

Texts = tuple[np.ndarray, list[str]]  # ids (n,) of usable rows, and their texts


def inspect(data: Any, columns: Columns, show: Show) -> Inspection:
    """Look at texts and their labels; nothing is changed.

    Args:
        data: a path, a table or lists; see `find_texts`.
        columns: "text" and "label" of a table, where they cannot be guessed.
        show: tells a person how far it is.

    Raises:
        UsageError: a column is named that texts do not have.
        DataError: there is nothing there, or no text can be used.

    Example:
        >>> from layerwise.console import Silent
        >>> found = inspect((["a good film", "a bad film", "a good film"], ["yes", "no", "yes"]), {}, Silent())
        >>> [(each.kind, each.exclude) for each in found.findings if each.exclude]
        [('copies', (2,))]
    """
    check_columns(columns, ("text", "label"), TASK)
    source = find_texts(data, text=columns.get("text"), label=columns.get("label"))
    table = source.table
    usable = table.filter(pl.col("problem").is_null())
    texts = (usable["id"].to_numpy().astype(np.int64), usable["text"].to_list())
    with show.bar("looking at texts", _STEPS) as advance:
        found = unusable_texts(table) + label_findings(table, source.classes, _WHAT)
        advance(1)
        found += _copies(source, advance)
        found += _flaws(table, texts)
        spoken = languages(texts[1])
        found += _languages(table, texts, spoken)
        advance(1)
    all_texts = table["text"]
    return Inspection(
        task=TASK,
        what=_WHAT,
        table=table.drop("text"),
        classes=class_counts(table, source.classes),
        parts=part_counts(table, source.held_out),
        findings=gravest_first(found),
        notes=source.reading,
        facts=_facts(texts[1], spoken),
        thumbnail=lambda row: all_texts[row],
    )


def unusable_texts(table: pl.DataFrame) -> list[Finding]:
    """Rows without a text, and those that cannot be used for another reason."""
    empty = table.filter(pl.col("problem") == "no text")
    found = unusable(table.filter(pl.col("problem").is_null() | (pl.col("problem") != "no text")), _WHAT)
    if empty.height:
        message = (
            f"{empty.height:,} of {table.height:,} rows have no text, or only blanks (such as {empty['path'][0]}): "
            "they are left out. Fill them in where a text was lost."
        )
        found.insert(0, Finding("empty-texts", "doubt", message, singles(empty["id"])))
    return found


def _facts(texts: Sequence[str], spoken: Sequence[str | None]) -> dict[str, dict[str, float]]:
    counts = Counter(spoken)
    unsure = counts.pop(None, 0)
    told = max(1, sum(counts.values()))
    listed = {str(name): float(count) for name, count in counts.most_common() if count > _LISTED * told}
    rest = {"others": sum(counts.values()) - sum(listed.values()), "too short or unsure": float(unsure)}
    return {
        "words a text": text_flaws.percentiles(text_flaws.word_counts(texts)),
        "languages": listed | {name: count for name, count in rest.items() if count},
    }


def _copies(source: TextSource, advance: Callable[[int], None]) -> list[Finding]:
    """Copies to the letter, then of what is left one of each kind, label and part: by its words, and nearly."""
    table = source.table
    usable = table.filter(pl.col("problem").is_null())
    held = source.held_out
    exact = equal(table.select(pl.when(pl.col("problem").is_null()).then("hash")).to_series())
    found = of_groups(table, exact, Copies("copies", _WHAT, "to the letter", held))
    single = usable.unique(["hash", "split", "label"], keep="first", maintain_order=True)
    single = single.with_columns(form=pl.Series([normal_form(text) for text in single["text"]], dtype=pl.String))
    ids = single["id"].to_list()
    groups = [[ids[place] for place in group] for group in equal(single["form"])]
    hashes = table["hash"].to_list()
    alike = tuple(tuple(group) for group in groups if len({hashes[row] for row in group}) > 1)
    advance(1)
    found += of_groups(table, alike, Copies("loose-copies", _WHAT, "but for case, spaces or punctuation", held, True))
    rest = single.unique(["form", "split", "label"], keep="first", maintain_order=True)
    rest = rest.filter(pl.col("form").is_not_null())
    if rest.is_empty():
        return found
    words = count_words(rest["text"].to_list())
    forms, rows = rest["form"].to_list(), rest["id"].to_list()
    pairs = [(a, b) for a, b in near_pairs(words.counts).tolist() if forms[a] != forms[b]]
    near = [(rows[a], rows[b]) for a, b in pairs]
    advance(1)
    found += of_pairs(table, near, Copies("near-copies", _WHAT, "but for a few words", held, True))
    return found + _telling(table, rest, words)


def _telling(table: pl.DataFrame, rest: pl.DataFrame, words: Words) -> list[Finding]:
    """Words that give a class away: in all of its texts, and in no other."""
    labels = rest["label"].to_list()
    found = []
    shows = words.counts.copy()
    shows.data[:] = 1
    total = np.asarray(shows.sum(0)).ravel()  # (words,) texts
    for label in sorted(set(labels)):
        own = np.array([each == label for each in labels])
        if not _LEAST <= own.sum() <= len(labels) - _LEAST:
            continue
        inside = np.asarray(shows[own].sum(0)).ravel()
        telling = np.flatnonzero((inside >= _TELLS * own.sum()) & (inside >= _TELLS * total))
        if len(telling):
            best = telling[np.argsort(-inside[telling], kind="stable")]
            first = rest.filter(pl.Series(own))["id"][0]
            message = (
                f"{named([words.names[word] for word in best])} stands in {int(inside[best[0]]):,} of the "
                f"{int(own.sum()):,} distinct texts of {quoted(label)} (such as {table['path'][first]}), and in "
                f"{int(total[best[0]] - inside[best[0]]):,} of all others: the class can be told without reading on. "
                "If it came in with the label, take it out of the texts."
            )
            found.append(Finding("label-in-text", "doubt", message, ((first,),)))
    return found


def _flaws(table: pl.DataFrame, texts: Texts) -> list[Finding]:
    """Signs that were lost or garbled, left-overs of web pages, and texts of odd length."""
    ids, values = texts

    def those(kind: str, test: Callable[[str], bool], weight: Any, what: str, advice: str) -> list[Finding]:
        rows = ids[[test(value) for value in values]]
        return _rows(table, rows, kind, weight, what, advice)

    counts = text_flaws.word_counts(values)
    found = those(
        "lost-signs", text_flaws.has_lost, "doubt", "hold the replacement character U+FFFD",
        "an earlier program could not read the file; export them again as UTF-8",
    )  # fmt: skip
    found += those(
        "garbled", text_flaws.is_garbled, "doubt", 'hold UTF-8 that was read in another encoding, as in "CafÃ©"',
        "read the original file again as UTF-8",
    )  # fmt: skip
    found += those(
        "no-words", lambda text: not text_flaws.has_content(text), "note", "hold punctuation alone",
        "look whether words were lost",
    )  # fmt: skip
    found += _rows(
        table, ids[text_flaws.extremely_long(counts)], "extremely-long", "doubt",
        f"are far longer than the others (up to {counts.max():,} words; the median is {np.median(counts):,.0f})",
        "look whether rows were joined, for instance by a quote that was never closed",
    )  # fmt: skip
    found += those(
        "html", text_flaws.has_html, "note", "hold tags or entities of web pages",
        "a network learns them as words; take them out if new texts will have none",
    )  # fmt: skip
    single = ids[counts == 1]
    if len(single) <= _ODD * len(ids):
        found += _rows(table, single, "one-word", "note", "are a single word", "look whether the rest was lost")
    return found


def _rows(table: pl.DataFrame, rows: np.ndarray, kind: str, weight: Any, what: str, advice: str) -> list[Finding]:
    """A finding on single rows, or none."""
    if not len(rows):
        return []
    usable = table.height - table["problem"].count()
    shown = " ".join((table["text"][int(rows[0])] or "").split())
    cut = f"{shown[:60]}…" if len(shown) > 60 else shown
    message = f'{len(rows):,} of {usable:,} texts {what} (such as {table["path"][int(rows[0])]}, "{cut}"): {advice}.'
    return [Finding(kind, weight, message, singles(rows.tolist()))]


def _languages(table: pl.DataFrame, texts: Texts, spoken: Sequence[str | None]) -> list[Finding]:
    """Languages beside the main one."""
    counts = Counter(language for language in spoken if language is not None)
    told = sum(counts.values())
    listed = [(name, count) for name, count in counts.most_common() if count > _LISTED * told]
    if len(listed) < 2:
        return []
    main, most = listed[0]
    rows = {name: [int(row) for row, each in zip(texts[0], spoken, strict=True) if each == name] for name, _ in listed}
    shown = ", ".join(f"{name} {count / told:.1%} ({table['path'][rows[name][0]]})" for name, count in listed[1:6])
    message = (
        f"Of {told:,} texts long enough to tell, {most / told:.1%} are in one language ({main}) and others are in: "
        f"{shown}. Words of a rare language are hardly learnt; leave them out if new texts will be in one language."
    )
    return [Finding("languages", "note", message, tuple(tuple(rows[name]) for name, _ in listed[1:]))]
