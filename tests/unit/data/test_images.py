"""Folders: every layout is found, everything is accounted for, and unusable ones say what was expected."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from layerwise.data.images import find_images
from layerwise.data.rows import alike, sort_classes
from layerwise.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read here")
    return root


def test_a_folder_per_class(tmp_path: Path) -> None:
    source = find_images(touch(tmp_path, "dogs/1.jpg", "cats/1.PNG", "cats/deep/2.webp"))
    assert source.classes == ("cats", "dogs")
    assert source.table.select("id", "path", "label").rows() == [
        (0, "cats/1.PNG", "cats"),
        (1, "cats/deep/2.webp", "cats"),
        (2, "dogs/1.jpg", "dogs"),
    ]
    assert source.table["split"].null_count() == 3 and source.held_out == "test" and source.notes == ()
    assert source.table["id"].dtype == pl.UInt32
    assert source.file(1) == tmp_path / "cats/deep/2.webp"


@pytest.mark.parametrize("valid", ["val", "Valid", "VALIDATION"])
def test_given_parts_by_any_usual_name(tmp_path: Path, valid: str) -> None:
    names = [f"{part}/{label}/1.jpg" for part in ("Train", valid, "test") for label in "ab"]
    source = find_images(touch(tmp_path, *names))
    assert source.table.group_by("split").len().sort("split").rows() == [("test", 2), ("train", 2), ("valid", 2)]
    assert source.held_out == "test" and source.classes == ("a", "b")


def test_train_and_val_alone_hold_val_out(tmp_path: Path) -> None:
    source = find_images(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg"))
    assert source.held_out == "val"
    assert source.table.filter(pl.col("split") == "test")["path"].to_list() == ["val/a/2.jpg", "val/b/2.jpg"]


def test_a_class_that_a_part_lacks_is_kept_in_its_place(tmp_path: Path) -> None:
    source = find_images(
        touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/a/2.jpg", "test/c/2.jpg")
    )
    assert source.classes == ("a", "b", "c") and source.notes == ()


def test_a_class_only_in_test_is_kept_with_a_note(tmp_path: Path) -> None:
    source = find_images(touch(tmp_path, "train/b/1.jpg", "train/c/1.jpg", "test/a/2.jpg"))
    assert source.classes == ("a", "b", "c")
    assert source.notes == ('The class "a" has no image in train: it can never be predicted.',)


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    source = find_images(touch(tmp_path, "train/1.jpg", "bus/1.jpg", "car/1.jpg"))
    assert source.classes == ("bus", "car", "train")


def test_what_systems_leave_behind_is_ignored_and_other_files_are_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.jpg", "b/1.jpg", "a/.DS_Store", "a/Thumbs.db", "__MACOSX/a/1.jpg", ".git/x.jpg", "a/.hidden.jpg"
    )
    touch(tmp_path, "a/notes.txt", "b/more.txt", "labels.csv", "a/README")
    source = find_images(tmp_path)
    assert source.table["path"].to_list() == ["a/1.jpg", "b/1.jpg"]
    assert source.notes == ("4 files that are not images were passed over (2 .txt, 1 .csv, 1 no suffix).",)


def test_images_of_kinds_that_are_not_read_stay_in_the_list(tmp_path: Path) -> None:
    assert len(find_images(touch(tmp_path, "a/1.heic", "b/1.jpg"))) == 2


def test_empty_classes_loose_images_and_extra_folders_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "loose.jpg")
    (tmp_path / "empty").mkdir()
    notes = " ".join(find_images(tmp_path).notes)
    assert '"empty" has no image' in notes and "1 images beside the class folders have no label" in notes
    parts = touch(tmp_path / "parts", "train/a/1.jpg", "train/b/1.jpg", "test/x.jpg", "raw/y/z.jpg")
    source = find_images(parts)
    assert len(source) == 2
    assert any("in test/, outside any class folder" in note for note in source.notes)
    assert any("passed over: raw" in note for note in source.notes)


def test_names_that_look_alike_are_noted(tmp_path: Path) -> None:
    notes = find_images(touch(tmp_path, "Cat/1.jpg", "cat/1.jpg", "caf\u00e9/1.jpg", "cafe\u0301/1.jpg")).notes
    assert len(notes) == 2 and '"Cat", "cat"' in notes[0] and "decomposed" in notes[1]
    assert alike(["a", "b"]) == []


def test_whole_numbers_sort_by_value_and_other_texts_as_text() -> None:
    assert sort_classes(["10", "9", "0"]) == ("0", "9", "10")
    assert sort_classes(["10", "9", "01"]) == ("01", "10", "9")


def test_a_link_back_up_does_not_pull_other_classes_in(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    source = find_images(tmp_path)
    assert source.table["label"].to_list() == ["a", "b", "b"]
    assert "read already" in source.notes[0]


def test_a_linked_class_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "data/a/1.jpg", "data/b/1.jpg")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere")
    assert find_images(tmp_path / "data").classes == ("a", "b", "c")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_noted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.jpg")
    (tmp_path / "c").chmod(0)
    try:
        assert any("cannot be read" in note for note in find_images(tmp_path).notes)
    finally:
        (tmp_path / "c").chmod(0o700)


def test_a_path_with_a_relative_start_survives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "data/a/1.jpg", "data/b/1.jpg")
    monkeypatch.chdir(tmp_path)
    source = find_images("data")
    monkeypatch.chdir("/")
    assert source.file(0).exists() and source.table["path"][0] == "a/1.jpg"


def test_a_flat_folder_says_what_was_found_and_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 images but no folder .* Expected: a folder per class"):
        find_images(touch(tmp_path, "1.jpg", "2.jpg"))
    source = find_images(tmp_path, labelled=False)
    assert source.table["label"].null_count() == 2 and source.classes == ()


def test_parts_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/2.jpg")
    with pytest.raises(DataError, match="no class folders"):
        find_images(tmp_path)
    assert find_images(tmp_path, labelled=False).table["split"].to_list() == ["test", "train"]


def test_nothing_usable_says_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing in it") as caught:
        find_images(tmp_path)
    assert caught.value.exit_code == 2
    with pytest.raises(DataError, match=r"no image in it, but other files \(1 .txt\)"):
        find_images(touch(tmp_path / "texts", "a.txt"))
    with pytest.raises(DataError, match=r"1 folders \(a\) and no image"):
        find_images(touch(tmp_path / "more", "a/a.txt"))


def test_a_missing_path_suggests_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    with pytest.raises(DataError, match="Near it: flowers"):
        find_images(tmp_path / "flower")
    with pytest.raises(DataError, match="There is no folder"):
        find_images(tmp_path / "nowhere" / "flower")


def test_other_files_and_other_objects_say_what_is_taken(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a", "train-images-idx3-ubyte"):
        with pytest.raises(DataError):
            find_images(touch(tmp_path, name) / name)
    with pytest.raises(DataError, match="The data are a int"):
        find_images(3)
    with pytest.raises(DataError, match="--image"):
        find_images(touch(tmp_path / "f", "a/1.jpg", "b/1.jpg"), image="x")


def test_real_folders(shared_data: Path) -> None:
    flowers = find_images(shared_data / "flowers")
    assert (len(flowers), len(flowers.classes), flowers.held_out) == (800, 5, "test")
    insects = find_images(shared_data / "ants-bees")
    assert insects.classes == ("ants", "bees") and insects.held_out == "val"
    assert set(insects.table["split"].unique()) == {"train", "test"}
