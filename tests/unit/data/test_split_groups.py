"""Groups are never torn, folds cover everything once, times are never mixed."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

from layerwise.config import build
from layerwise.data.split import ImageSplitRecipe, SplitRecipe, split
from layerwise.data.split_groups import Unit, dealt, fold_of, moments, units
from layerwise.errors import DataError, RecipeError

SCHEMA = {"path": pl.String, "label": pl.String, "split": pl.String, "problem": pl.String, "hash": pl.String}


def content(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def table(*labels: tuple[str, int], **more: list[str | None]) -> pl.DataFrame:
    rows = [(f"{label}/{n}.png", label, None, None, content((label, n))) for label, size in labels for n in range(size)]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in more.items())


def mixed(size: int) -> pl.DataFrame:
    """Two labels that take turns."""
    frame = table(("a", size), ("b", size))
    return frame[[row // 2 + size * (row % 2) for row in range(2 * size)]]


def torn(found: pl.DataFrame, column: str) -> int:
    """Groups that are in two parts."""
    used = found.filter(pl.col(column).is_not_null() & pl.col("split").is_not_null())
    whole = used.group_by(column).agg(pl.col("split").n_unique())
    return whole.filter(pl.col("split") > 1).height


def share(found: pl.DataFrame, part: str) -> float:
    return found.filter(pl.col("split") == part).height / found.height


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_no_group_is_torn_and_shares_are_kept(size: int) -> None:
    groups = [f"patient {n // size}" for n in range(400)]
    found, notes = split(table(("a", 200), ("b", 200), group=groups), SplitRecipe(group="patient"), seed=1)
    assert torn(found, "group") == 0 and found["split"].null_count() == 0
    assert abs(share(found, "test") - 0.1) < 0.05 and abs(share(found, "valid") - 0.1) < 0.05
    assert f"{-(-400 // size)} groups of images by split.group=patient" in notes[0]


def test_a_group_of_every_example_alone_splits_as_no_groups_do() -> None:
    frame = table(("a", 60), ("b", 40))
    alone = frame.with_columns(group=pl.col("path"))
    one, other = (split(each, SplitRecipe(), seed=3)[0]["split"].to_list() for each in (frame, alone))
    assert one == other


def test_groups_are_told_by_content_and_not_by_name_or_order() -> None:
    frame = table(("a", 60), ("b", 60), group=[f"g{n // 5}" for n in range(120)])
    first, _ = split(frame, SplitRecipe(), seed=0)
    renamed = frame.with_columns(group=pl.lit("x") + pl.col("group")).reverse()
    second, _ = split(renamed, SplitRecipe(), seed=0)
    assert dict(first.select("hash", "split").rows()) == dict(second.select("hash", "split").rows())


def test_copies_near_copies_and_groups_join() -> None:
    frame = table(("a", 40), ("b", 40), group=[None] * 80, alike=[None] * 80)
    row = pl.int_range(pl.len())
    frame = frame.with_columns(
        hash=pl.when(row == 1).then(pl.lit(frame["hash"][0])).otherwise("hash"),  # 0 and 1 are one file
        alike=pl.when(row.is_in([1, 2])).then(pl.lit("k")),  # 1 and 2 look alike
        group=pl.when(row.is_in([2, 50])).then(pl.lit("p")),  # 2 and 50 are of one person
    )
    pool = frame.with_row_index("row")
    assert max(len(unit.rows) for unit in units(pool)) == 4
    for seed in range(20):
        found, _ = split(frame, SplitRecipe(valid=0.3, test=0.3, group="p"), seed=seed)
        assert found["split"].gather([0, 1, 2, 50]).n_unique() == 1


def test_a_group_larger_than_the_share_is_passed_over() -> None:
    some = [Unit("big", "a", tuple(range(90)), 90), *(Unit(str(n), "a", (100 + n,), 1) for n in range(10))]
    found = dealt(some, [("test", 0.1), ("valid", 0.0)])
    assert [unit.key for unit in found["test"]] == [str(n) for n in range(9)]
    assert [unit.key for unit in found["valid"]] == ["9"]
    two = dealt([Unit("x", "a", (0, 1, 2), 3), Unit("y", "a", (3, 4), 2)], [("test", 0.01)])
    assert [unit.key for unit in two["test"]] == ["y"]  # none fits: the smallest


def test_groups_without_a_value_stand_alone_and_are_counted() -> None:
    found, notes = split(table(("a", 20), ("b", 20), group=["p"] * 4 + [None] * 36), SplitRecipe(group="who"), seed=0)
    assert torn(found, "group") == 0 and "36 without one stand alone" in notes[0]


def test_groups_that_given_parts_share_are_noted_and_left() -> None:
    frame = table(("a", 20), ("b", 20), group=[f"g{n // 4}" for n in range(40)], alike=[None] * 39 + ["z"])
    row = pl.int_range(pl.len())
    frame = frame.with_columns(
        split=pl.when(row % 4 == 3).then(pl.lit("test")).otherwise(pl.lit("train")),
        alike=pl.when(row == 0).then(pl.lit("z")).otherwise("alike"),
    )
    found, notes = split(frame, SplitRecipe(valid=0, group="g"), seed=0)
    assert found["split"].equals(frame["split"])
    assert notes[0].startswith("1 images of the given test part are near copies of images in train (such as b/19.png)")
    assert notes[1].startswith("9 images of the given test part are of groups that train has too")


@pytest.mark.parametrize("size", [1, 6])
def test_folds_cover_everything_once(size: int) -> None:
    frame = table(("a", 97), ("b", 41), ("c", 12), group=[f"g{n // size}" for n in range(150)])
    frame = frame.with_columns(problem=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("empty")))
    counts = np.zeros(150, int)
    for fold in range(1, 6):
        found, _ = split(frame, SplitRecipe(folds=5, fold=fold), seed=2)
        counts += np.array([part == "test" for part in found["split"]])
        assert torn(found, "group") == 0
        assert {"train", "valid", "test"} <= set(found["split"])
        assert abs(found.filter(pl.col("split") == "test").height - 147 / 5) <= size
    assert counts[3:].tolist() == [1] * 147 and not counts[:3].any()


def test_folds_spread_every_label() -> None:
    for fold in range(1, 5):
        found, notes = split(table(("a", 40), ("b", 8), ("c", 2)), SplitRecipe(folds=4, fold=fold), seed=0)
        test = found.filter(pl.col("split") == "test")["label"].value_counts().rows()
        assert dict(test)["a"] == 10 and dict(test)["b"] == 2
        assert notes[0] == 'The label "c" has 2 distinct images: 2 of 4 folds report on none.'


def test_the_folds_of_a_seed_never_change() -> None:
    found = fold_of(units(table(("a", 30), ("b", 30)).with_row_index("row")), 3, seed=7)
    assert content(sorted(found.items())) == FOLDS
    assert fold_of(units(table(("a", 30), ("b", 30)).with_row_index("row")), 3, seed=8) != found


FOLDS = "4c0fdf808521a16a3cfe6e85563f5babf61a3378d8406ac95f1351258193d4c2"


def test_folds_beside_a_test_part_are_refused_and_beside_a_train_part_are_not() -> None:
    frame = table(("a", 20), ("b", 20)).with_columns(split=pl.lit("train"))
    assert split(frame, SplitRecipe(folds=2), seed=0)[0]["split"].value_counts().height == 3
    frame = frame.with_columns(split=pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("test")).otherwise("split"))
    with pytest.raises(DataError, match="split.folds is 2, and the data have a part of their own"):
        split(frame, SplitRecipe(folds=2), seed=0)


def test_folds_without_examples_are_refused() -> None:
    with pytest.raises(DataError, match="Fold 9 of 9 has no images"):
        split(table(("a", 3), ("b", 3)), SplitRecipe(folds=9, fold=9), seed=0)


@pytest.mark.parametrize(
    "values",
    [{"fold": 2}, {"folds": 3, "fold": 4}, {"folds": 3, "time": "day"}, {"folds": 1}, {"valid": 0.6, "test": 0.5}],
)
def test_recipes_that_mean_nothing_are_refused(values: dict[str, object]) -> None:
    for kind in (SplitRecipe, ImageSplitRecipe):
        with pytest.raises(RecipeError):
            build(kind, values)


def test_the_last_times_are_reported_on_and_those_before_them_choose() -> None:
    days = [f"2020-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(200)]
    order = np.random.default_rng(0).permutation(200).tolist()
    frame = table(("a", 100), ("b", 100), time=[days[n] for n in order])
    found, notes = split(frame, SplitRecipe(time="day"), seed=0)
    latest = {part: found.filter(pl.col("split") == part)["time"] for part in ("train", "valid", "test")}
    assert latest["train"].max() < latest["valid"].min() and latest["valid"].max() < latest["test"].min()
    assert [len(latest[part]) for part in ("train", "valid", "test")] == [160, 20, 20]
    assert notes == (
        f'The parts are by time ("day"): train before all others, valid from {days[160]} on, test from {days[180]} on.',
    )
    assert split(frame, SplitRecipe(time="day"), seed=9)[0].equals(found)


def test_ties_and_groups_are_whole_in_time() -> None:
    hours = [str(n // 30) for n in range(120)]  # four times
    frame = mixed(60).with_columns(time=pl.Series(hours))
    found, _ = split(frame, SplitRecipe(time="hour", valid=0.2, test=0.2), seed=0)
    assert found.group_by("time").agg(pl.col("split").n_unique())["split"].max() == 1
    assert found.filter(pl.col("split") == "test")["time"].unique().to_list() == ["3"]
    late = table(("a", 50), ("b", 50), time=[str(n) for n in range(100)], group=["p"] + [None] * 98 + ["p"])
    parts, _ = split(late, SplitRecipe(time="t", group="p"), seed=0)
    assert parts["split"][0] == parts["split"][99] == "test"  # as late as its latest


def test_a_missing_time_is_a_problem_of_its_row_and_few_times_are_refused() -> None:
    times: list[str | None] = [str(n) for n in range(40)]
    times[5] = None
    found, _ = split(mixed(20).with_columns(time=pl.Series(times)), SplitRecipe(time="t"), seed=0)
    assert found["problem"][5] == 'no time in "t"' and found["split"][5] is None
    with pytest.raises(DataError, match="split.time has 2 different times"):
        split(table(("a", 20), ("b", 20), time=["1", "2"] * 20), SplitRecipe(time="t"), seed=0)
    with pytest.raises(DataError, match="cannot be read"):
        split(table(("a", 20), ("b", 20), time=["soon", "late"] * 20), SplitRecipe(time="t"), seed=0)


def test_only_valid_is_carved_by_time_where_a_test_part_is_given() -> None:
    frame = table(("a", 40), ("b", 40), time=[str(n % 40) for n in range(80)])
    frame = frame.with_columns(split=pl.when(pl.int_range(pl.len()) % 8 == 0).then(pl.lit("test")).otherwise("split"))
    frame = frame.with_columns(split=pl.col("split").fill_null("train"))
    found, notes = split(frame, SplitRecipe(time="t"), seed=0)
    assert found.filter(frame["split"] == "test")["split"].unique().to_list() == ["test"]
    valid = found.filter(pl.col("split") == "valid")["time"].cast(int)
    assert valid.min() > found.filter(pl.col("split") == "train")["time"].cast(int).max()
    assert "valid from" in notes[0] and "test from" not in notes[0]


def test_times_may_be_numbers_or_dates() -> None:
    assert moments(pl.Series(["1.5", "0.25", None]))[0][:2].argsort().tolist() == [1, 0]
    numbers, known = moments(pl.Series(["2020-01-02T10:00", "2020-01-02T09:00"]))
    assert numbers.argsort().tolist() == [1, 0] and known.all()
    assert moments(pl.Series([3, 1, 2]))[0].argsort().tolist() == [1, 2, 0]
