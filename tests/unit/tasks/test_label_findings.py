"""What `inspect` says of labels: every planted fault is named, and sound labels give nothing."""

from __future__ import annotations

from typing import Any

import polars as pl

from layerwise.tasks.label_findings import gravest_first, label_findings, part_counts, unusable

SCHEMA = {
    "id": pl.UInt32, "path": pl.String, "label": pl.String, "split": pl.String, "hash": pl.String, "problem": pl.String,
}  # fmt: skip


def table_of(*counts: tuple[str, int] | tuple[str, int, str]) -> pl.DataFrame:
    """So many examples of a label, and of a part where one is given."""
    rows: list[tuple[Any, ...]] = []
    for label, count, *part in counts:
        for _ in range(count):
            n = len(rows)
            rows.append((n, f"{n}.txt", label, part[0] if part else None, f"h{n}", None))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def kinds(table: pl.DataFrame, classes: list[str] | None = None) -> dict[str, str]:
    names = classes if classes is not None else table["label"].unique().sort().to_list()
    return {each.kind: each.weight for each in label_findings(table, names, "texts")}


def test_sound_labels_give_no_finding() -> None:
    assert kinds(table_of(("cat", 20), ("dog", 30))) == {}
    parted = table_of(("cat", 20, "train"), ("dog", 20, "train"), ("cat", 5, "test"), ("dog", 5, "test"))
    assert kinds(parted) == {}


def test_a_single_class_is_wrong() -> None:
    assert kinds(table_of(("cat", 20))) == {"one-class": "wrong"}


def test_a_train_part_of_one_class_is_wrong() -> None:
    found = kinds(table_of(("cat", 20, "train"), ("dog", 20, "test")))
    assert found["one-class"] == "wrong"


def test_a_class_without_examples_is_wrong_and_named() -> None:
    found = label_findings(table_of(("cat", 20), ("dog", 20)), ["bird", "cat", "dog"], "texts")
    assert [each.kind for each in found] == ["empty-class"]
    assert '"bird"' in found[0].message


def test_a_label_only_in_test_is_wrong_and_its_rows_can_be_left_out() -> None:
    table = table_of(("cat", 20, "train"), ("dog", 20, "train"), ("cat", 3, "test"), ("dog", 3, "test"))
    table = pl.concat([table, table_of(("cow", 2, "test")).with_columns(id=pl.lit(None, pl.UInt32))])
    table = table.with_columns(id=pl.int_range(pl.len(), dtype=pl.UInt32))
    found = {each.kind: each for each in label_findings(table, ["cat", "cow", "dog"], "texts")}
    assert found["label-only-held-out"].weight == "wrong"
    assert found["label-only-held-out"].exclude == (46, 47)


def test_a_label_that_the_reported_part_lacks_is_a_note() -> None:
    table = table_of(("cat", 20, "train"), ("dog", 20, "train"), ("cat", 5, "test"))
    assert kinds(table) == {"label-not-held-out": "note"}


def test_names_that_differ_by_case_space_or_unicode_form_are_told() -> None:
    for one, other in (("cat", "Cat"), ("cat", "cat "), ("caf\u00e9", "cafe\u0301")):
        found = label_findings(table_of((one, 20), (other, 20)), [one, other], "texts")
        assert [(each.kind, each.weight, each.groups) for each in found] == [("labels-alike", "doubt", ((0, 20),))]


def test_tiny_classes_are_counted_by_distinct_examples() -> None:
    table = table_of(("cat", 20), ("dog", 20)).with_columns(
        hash=pl.when(pl.col("label") == "dog").then(pl.lit("same")).otherwise("hash")
    )
    found = {each.kind: each for each in label_findings(table, ["cat", "dog"], "texts")}
    assert '"dog" (1)' in found["tiny-class"].message
    assert len(found["tiny-class"].groups[0]) == 20


def test_imbalance_above_three_to_one_names_the_switch() -> None:
    assert kinds(table_of(("cat", 60), ("dog", 20))) == {}
    found = label_findings(table_of(("cat", 61), ("dog", 20)), ["cat", "dog"], "texts")
    assert [each.kind for each in found] == ["imbalance"]
    assert "balance=true" in found[0].message


def test_rows_that_cannot_be_used_come_with_their_reasons() -> None:
    table = table_of(("cat", 3)).with_columns(problem=pl.Series([None, "no label", "no label"]))
    found = unusable(table, "texts")
    assert found[0].groups == ((1,), (2,)) and '2 x "no label"' in found[0].message
    assert unusable(table.head(1), "texts") == []


def test_parts_bear_the_users_name_of_the_held_out_part() -> None:
    assert part_counts(table_of(("a", 2, "train"), ("b", 1, "test")), "val") == {"train": 2, "val": 1}


def test_the_gravest_comes_first() -> None:
    found = label_findings(table_of(("cat", 61), ("dog", 20), ("Dog", 5)), ["cat", "dog", "Dog", "none"], "texts")
    weights = [each.weight for each in gravest_first(found)]
    assert weights == sorted(weights, key=("wrong", "doubt", "note").index) and len(set(weights)) == 3
