"""Damaged images among good ones: training goes on, every one is named, and no file of the user's is touched."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise.errors import DataError
from layerwise_tests import damage

RECIPE = {"model": "cnn-28", "data": {"size": 28}, "epochs": 1, "batch_size": 64, "device": "cpu"}


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.mark.slow
def test_300_damaged_among_2000_are_named_and_nothing_is_lost_or_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damaged = damage.folder(data, good=2000, each=15)
    before, show = damage.state(data), Listening()
    run = api.run_training(str(data), RECIPE, None, tmp_path / "run", show)
    examples = pl.read_parquet(run.path / "examples.parquet")
    bad = examples.filter(pl.col("problem").is_not_null())
    good = examples.filter(pl.col("problem").is_null())
    assert len(damaged) == 300 and set(bad["path"]) == damaged and min(bad["problem"].str.len_chars()) > 5
    assert bad["split"].null_count() == 300 and good["split"].null_count() == 0
    assert (good.height, good.height + bad.height) == (2000, examples.height)
    assert any("300 of 2300 images cannot be read" in line and "examples.parquet" in line for line in show.said)
    assert "300" in (run.path / "report.html").read_text()
    assert run.metrics["n"] == good.filter(pl.col("split") == "test").height >= 200
    # The user's own folder holds what it held, byte for byte, and nothing more.
    assert damage.state(data) == before
    tested = pl.read_csv(run.path / "predictions.csv")
    assert tested.height == run.metrics["n"] and not set(tested["path"]) & damaged


def test_the_trained_model_names_damaged_inputs_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damaged = damage.folder(data, good=60, each=1)
    model = api.run_training(str(data), RECIPE, None, tmp_path / "run", Silent()).model("cpu")
    table, show = model.predict(data), Listening()
    unread = table.filter(pl.col("problem").is_not_null())
    assert {Path(path).relative_to(data).as_posix() for path in unread["path"]} == damaged
    assert unread["predicted"].null_count() == unread["probability"].null_count() == len(damaged)
    assert table.filter(pl.col("problem").is_null())["predicted"].null_count() == 0
    assert model.evaluate(data, show=show)["n"] == 60
    assert any("20 of 80 images cannot be read" in line for line in show.said)


def test_names_that_are_no_utf8_are_predicted_and_printed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damage.folder(data, good=60, each=0)
    model = api.run_training(str(data), RECIPE, None, tmp_path / "run", Silent()).model("cpu")
    (tmp_path / "new").mkdir()
    with open(bytes(tmp_path / "new") + b"/caf\xe9.jpg", "wb") as file:
        file.write(damage.picture(0))
    table = model.predict(tmp_path / "new")
    assert table["path"].to_list() == [f"{tmp_path}/new/caf\\xe9.jpg"] and table["problem"].null_count() == 1


def test_frames_and_depths_that_were_left_out_are_told(tmp_path: Path) -> None:
    from PIL import Image

    data = tmp_path / "data"
    damage.folder(data, good=60, each=0)
    Image.new("I;16", (30, 30), 40_000).save(data / "class-0" / "deep.png")
    show = Listening()
    api.run_training(str(data), RECIPE, None, tmp_path / "run", show)
    assert any('1 images could not be taken as they are: 1 x "16-bit reduced to 8"' in line for line in show.said)


def test_a_folder_with_nothing_usable_is_an_error_of_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    damage.folder(data, good=0, each=1)
    before = damage.state(data)
    with pytest.raises(DataError, match="None of the 20 images"):
        api.run_training(str(data), RECIPE, None, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()
    code = call(["train", str(data), "--model", "cnn-28", "--out", str(tmp_path / "run"), "--json"])
    out, err = capfd.readouterr()
    assert code == 2 and json.loads(out)["exit_code"] == 2
    assert "None of the 20 images" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists() and damage.state(data) == before
