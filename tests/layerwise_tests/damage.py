"""Images of every kind, whole and damaged in twenty ways, as they lie in real folders."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")


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


def folder(path: Path, *, good: int, each: int, classes: int = 4) -> set[str]:
    """Write `good` whole images and `each` of every kind of damage; returns the damaged ones' relative paths."""
    for number in range(classes):
        (path / f"class-{number}").mkdir(parents=True)
    for number in range(good):
        kind = KINDS[number % len(KINDS)]
        place = path / f"class-{number % classes}" / f"{number}.{kind.lower()}"
        place.write_bytes(picture(number, kind, size=(20, 20)))
    damaged = set()
    for name, make in DAMAGE.items():
        for number in range(each):
            place = path / f"class-{number % classes}" / f"bad-{number}-{name}"
            place.write_bytes(make(number))
            damaged.add(place.relative_to(path).as_posix())
    return damaged


def state(path: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of all files below a folder: what must stay as it is."""
    return {
        str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }
