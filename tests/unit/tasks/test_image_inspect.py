"""Faults that are planted in folders of images, and what `inspect` says of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerwise import api
from layerwise.console import Silent
from layerwise.errors import UsageError
from layerwise.tasks import image_inspect, task_entry
from layerwise.tasks.inspection import Finding, Inspection
from layerwise_tests import images


def detailed(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((192, 144), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train/ and val/ with twelve images of each of two classes, none like another."""
    root, number = tmp_path / "photos", 0
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for place in range(12):
                detailed(number).save(root / part / label / f"{chr(97 + place) * 3}.png")
                number += 1
    return root


def look(root: Path) -> Inspection:
    return image_inspect.inspect(root, {}, Silent())


def one(found: Inspection, kind: str) -> Finding:
    (finding,) = [each for each in found.findings if each.kind == kind]
    return finding


def paths(found: Inspection, rows: tuple[int, ...]) -> list[str]:
    names: list[str] = found.table["path"].gather(list(rows)).to_list()
    return names


def test_sound_data_have_no_finding(photos: Path) -> None:
    found = look(photos)
    assert found.findings == () and found.notes == ()
    assert found.parts == {"train": 24, "val": 24} and found.classes == {"cat": 24, "dog": 24}
    assert found.facts["sizes"] == {"192 x 144": 48} and found.facts["formats"] == {"PNG": 48}
    assert found.excluded().height == 0


def test_an_exact_copy_in_a_held_out_part_is_a_leak_and_the_training_copy_is_left_out(photos: Path) -> None:
    shutil.copyfile(photos / "val" / "cat" / "aaa.png", photos / "train" / "cat" / "leak.png")
    found = look(photos)
    finding = one(found, "copies-across-parts")
    assert finding.weight == "wrong" and paths(found, finding.exclude) == ["train/cat/leak.png"]
    assert found.excluded()["path"].to_list() == ["train/cat/leak.png"]


def test_a_near_copy_across_parts_is_a_leak_too(photos: Path) -> None:
    Image.open(photos / "val" / "cat" / "aaa.png").resize((96, 72)).save(photos / "train" / "cat" / "small.jpg")
    found = look(photos)
    finding = one(found, "near-copies-across-parts")
    assert finding.weight == "wrong" and paths(found, finding.exclude) == ["train/cat/small.jpg"]


def test_a_picture_under_two_labels_is_a_conflict_and_all_copies_are_left_out(photos: Path) -> None:
    turned = Image.open(photos / "train" / "cat" / "bbb.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(photos / "train" / "dog" / "turned.png")
    found = look(photos)
    finding = one(found, "near-copies-across-labels")
    assert finding.weight == "wrong"
    assert sorted(paths(found, finding.exclude)) == ["train/cat/bbb.png", "train/dog/turned.png"]


def test_copies_of_one_class_and_part_are_a_doubt_and_one_is_kept(photos: Path) -> None:
    for name in ("x1", "x2"):
        shutil.copyfile(photos / "train" / "dog" / "ccc.png", photos / "train" / "dog" / f"{name}.png")
    finding = one(look(photos), "copies")
    assert finding.weight == "doubt" and len(finding.groups[0]) == 3 and len(finding.exclude) == 2


def test_near_copies_do_not_repeat_what_exact_copies_told(photos: Path) -> None:
    shutil.copyfile(photos / "train" / "dog" / "ccc.png", photos / "train" / "dog" / "x.png")
    found = look(photos)
    assert [each.kind for each in found.findings] == ["copies"]


def shots(photos: Path, places: list[str]) -> None:
    """Frames of one scene through which something moves."""
    scene, thing = detailed(99), detailed(98).resize((24, 24))
    for number, place in enumerate(places):
        frame = scene.copy()
        frame.paste(thing, (20 + 40 * number, 60))
        frame.save(photos / place / "cat" / f"shot{number:02}.png")


def test_bursts_are_told(photos: Path) -> None:
    shots(photos, ["train"] * 4)
    found = look(photos)
    assert [each.kind for each in found.findings] == ["bursts"]
    assert found.findings[0].weight == "note" and found.findings[0].exclude == ()
    assert paths(found, found.findings[0].groups[0]) == [f"train/cat/shot{number:02}.png" for number in range(4)]


def test_a_burst_that_the_parts_cut_is_a_doubt(photos: Path) -> None:
    shots(photos, ["train", "train", "val", "val"])
    found = look(photos)
    assert [each.kind for each in found.findings] == ["bursts-across-parts"]
    assert found.findings[0].weight == "doubt" and len(found.findings[0].groups[0]) == 4


def test_blank_unreadable_long_and_converted_images_are_named(photos: Path) -> None:
    folder = photos / "train" / "cat"
    Image.new("RGB", (64, 64), (9, 99, 9)).save(folder / "blank.png")
    (folder / "bad.jpg").write_bytes(b"not an image")
    detailed(500).resize((900, 90)).save(folder / "strip.png")
    detailed(501).save(folder / "moving.gif", save_all=True, append_images=[detailed(502)])
    found = look(photos)
    assert paths(found, one(found, "blank").exclude) == ["train/cat/blank.png"]
    assert one(found, "unusable").exclude == () and "not an image" in one(found, "unusable").message
    assert "strip.png" in one(found, "long").message
    assert one(found, "converted").weight == "note" and "first frame of 2" in one(found, "converted").message
    assert found.record()["problems"] == [{"path": "train/cat/bad.jpg", "reason": "not an image"}]


def test_one_class_one_image_and_empty_folders_are_each_named(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "empty").mkdir()
    (photos / "train" / "single").mkdir()
    detailed(700).save(photos / "train" / "single" / "s.png")
    found = look(photos)
    assert '"empty"' in one(found, "empty-class").message and found.classes["empty"] == 0
    assert '"single"' in one(found, "tiny-class").message
    shutil.copytree(photos / "train" / "cat", tmp_path / "only" / "cat")
    assert '"cat"' in one(look(tmp_path / "only"), "one-class").message


def test_a_class_that_only_the_held_out_part_has_and_names_that_look_alike_are_named(photos: Path) -> None:
    for part, label in (("val", "fox"), ("train", "Dog")):
        (photos / part / label).mkdir()
        for number in range(10):
            detailed(800 + number + 50 * (part == "val")).save(photos / part / label / f"{chr(97 + number)}.png")
    found = look(photos)
    assert one(found, "label-only-held-out").weight == "wrong"
    assert '"Dog", "dog"' in one(found, "labels-alike").message


def test_a_form_that_gives_the_class_away_is_a_doubt(tmp_path: Path) -> None:
    for label, size in (("cat", (96, 96)), ("dog", (128, 96))):
        (tmp_path / label).mkdir()
        for number in range(20):
            image = detailed(1000 + number + 100 * (label == "dog")).resize(size)
            image.save(tmp_path / label / f"{chr(97 + number)}.png")
    found = look(tmp_path)
    assert "96 x 96" in one(found, "size-tells-class").message
    assert not [each for each in found.findings if each.kind in ("colours-tells-class", "format-tells-class")]


def test_arrays_are_inspected_and_shown_as_they_are() -> None:
    pixels, kinds = images.arrays(12)
    pixels[5] = pixels[2]
    found = image_inspect.inspect((pixels, kinds), {}, Silent())
    assert one(found, "copies").groups == ((2, 5),)
    shown = found.thumbnail(0)
    assert isinstance(shown, np.ndarray) and np.array_equal(shown, pixels[0])


def test_thumbnails_keep_their_shape_and_bad_images_have_none(photos: Path) -> None:
    (photos / "train" / "cat" / "bad.jpg").write_bytes(b"not an image")
    found = look(photos)
    names = found.table["path"].to_list()
    shown = found.thumbnail(names.index("train/cat/aaa.png"))
    assert isinstance(shown, np.ndarray) and shown.shape == (120, 160, 3)
    assert found.thumbnail(names.index("train/cat/bad.jpg")) is None


def test_generators_need_no_labels(tmp_path: Path) -> None:
    for number in range(4):
        detailed(number).save(tmp_path / f"{chr(97 + number)}.png")
    shutil.copyfile(tmp_path / "a.png", tmp_path / "z.png")
    entry = task_entry("vae").inspect
    assert entry is not None
    found = entry(tmp_path, {}, Silent())
    assert found.task == "vae" and found.classes == {} and [each.kind for each in found.findings] == ["copies"]


def test_a_column_that_images_do_not_have_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="text"):
        image_inspect.inspect(photos, {"text": "x"}, Silent())


def test_api_writes_a_page_and_a_list_and_refuses_other_names_before_it_looks(photos: Path, tmp_path: Path) -> None:
    shutil.copyfile(photos / "val" / "cat" / "aaa.png", photos / "train" / "cat" / "leak.png")
    found = api.inspect(photos, page=tmp_path / "p.html", exclude=tmp_path / "e.csv")
    assert found["task"] == "image-classification" and found["findings"][0]["kind"] == "copies-across-parts"
    assert (tmp_path / "p.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")
    first, row = (tmp_path / "e.csv").read_text(encoding="utf-8").splitlines()
    assert first == "path,hash,reason" and row.startswith("train/cat/leak.png,") and row.endswith("copies-across-parts")
    for name in ("e.txt", "none/e.csv"):
        with pytest.raises(UsageError):
            api.inspect(photos / "nowhere", exclude=tmp_path / name)
    with pytest.raises(UsageError):
        api.inspect(photos, page=tmp_path)
