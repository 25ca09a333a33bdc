"""What is left out, what is kept together, and what is split by time, in whole runs of every kind of task."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from layerwise import api
from layerwise.console import Silent
from layerwise.data.split import ImageSplitRecipe, SplitRecipe
from layerwise.errors import DataError, TrainingError
from layerwise.tasks import forecast_data, image_data, sequence_data, text_data
from layerwise.tasks.generator_data import GeneratorDataRecipe
from layerwise.tasks.generator_data import read as read_generator
from layerwise_tests import images, texts
from layerwise_tests.runs import fingerprint, stop_after

RECIPE: dict[str, Any] = {"model": "cnn-28", "epochs": 2, "batch_size": 16, "save_seconds": 0.0, "device": "cpu"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return images.folder(tmp_path / "photos", count=16, side=28)


def write_list(file: Path, *paths: str) -> Path:
    pl.DataFrame({"path": paths, "reason": ["blurred"] * len(paths)}).write_csv(file)
    return file


def examples(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "examples.parquet")


def test_a_list_is_honoured_and_the_run_resumes_from_any_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(tmp_path / "list.csv", "disc/000.png", "square/003.png")
    monkeypatch.chdir(tmp_path)
    recipe = RECIPE | {"data": {"exclude": "list.csv"}}
    api.run_training("photos", recipe, None, tmp_path / "straight", Silent())
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(TrainingError):
            api.run_training("photos", recipe, None, tmp_path / "run", Silent())
    written = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert written["data"]["exclude"] == str(tmp_path / "list.csv")
    monkeypatch.chdir(os.sep)
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "straight")
    left = examples(tmp_path / "run").filter(pl.col("problem").is_not_null())
    assert left["path"].to_list() == ["disc/000.png", "square/003.png"]
    assert set(left["problem"]) == {"left out: blurred (data.exclude)"} and left["split"].null_count() == 2


def test_a_list_that_fits_no_more_stops_a_run_before_it_begins(photos: Path, tmp_path: Path) -> None:
    table = examples(api.run_training(str(photos), RECIPE, None, tmp_path / "whole", Silent()).path)
    table.head(2).select("path", "hash").write_csv(tmp_path / "list.csv")
    recipe = RECIPE | {"data": {"exclude": str(tmp_path / "list.csv")}}
    image_data.read(str(photos), recipe, Silent())
    (photos / "disc" / "001.png").write_bytes((photos / "disc" / "005.png").read_bytes())
    with pytest.raises(DataError, match=re.escape("not what they were when it was written (disc/001.png)")):
        api.run_training(str(photos), recipe, None, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_a_class_that_is_left_out_whole_is_no_class(photos: Path, tmp_path: Path) -> None:
    file = write_list(tmp_path / "list.csv", *[f"disc/{n:03}.png" for n in range(16)])
    found = image_data.read(str(photos), RECIPE | {"data": {"exclude": str(file)}}, Silent())
    assert found.classes == ("square", "stripes") and not any("cannot be read" in note for note in found.notes)
    assert f"16 images are left out by {file} (data.exclude)." in found.notes


def test_texts_series_and_images_of_generators_are_left_out_too(photos: Path, tmp_path: Path) -> None:
    words, labels = texts.film_reviews(60)
    pl.DataFrame({"text": words, "label": labels}).write_csv(tmp_path / "films.csv")
    file = write_list(tmp_path / "texts.csv", "films.csv:2", "films.csv:9")
    found = text_data.read(str(tmp_path / "films.csv"), {"data": {"exclude": str(file)}}, Silent())
    assert found.examples.filter(pl.col("split").is_null())["path"].to_list() == ["films.csv:2", "films.csv:9"]

    waves = np.random.default_rng(0).normal(size=(40, 12))
    file = write_list(tmp_path / "series.csv", "x[3]")
    series = sequence_data.read((waves, [0, 1] * 20), {"data": {"exclude": str(file)}}, custom=False)
    assert series.examples["split"].null_count() == 1 and series.examples["problem"][3] is not None

    file = write_list(tmp_path / "images.csv", "disc/002.png")
    recipe = GeneratorDataRecipe(size=16, exclude=str(file))
    made = read_generator(str(photos), recipe, ImageSplitRecipe(), seed=0, conditional=False, show=Silent())
    assert made.examples.filter(pl.col("split").is_null())["path"].to_list() == ["disc/002.png"]


def test_a_series_that_is_left_out_is_not_forecast(tmp_path: Path) -> None:
    rows = [
        (name, step, float(step % 4) + shift)
        for shift, name in enumerate(("north", "south", "west"))
        for step in range(40)
    ]
    pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row").write_csv(tmp_path / "sales.csv")
    file = write_list(tmp_path / "list.csv", "south")
    values = {"horizon": 4, "data": {"exclude": str(file)}}
    found = forecast_data.read(str(tmp_path / "sales.csv"), values, Silent())
    assert found.panel.ids == ("north", "west") and len(found.values) == 2
    assert found.examples["path"].to_list() == ["north", "west", "south"]
    assert found.examples["problem"].to_list() == [None, None, "left out: blurred (data.exclude)"]
    assert f"1 series is left out by {file} (data.exclude)." in found.notes
    write_list(file, "north", "south", "west")
    with pytest.raises(DataError, match="leaves out all 3 series"):
        forecast_data.read(str(tmp_path / "sales.csv"), values, Silent())


def grouped(found: pl.DataFrame) -> bool:
    whole = found.filter(pl.col("split").is_not_null()).group_by("group").agg(pl.col("split").n_unique())
    return bool((whole["split"] == 1).all()) and found["split"].n_unique() == 3


def test_groups_of_a_table_of_images(photos: Path, tmp_path: Path) -> None:
    names = [f"photos/{kind}/{n:03}.png" for kind in images.KINDS for n in range(16)]
    frame = pl.DataFrame({"image": names, "label": [name.split("/")[1] for name in names]})
    frame = frame.with_columns(patient=pl.Series([n % 16 // 3 for n in range(48)]), day=pl.int_range(48))
    frame.write_csv(tmp_path / "table.csv")
    found = image_data.read(str(tmp_path / "table.csv"), RECIPE | {"split": {"group": "patient"}}, Silent())
    assert grouped(found.examples) and any("split.group=patient" in note for note in found.notes)
    late = image_data.read(str(tmp_path / "table.csv"), RECIPE | {"split": {"time": "day", "test": 0.2}}, Silent())
    assert late.examples.filter(pl.col("split") == "test")["time"].cast(int).min() == 38
    with pytest.raises(DataError, match='no column "patiens". Did you mean "patient"'):
        image_data.read(str(tmp_path / "table.csv"), RECIPE | {"split": {"group": "patiens"}}, Silent())
    for key in ("group", "time"):
        with pytest.raises(DataError, match=f"split.{key}=day names a column, and the data are no table"):
            image_data.read(str(photos), RECIPE | {"split": {key: "day"}}, Silent())


def test_groups_and_times_of_texts(tmp_path: Path) -> None:
    words, labels = texts.film_reviews(80)
    frame = pl.DataFrame({"text": words, "label": labels}).with_columns(
        author=pl.Series([f"author {n % 80 // 4}" for n in range(len(words))]),
        day=pl.Series([f"2021-03-{1 + n % 28:02}" for n in range(len(words))]),
    )
    frame.write_csv(tmp_path / "films.csv")
    found = text_data.read(str(tmp_path / "films.csv"), {"split": {"group": "author"}}, Silent())
    assert grouped(found.examples)
    late = text_data.read(str(tmp_path / "films.csv"), {"split": {"time": "day"}}, Silent()).examples
    latest = [late.filter(pl.col("split") == part)["time"] for part in ("train", "valid", "test")]
    assert latest[0].max() < latest[1].min() and latest[1].max() < latest[2].min()
    with pytest.raises(DataError, match="data are no table"):
        text_data.read((words, labels), {"split": {"group": "author"}}, Silent())


def long_table(path: Path, *, torn: bool = False) -> Path:
    """60 series of 8 steps; `person` and `day` are numbers that must not be taken for values."""
    rows = [
        (
            series,
            step,
            series % 2 + 0.01 * series * step,
            "ab"[series % 2],
            series // 6 + (torn and series < 2 and step > 3),
            series + step,
        )
        for series in range(60)
        for step in range(8)
    ]
    columns = ["series", "step", "x", "label", "person", "day"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(path)
    return path


def test_groups_and_times_of_series(tmp_path: Path) -> None:
    data = str(long_table(tmp_path / "walk.csv"))
    values = {"split": {"group": "person", "valid": 0.2, "test": 0.2}}
    found = sequence_data.read(data, {**values, "data": {"target": "x"}}, custom=False)
    assert grouped(found.examples) and found.channels == 1
    guessed = sequence_data.read(data, {"split": {**values["split"], "time": "day"}}, custom=False)
    assert guessed.preprocess.columns["target"] == "x"  # neither the group nor the time
    assert guessed.examples["time"][0] == "7"  # the last one
    with pytest.raises(DataError, match="data are no table"):
        sequence_data.read((np.zeros((9, 4)), [0, 1, 2] * 3), values, custom=False)
    twofold = sequence_data.read(str(long_table(tmp_path / "torn.csv", torn=True)), values, custom=False)
    assert twofold.examples["problem"][0] == '"0" and "1" in "person"'


def copied(photos: Path) -> list[tuple[str, str]]:
    """Recompressed copies of a third of the images, beside them."""
    pairs = []
    for kind in images.KINDS:
        for n in range(0, 16, 3):
            Image.open(photos / kind / f"{n:03}.png").resize((40, 40)).save(photos / kind / f"copy-{n}.png")
            pairs.append((f"{kind}/{n:03}.png", f"{kind}/copy-{n}.png"))
    return pairs


def test_near_copies_are_kept_in_one_part_unless_that_is_switched_off(photos: Path) -> None:
    pairs = copied(photos)
    together = {True: 0, False: 0}
    for wanted in together:
        for seed in range(5):
            values = RECIPE | {"seed": seed, "split": {"near_copies": wanted, "test": 0.3, "valid": 0.2}}
            found = image_data.read(str(photos), values, Silent())
            part = dict(found.examples.select("path", "split").rows())
            together[wanted] += sum(part[one] == part[other] for one, other in pairs)
            assert any("near copies of one another" in note for note in found.notes) is wanted
            assert ("alike" in found.examples.columns) is wanted
    assert together[True] == 5 * len(pairs) > together[False]


def test_near_copies_in_given_parts_are_named(photos: Path, tmp_path: Path) -> None:
    pairs = copied(photos)
    data = tmp_path / "given"
    for place, path in enumerate(sorted(photos.rglob("*.png"))):
        name = path.relative_to(photos)
        part = "test" if name.name.startswith("copy") or place % 5 == 0 else "train"
        (data / part / name.parent).mkdir(parents=True, exist_ok=True)
        (data / part / name).write_bytes(path.read_bytes())
    found = image_data.read(str(data), RECIPE, Silent())
    leaked = next(note for note in found.notes if "near copies of images in train" in note)
    assert 0 < int(leaked.split()[0]) <= len(pairs) and "look better than they are" in leaked


def test_an_old_run_gets_its_own_parts_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its recipe knows nothing of near copies, and they were not kept together."""
    copied(photos)
    recipe = RECIPE | {"split": {"near_copies": False}}
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(TrainingError):
            api.run_training(str(photos), recipe, None, tmp_path / "run", Silent())
    file = tmp_path / "run" / "recipe.toml"
    file.write_text(file.read_text().replace("near_copies = false\n", ""))
    api.resume(tmp_path / "run", show=Silent())
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_frames_of_a_burst_are_kept_together(tmp_path: Path) -> None:
    for kind in images.KINDS:
        (tmp_path / "data" / kind).mkdir(parents=True)
        for film in range(8):
            scene = images.picture(kind, film, 64).astype(int)
            for frame in range(4):
                noise = np.random.default_rng([film, frame]).integers(-12, 13, scene.shape)
                still = Image.fromarray((scene + noise).clip(0, 255).astype(np.uint8))
                still.save(tmp_path / "data" / kind / f"film{film}_{frame:02}.png")
    values = RECIPE | {"split": {"group": "burst", "near_copies": False, "test": 0.25, "valid": 0.25}}
    found = image_data.read(str(tmp_path / "data"), values, Silent())
    assert found.examples["group"].null_count() == 0 and found.examples["group"].n_unique() == 24
    assert grouped(found.examples)
    with pytest.raises(DataError, match="goes by the names of files"):
        image_data.read(images.arrays(8, 28), values, Silent())


def test_keys_of_texts_have_no_near_copies() -> None:
    assert "near_copies" not in SplitRecipe.model_fields and "near_copies" in ImageSplitRecipe.model_fields
