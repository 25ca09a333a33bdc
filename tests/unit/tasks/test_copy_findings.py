"""Copies are a leak across parts, a conflict across labels, else a doubt; likeness is never passed on."""

from __future__ import annotations

import polars as pl

from layerwise.data.copies import equal, stars
from layerwise.tasks.copy_findings import Copies, of_groups, of_pairs

COPIES = Copies("copies", "texts", "to the letter", "val")


def table_of(labels: str, parts: str) -> pl.DataFrame:
    """A letter a row; t is train, v is valid, h is held out, - is none."""
    words = {"t": "train", "v": "valid", "h": "test", "-": None}
    return pl.DataFrame(
        {
            "path": [f"row {n}" for n in range(len(labels))],
            "label": [None if each == "-" else each for each in labels],
            "split": [words[each] for each in parts],
        },
        schema={"path": pl.String, "label": pl.String, "split": pl.String},
    )


def found(labels: str, parts: str, groups: tuple[tuple[int, ...], ...]) -> dict[str, tuple[int, ...]]:
    return {each.kind: each.exclude for each in of_groups(table_of(labels, parts), groups, COPIES)}


def test_copies_of_one_label_and_part_leave_the_first() -> None:
    assert found("aaab", "----", ((0, 1, 2),)) == {"copies": (1, 2)}


def test_copies_across_labels_are_all_left_out() -> None:
    assert found("abaa", "----", ((0, 1), (2, 3))) == {"copies-across-labels": (0, 1), "copies": (3,)}


def test_a_row_without_a_label_conflicts_with_none() -> None:
    assert found("a-", "--", ((0, 1),)) == {"copies": (1,)}


def test_copies_across_parts_leave_out_those_that_are_not_reported_on() -> None:
    assert found("aaa", "ttv", ((0, 1, 2),)) == {"copies-across-parts": (0, 1)}
    assert found("aaa", "tvh", ((0, 1, 2),)) == {"copies-across-parts": (0, 1)}


def test_the_held_out_part_has_the_users_name_and_the_example_names_both_sides() -> None:
    message = of_groups(table_of("aa", "th"), ((0, 1),), COPIES)[0].message
    assert "row 0 (train) and row 1 (val)" in message


def test_a_conflict_across_parts_is_both() -> None:
    assert found("ab", "th", ((0, 1),)) == {"copies-across-labels": (0, 1), "copies-across-parts": (0,)}


def test_every_leaking_pair_is_told_whatever_lies_between() -> None:
    table = table_of("aaaa", "thth")
    pairs = [(0, 1), (1, 2), (2, 3)]  # 0 and 2 are of train; 1 is near to both
    leak = of_pairs(table, pairs, COPIES)[0]
    assert leak.kind == "copies-across-parts"
    assert leak.groups == ((0, 2, 1), (2, 3)) and leak.exclude == (0, 2)


def test_pairs_of_one_part_are_not_chained() -> None:
    table = table_of("aaa", "---")
    assert of_pairs(table, [(0, 1), (1, 2)], COPIES)[0].groups == ((0, 1),)


def test_conflicting_pairs_name_all_their_rows() -> None:
    table = table_of("abb", "---")
    found = {each.kind: each for each in of_pairs(table, [(0, 1), (0, 2), (1, 2)], COPIES)}
    assert found["copies-across-labels"].exclude == (0, 1, 2)
    assert found["copies"].groups == ((1, 2),)


def test_equal_passes_over_rows_without_a_key() -> None:
    assert equal([None, "a", None, "a", "b"]) == ((1, 3),)


def test_stars_take_each_row_once() -> None:
    assert stars([(4, 1), (1, 2), (2, 3), (5, 6)]) == ((1, 2, 4), (5, 6))
