"""`layerwise inspect` as people and scripts see it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from layerwise.cli import call
from layerwise_tests import images
from layerwise_tests.runs import only_object


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos with one exact copy and one file that is no image, as the folder that a person is in."""
    images.folder(tmp_path / "photos", count=12, side=28)
    shutil.copyfile(tmp_path / "photos" / "disc" / "003.png", tmp_path / "photos" / "disc" / "zz.png")
    (tmp_path / "photos" / "disc" / "000.png").write_bytes(b"no image at all")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_people_see_counts_findings_problems_and_the_next_commands(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["inspect", "photos"]) == 0
    said = capsys.readouterr().out
    assert "37 images, 36 usable, 3 classes" in said and "Problem: disc/000.png: not an image" in said
    assert "[copies]\n  disc/003.png  disc/zz.png\n" in said
    assert said.index("Doubt: ") < said.index("Problem: ")
    assert "layerwise inspect photos --exclude exclude.csv   # 1 image that" in said
    assert said.endswith("Use it   layerwise train photos --set data.exclude=exclude.csv\n")


def test_page_and_list_are_written_and_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["inspect", "photos", "--page", "p.html", "--exclude", "my list.csv"]) == 0
    said = capsys.readouterr().out
    assert "Page     p.html" in said and said.endswith("--set data.exclude='my list.csv'\n")
    assert (here / "p.html").is_file() and "disc/zz.png," in (here / "my list.csv").read_text()


def test_json_is_one_object_with_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["inspect", "photos", "--json"]) == 0
    found = only_object(capsys)
    assert {"task", "n", "usable", "classes", "parts", "facts", "notes", "problems", "findings"} == set(found)
    (copies,) = [each for each in found["findings"] if each["kind"] == "copies"]
    assert copies["groups"] == [["disc/003.png", "disc/zz.png"]] and copies["exclude"] == ["disc/zz.png"]


def test_columns_of_a_table_and_the_task_can_be_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"photos/{kind}/{number:03}.png,{kind}" for kind in images.KINDS for number in range(1, 6)]
    (here / "odd.csv").write_text("\n".join(["where,which", *rows]) + "\n")
    named = ["--task", "image-classification", "--image", "where", "--set", "data.label=which"]
    assert call(["inspect", "odd.csv", *named, "--json"]) == 0
    assert only_object(capsys)["classes"] == {"disc": 5, "square": 5, "stripes": 5}
    assert call(["inspect", "odd.csv", "--set", "epochs=3"]) == 2
    assert "data.COLUMN=NAME" in capsys.readouterr().err


def test_a_name_that_cannot_be_written_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["inspect", "photos", "--exclude", "list.txt"]) == 2
    assert ".csv" in capsys.readouterr().err
