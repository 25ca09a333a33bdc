"""Which near copies are believed, and that the search is done once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from layerwise.console import Silent
from layerwise.data.images import find_images
from layerwise.data.split import ImageSplitRecipe, SplitRecipe
from layerwise.tasks import image_parts
from layerwise.tasks.image_data import judged
from layerwise.tasks.image_parts import part_images

N = 100


def parts(groups: list[list[int]], monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """What comes of groups that a search might find among 100 images, two of them the same byte for byte."""
    x = np.random.default_rng(seed).integers(0, 255, (N, 16, 16, 3), dtype=np.uint8)
    x[99] = x[98]
    source = find_images((x, ["a", "b"] * (N // 2)))
    store = image_parts._small(source, Silent())
    monkeypatch.setattr(image_parts, "near_copies", lambda read, rows: groups)
    return part_images(judged(source, store), source, ImageSplitRecipe(), None, seed=0, show=Silent())


@pytest.mark.parametrize(
    ("groups", "believed"),
    [
        ([[0, 1], [4, 9, 12]], True),
        ([[2 * n, 2 * n + 1] for n in range(45)], True),  # copies of everything, as made beforehand by augmentation
        ([list(range(8))], True),  # a handful
        ([list(range(9))], False),  # more than 5 % of all
    ],
)
def test_groups_that_are_too_large_are_no_copies(
    groups: list[list[int]], believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, notes = parts(groups, monkeypatch, seed=sum(map(len, groups)))
    assert ("alike" in found.columns) is believed
    if believed:
        inside = found.filter(pl.col("alike").is_not_null())
        assert inside.height == sum(map(len, groups)) and inside["alike"].n_unique() == len(groups)
        assert inside.group_by("alike").agg(pl.col("split").n_unique())["split"].max() == 1
        assert f"{inside.height} images are near copies" in notes[0] and f"{len(groups)} group" in notes[0]
    else:
        assert notes[0].startswith("9 of 99 images look like others, up to 9 of them alike")


def test_copies_byte_for_byte_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    found, notes = parts([[98, 99]], monkeypatch, seed=1000)
    assert "alike" not in found.columns and not any("near copies" in note for note in notes)


def test_the_search_is_done_once_for_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = parts([[3, 7]], monkeypatch, seed=2000)
    again, _ = parts([[1, 2]], monkeypatch, seed=2000)  # not asked
    assert again.equals(first) and first["alike"][3] == first["alike"][7] is not None
    other, _ = parts([[1, 2]], monkeypatch, seed=2001)
    assert other["alike"][1] is not None and other["alike"][3] is None


def test_a_damaged_entry_is_searched_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    first, _ = parts([[3, 7]], monkeypatch, seed=3000)
    file = next((tmp_path / "alike").rglob("groups.json"))
    for broken in ("", "[[0, 500]]", "{}", "[[1.5]]"):
        file.write_text(broken)
        assert parts([[3, 7]], monkeypatch, seed=3000)[0].equals(first), broken


def test_a_cache_that_cannot_be_written_costs_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "file"))
    assert "alike" in parts([[3, 7]], monkeypatch, seed=3500)[0].columns


def test_many_images_are_told_apart_by_their_bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_parts, "_MOST", 50)
    found, notes = parts([[3, 7]], monkeypatch, seed=4000)
    assert "alike" not in found.columns and "among 50 images at most, and 100 came" in notes[0]


def test_all_networks_are_judged_on_the_same_images(tmp_path: Path) -> None:
    """Likeness is told from pictures of one size: what a network sees has no say."""
    from layerwise.tasks import image_data
    from layerwise_tests import images

    photos = images.folder(tmp_path / "photos", count=8, side=40)
    read = [
        image_data.read(str(photos), {"model": "cnn-28", "data": {"size": size}}, Silent()).examples
        for size in (16, 32)
    ]
    assert read[0].equals(read[1])


def test_texts_and_series_have_no_near_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_images((np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None], list("abab")))
    table = judged(source, image_parts._small(source, Silent()))
    monkeypatch.setattr(image_parts, "near_copies", lambda read, rows: pytest.fail("it was searched"))
    part_images(table, source, SplitRecipe(valid=0, test=0), None, seed=0, show=Silent())
