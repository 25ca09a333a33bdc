"""`layerwise screen` as a person types it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from layerwise import api
from layerwise.cli import call
from layerwise.console import Silent
from layerwise_tests import images
from layerwise_tests.runs import only_object

QUICK = ["--set", "data.size=64", "--device", "cpu"]
TWO = ["--models", "resnet50,efficientnet_lite0"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return images.folder(tmp_path / "my photos", count=12, side=40)


def test_people_get_a_table_the_reasons_and_the_command_to_train_the_best(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["screen", "my photos", *TWO, *QUICK, "--seed", "2"]) == 0
    said = capsys.readouterr()
    assert "Screening on 33 of 33 images of 3 classes. The 3 images of the part test are left out" in said.err
    assert "efficientnet_lite0: accuracy" in said.err and "resnet50: skipped." in said.err
    lines = said.out.splitlines()
    row = next(line for line in lines if line.startswith("* efficientnet_lite0"))
    assert " to " in row and row.endswith("M")
    assert next(line for line in lines if line.startswith("Skipped resnet50: There are no pretrained weights"))
    command = "layerwise train 'my photos' --model efficientnet_lite0 --seed 2 --device cpu --set data.size=64"
    assert f"Best     {command}" in lines and "Faster" not in said.out
    (place,) = Path("runs").iterdir()
    assert place.name.endswith("-screen") and {file.name for file in place.iterdir()} == {"screen.json", "screen.svg"}
    assert str(place / "screen.svg") in said.out


def test_json_is_one_object_and_the_file_holds_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["screen", "my photos", *TWO, *QUICK, "--out", "mine", "--json"]) == 0
    found = only_object(capsys)
    kept = json.loads(Path("mine/screen.json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in kept} == kept and set(found) - set(kept) == {"screen", "command"}
    assert set(kept) == {"sample", "results", "skipped", "best", "quick"}
    (row,) = kept["results"]
    assert set(row) == {
        "name", "accuracy", "low", "high", "log_loss", "seconds_per_image", "megabytes", "parameters", "engine",
        "computed", "front",
    }  # fmt: skip
    assert row["low"] <= row["accuracy"] <= row["high"]
    assert [each["name"] for each in kept["skipped"]] == ["resnet50"]
    drawn = ElementTree.parse("mine/screen.svg").getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "efficientnet_lite0" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]


def test_python_gives_the_same_and_a_second_call_computes_nothing(here: Path) -> None:
    words: dict[str, Any] = {"models": ["efficientnet_lite0"], "recipe": {"data": {"size": 64}}, "device": "cpu"}
    first = api.screen(here, **words, out="first", show=Silent())
    second = api.screen(here, **words, out="second", show=Silent())
    assert (first.best, first.quick, first.path) == ("efficientnet_lite0", "efficientnet_lite0", Path("first"))
    same = [name for name in first.results.columns if name not in ("computed", "seconds_per_image")]
    assert first.results.select(same).equals(second.results.select(same))
    assert second.results["computed"].to_list() == [0]


MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "name": (["--models", "resnet50,efficientnet_lit0"], 2, ["efficientnet_lit0", 'Did you mean "efficientnet_lite0"']),
    "timm's name": (["--models", "timm:resnt18"], 2, ["resnt18", '"timm:resnet18"']),
    "no weights": (["--models", "cnn-28"], 2, ['"cnn-28" has no pretrained weights']),
    "none": (["--models", ","], 2, ["no network to screen"]),
    "key": (["--set", "data.sise=64"], 2, ['Did you mean "data.size"']),
    "out": (["--out", "my photos"], 2, ["my photos is not empty"]),
    "all skipped": (["--models", "resnet50"], 1, ["The network cannot be screened. resnet50:", "layerwise[offline]"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_and_leaves_nothing(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, code, wanted = MISTAKES[name]
    assert call(["screen", "my photos", *words]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("Error: ") == 1
    assert all(part in said.err for part in wanted), said.err
    assert not list(here.parent.glob("runs/*")) and not (here.parent / "mine").exists()


def test_data_that_cannot_be_used_are_exit_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(here / "disc")
    shutil.rmtree(here / "square")
    assert call(["screen", "my photos", *TWO, "--json"]) == 2
    assert "two labels or more" in only_object(capsys)["error"]


def test_ctrl_c_ends_as_in_other_verbs_and_the_same_call_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from layerwise.tasks import image_screen

    words = ["screen", "my photos", "--models", "efficientnet_lite0", *QUICK, "--out", "mine", "--json"]
    real = image_screen.cross_validate

    def stopped(*args: Any, **rest: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_screen, "cross_validate", stopped)
    assert call(words) == 1
    found = only_object(capsys)
    assert found["exit_code"] == 1 and "Stopped; what was computed is kept" in found["error"]
    assert not Path("mine").exists()
    monkeypatch.setattr(image_screen, "cross_validate", real)
    assert call(words) == 0
    assert only_object(capsys)["results"][0]["computed"] == 0
