"""A bad image is named with its reason; it never stops anything, and no file is ever changed."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from layerwise.data.decode import MAX_PIXELS, Preprocess, decode
from layerwise.data.files import MAX_BYTES, read_file, sniff
from layerwise.data.images import find_images
from layerwise.data.pixels import build_pixels
from layerwise.data.split import SplitRecipe, split
from layerwise.errors import BadImage
from layerwise_tests import damage
from layerwise_tests.damage import DAMAGE, picture, png_header

FORM = Preprocess(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_damage_has_a_short_reason(kind: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(DAMAGE[kind](3), FORM)
    assert 5 < len(str(caught.value)) < 200 and "\n" not in str(caught.value) and "0x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_bad(kind: str) -> None:
    content = picture(0, kind, size=(64, 64))
    for end in np.linspace(1, len(content) * 0.97, 25).astype(int):
        with pytest.raises(BadImage):
            decode(content[:end], FORM)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_noise_in_any_place_never_gives_another_exception(kind: str) -> None:
    content = picture(1, kind)
    for seed in range(60):
        draw = random.Random(seed)
        noisy = bytearray(content)
        for _ in range(draw.choice([1, 4, 30])):
            noisy[draw.randrange(len(noisy))] = draw.randrange(256)
        try:
            assert decode(bytes(noisy), FORM).pixels.shape == (16, 16, 3)
        except BadImage:
            continue


def test_reasons_say_what_the_file_is_instead() -> None:
    said = {
        b"": "the file is empty",
        b"\0" * 64: "only zero bytes",
        b"  <html><body>": "a web page",
        b"<?xml version='1.0'?><svg>": "an SVG drawing",
        b"%PDF-1.7": "a PDF document",
        b"\0\0\0\x18ftypheic\0\0": "a HEIC file",
        b"version https://git-lfs.github.com/spec/v1": "a Git LFS pointer",
        b"hello": "not an image",
    }
    for content, words in said.items():
        with pytest.raises(BadImage, match=words):
            sniff(content)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    for width, height in [(13_380, 13_380), (18_000, 10_000), (60_000, 60_000)]:
        assert width * height > MAX_PIXELS
        with pytest.raises(BadImage, match="more than 178,956,970"):
            decode(png_header(width, height), FORM)
    with pytest.raises(BadImage, match="truncated|broken|damaged"):  # Pillow would warn of this size
        decode(png_header(10_000, 9_000), FORM)


def test_errors_that_pillow_logs_stay_quiet(caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray(picture(0, "TIFF"))
    entry = content.index(struct.pack("<HHI", 277, 3, 1))  # samples per pixel
    content[entry + 8 : entry + 10] = struct.pack("<H", 2048)
    with pytest.raises(BadImage, match="TIFF"):
        decode(bytes(content), FORM)
    assert caplog.records == []
    with pytest.raises(OSError), Image.open(io.BytesIO(bytes(content))):
        pass
    assert caplog.records  # Pillow alone does log


def test_what_is_no_regular_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(BadImage, match="not a regular file"):
            decode(tmp_path / name, FORM)
    for name in ("loop.jpg", "missing.jpg", "\0.jpg"):
        with pytest.raises(BadImage, match="cannot be read|no such file"):
            decode(tmp_path / name, FORM)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "large.bmp", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadImage, match="above the limit"):
        read_file(tmp_path / "large.bmp")


def test_a_folder_with_odd_things_in_it_neither_hangs_nor_loses_anything(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for n in range(4):
            (tmp_path / label / f"{n}.jpg").write_bytes(picture(n + ord(label)))
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as plug:
        here = os.getcwd()
        os.chdir(tmp_path / "a")  # the path of a socket may have 108 bytes at most
        plug.bind("plug.jpg")
        os.chdir(here)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with open(os.fsencode(tmp_path / "b") + b"/caf\xe9.jpg", "wb") as file:
        file.write(picture(99))
    source = find_images(tmp_path)
    store = build_pixels(source, FORM, cache=tmp_path / ".cache", advance=lambda done: None)
    bad = {source.table["path"][row]: reason for row, reason in store.problems.items()}
    assert sorted(bad) == ["a/gone.jpg", "a/pipe.jpg", "a/plug.jpg"]
    assert len(source) == 12 and "b/caf\\xe9.jpg" in source.table["path"].to_list()
    assert any("read already" in note for note in source.notes)


@pytest.mark.slow
def test_300_damaged_among_2000_good_are_all_named_and_nothing_is_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    damaged = damage.folder(data, good=2000, each=15)
    assert len(damaged) == 300
    before = damage.state(data)
    source = find_images(data)
    seen: list[int] = []
    store = build_pixels(source, FORM, cache=tmp_path / "cache", advance=seen.append)
    named = {source.table["path"][row]: reason for row, reason in store.problems.items()}
    assert set(named) == damaged and all(named.values())
    good = [row for row in range(len(source)) if row not in store.problems]
    assert len(good) == 2000 and len(good) + len(named) == len(source) == sum(seen)
    assert not store.read(np.array(sorted(store.problems))).any()
    problems = pl.Series("problem", [store.problems.get(row) for row in range(len(source))])
    table = source.table.with_columns(problems, pl.Series("hash", store.hashes))
    parts, _ = split(table, SplitRecipe(), seed=0)
    assert parts["split"].null_count() == 300
    assert damage.state(data) == before
