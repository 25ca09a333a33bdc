"""A bad image is named with its reason; it never stops anything, and no file is ever changed."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
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

FORM = Preprocess(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3)


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    idat = zlib.compress(b"\0" * 1000)
    data = struct.pack(">I", len(idat)) + b"IDAT" + idat + struct.pack(">I", zlib.crc32(b"IDAT" + idat))
    return b"\x89PNG\r\n\x1a\n" + chunk + data


def scrambled(content: bytes, start: int, seed: int) -> bytes:
    return content[:start] + random.Random(seed).randbytes(len(content) - start)


DAMAGE: dict[str, Callable[[int], bytes]] = {
    "empty.jpg": lambda n: b"",
    "html.jpg": lambda n: b"<!DOCTYPE html><html>not found %d</html>" % n,
    "text.png": lambda n: b"just words %d" % n,
    "zeros.jpg": lambda n: b"\0" * (100 + n),
    "half.jpg": lambda n: picture(n)[: 300 + n],
    "header-only.jpg": lambda n: picture(n)[: 20 + n],
    "half.png": lambda n: picture(n, "PNG")[: 400 + n],
    "no-data.png": lambda n: picture(n, "PNG")[:33],
    "half.gif": lambda n: picture(n, "GIF")[: 800 + n],
    "half.webp": lambda n: picture(n, "WEBP")[: 200 + n],
    "half.bmp": lambda n: picture(n, "BMP")[: 500 + n],
    "half.tif": lambda n: picture(n, "TIFF")[: 500 + n],
    "half-lzw.tif": lambda n: scrambled(picture(n, "TIFF", compression="tiff_lzw"), 8, n),
    "scrambled.png": lambda n: scrambled(picture(n, "PNG"), 60, n),
    "scrambled.webp": lambda n: scrambled(picture(n, "WEBP", lossless=True), 21, n),
    "bomb.png": lambda n: png_header(30_000 + n, 30_000),
    "script.jpg": lambda n: b"%%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 %d 9\n" % n,
    "photo.heic": lambda n: b"\0\0\0\x18ftypheic" + bytes(20 + n),
    "progressive.jpg": lambda n: picture(n, progressive=True, size=(90, 90))[: 3000 + n],
    "archive.jpg": lambda n: b"PK\x03\x04" + bytes(40 + n),
}


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
    kinds = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"]
    for n in range(2000):
        kind = kinds[n % 6]
        path = data / f"class-{n % 4}" / f"{n}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n, kind, size=(20, 20)))
    damaged = set()
    for name, make in DAMAGE.items():
        for n in range(15):
            path = data / f"class-{n % 4}" / f"bad-{n}-{name}"
            path.write_bytes(make(n))
            damaged.add(path.relative_to(data).as_posix())
    assert len(damaged) == 300
    before = _hashes(data)
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
    assert _hashes(data) == before


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
