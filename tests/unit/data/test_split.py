"""The split follows from seed, labels and contents alone; given parts win; copies stay together."""

from __future__ import annotations

import hashlib

import polars as pl
import pydantic
import pytest

from layerwise.data.split import SplitRecipe, split
from layerwise.errors import DataError

SCHEMA = {"path": pl.String, "label": pl.String, "split": pl.String, "problem": pl.String, "hash": pl.String}


def content(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def table(*groups: tuple[str, int], given: str | None = None) -> pl.DataFrame:
    rows = [
        (f"{label}/{n}.png", label, given, None, content((label, n))) for label, size in groups for n in range(size)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def counts(frame: pl.DataFrame) -> dict[tuple[str, str], int]:
    return {(label, part): n for label, part, n in frame.group_by("label", "split").len().rows()}


def places(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.select("hash", "split").rows())


def test_every_label_is_split_80_10_10() -> None:
    found, notes = split(table(("a", 100), ("b", 40)), SplitRecipe(), seed=0)
    assert counts(found) == {
        ("a", "train"): 80,
        ("a", "valid"): 10,
        ("a", "test"): 10,
        ("b", "train"): 32,
        ("b", "valid"): 4,
        ("b", "test"): 4,
    }
    assert notes == () and found.columns == list(SCHEMA)


def test_the_split_of_a_seed_never_changes() -> None:
    found, _ = split(table(("a", 30), ("b", 30)), SplitRecipe(), seed=7)
    assert content("".join(found["split"])) == GOLDEN


GOLDEN = "3483af7723a97f3bc7b27fe37355cbf4f7190c02c205a0a12355f7e55905a6a1"


def test_the_parts_of_copies_and_few_labels_never_change() -> None:
    """What runs of earlier versions were given: their splits must come out again, bit for bit."""
    frame = table(("a", 57), ("b", 8), ("c", 2), ("d", 1))
    frame = pl.concat([frame, frame.head(20).with_columns(path=pl.lit("copy/") + pl.col("path"))])
    found, _ = split(frame, SplitRecipe(valid=0.15, test=0.2), seed=3)
    assert content("".join(found["split"])) == GOLDEN_OF_COPIES


GOLDEN_OF_COPIES = "daf67882dd8b70bfbf2d5ea3f2019eca99e805fbb65bdce2ecb1d3d4c727f3dd"


def test_another_order_and_other_names_change_nothing_and_another_seed_does() -> None:
    frame = table(("a", 50), ("b", 50))
    first, _ = split(frame, SplitRecipe(), seed=0)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=3).with_columns(path=pl.lit("x/") + pl.col("hash"))
    second, _ = split(shuffled, SplitRecipe(), seed=0)
    assert second["path"].to_list() == shuffled["path"].to_list()
    assert places(first) == places(second)
    assert places(first) != places(split(frame, SplitRecipe(), seed=1)[0])


def test_copies_stay_on_one_side() -> None:
    frame = table(("a", 60), ("b", 60))
    copies = frame.head(40).with_columns(path=pl.lit("copy/") + pl.col("path"))
    found, notes = split(pl.concat([frame, copies]), SplitRecipe(valid=0.3, test=0.3), seed=0)
    assert found.group_by("hash").agg(pl.col("split").n_unique())["split"].max() == 1 and notes == ()
    assert found["split"].null_count() == 0


def test_copies_under_two_labels_are_noted_and_stay_together() -> None:
    frame = table(("a", 20), ("b", 20))
    wrong = frame.head(6).with_columns(label=pl.lit("b"), path=pl.lit("b/wrong-") + pl.col("path"))
    both = pl.concat([frame, wrong])
    found, notes = split(both, SplitRecipe(valid=0.3, test=0.3), seed=0)
    assert len(notes) == 1 and notes[0].startswith("6 images occur under more than one label")
    assert found.group_by("hash").agg(pl.col("split").n_unique())["split"].max() == 1
    assert places(split(both.reverse(), SplitRecipe(valid=0.3, test=0.3), seed=0)[0]) == places(found)


def test_given_parts_win_and_only_valid_is_carved_from_train() -> None:
    frame = pl.concat([table(("a", 40), ("b", 40), given="train"), table(("c", 5), ("d", 5), given="test")])
    found, _ = split(frame, SplitRecipe(), seed=0)
    assert found.filter(frame["split"] == "test")["split"].unique().to_list() == ["test"]
    assert found["split"].value_counts().sort("split").rows() == [("test", 10), ("train", 72), ("valid", 8)]
    whole = pl.concat([frame, table(("e", 5), given="valid")])
    assert split(whole, SplitRecipe(), seed=0)[0]["split"].equals(whole["split"])
    alone, _ = split(table(("a", 20), ("b", 20), given="train"), SplitRecipe(), seed=0)
    assert alone["split"].value_counts().sort("split").rows() == [("test", 4), ("train", 32), ("valid", 4)]


def test_given_parts_that_share_images_are_noted_and_left_alone() -> None:
    train = table(("a", 20), ("b", 20), given="train")
    frame = pl.concat([train, train.head(3).with_columns(split=pl.lit("test"), path=pl.lit("t/") + pl.col("path"))])
    found, notes = split(frame, SplitRecipe(valid=0), seed=0)
    assert found["split"].equals(frame["split"])
    assert notes[0].startswith("3 images of the given test part are also in train")


@pytest.mark.parametrize(("size", "want"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (9, (7, 1, 1)), (15, (11, 2, 2))])
def test_three_images_of_a_label_reach_every_part(size: int, want: tuple[int, int, int]) -> None:
    found = counts(split(table(("a", size), ("b", 50)), SplitRecipe(), seed=0)[0])
    assert tuple(found["a", part] for part in ("train", "valid", "test")) == want


def test_large_shares_leave_something_for_every_part() -> None:
    found = counts(split(table(("a", 5), ("b", 5)), SplitRecipe(valid=0.09, test=0.9), seed=0)[0])
    assert found["a", "train"] == 1 and found["a", "valid"] == 1 and found["a", "test"] == 3


def test_labels_with_few_images_are_noted() -> None:
    found, notes = split(table(("one", 1), ("two", 2), ("many", 20)), SplitRecipe(), seed=0)
    got = counts(found)
    assert got["one", "train"] == 1 and got["two", "train"] == 1 and got["two", "test"] == 1
    assert notes == (
        'The label "one" has 1 distinct image: none in test or valid.',
        'The label "two" has 2 distinct images: none in valid.',
    )


def test_rows_with_a_problem_are_in_no_part() -> None:
    frame = table(("a", 20), ("b", 20)).with_row_index("id")
    frame = frame.with_columns(problem=pl.when(pl.col("id") < 4).then(pl.lit("empty")), hash=pl.col("hash"))
    found, _ = split(frame, SplitRecipe(), seed=0)
    assert found["split"].null_count() == 4 and found["split"][:4].null_count() == 4
    given = frame.with_columns(split=pl.lit("train"))
    assert split(given, SplitRecipe(), seed=0)[0]["split"].null_count() == 4


def test_what_cannot_be_split_says_why() -> None:
    with pytest.raises(DataError, match='the label "a"'):
        split(table(("a", 20)), SplitRecipe(), seed=0)
    with pytest.raises(DataError, match="No label has two distinct images"):
        split(table(("a", 1), ("b", 1)), SplitRecipe(), seed=0)
    with pytest.raises(DataError, match="a train part"):
        split(table(("a", 5), ("b", 5), given="test"), SplitRecipe(), seed=0)
    one = pl.concat([table(("a", 20), given="train"), table(("a", 5), ("b", 5), given="test")])
    with pytest.raises(DataError, match='All images of the train part have the label "a"'):
        split(one, SplitRecipe(), seed=0)
    for shares in ({"valid": 0.5, "test": 0.5}, {"valid": -0.1}, {"test": 1.0}):
        with pytest.raises(pydantic.ValidationError):
            SplitRecipe(**shares)


def test_parts_that_are_not_wanted_are_not_made() -> None:
    found, notes = split(table(("a", 20), ("b", 1)), SplitRecipe(valid=0, test=0.2), seed=0)
    assert set(found["split"]) == {"train", "test"} and len(notes) == 1
    assert set(split(table(("a", 2), ("b", 2)), SplitRecipe(valid=0, test=0), seed=0)[0]["split"]) == {"train"}
