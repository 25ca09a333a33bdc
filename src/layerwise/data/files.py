"""Files of images: reading one without ever hanging on it, and telling its format by its first bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from layerwise.errors import BadImage

MAX_BYTES = 2**29  # of one file
READ = "JPEG, PNG, WebP, BMP, TIFF or GIF"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"})
# Images of kinds that are not read: they are listed as problems, not passed over as if they were notes or code.
OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".tga", ".ppm", ".pgm", ".pbm", ".ico"}
    | {".dng", ".cr2", ".nef", ".arw", ".dcm"}
)


@contextmanager
def open_file(path: Path | str) -> Iterator[BufferedReader]:
    """Open one regular file for reading; never waits on a pipe or a device.

    Raises:
        BadImage: it is missing, not a regular file, above 512 MiB, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise BadImage("not a regular file")
            if facts.st_size > MAX_BYTES:
                raise BadImage(f"the file has {facts.st_size:,} bytes, above the limit of {MAX_BYTES:,}")
            yield file
    except FileNotFoundError:
        raise BadImage("no such file") from None
    except IsADirectoryError:
        raise BadImage("not a regular file") from None
    except OSError as error:  # opening a socket ends here too
        raise BadImage(f"cannot be read: {error.strerror or error}") from None
    except ValueError:  # a zero byte in the name
        raise BadImage("no such file") from None


def read_file(path: Path | str) -> bytes:
    """The bytes of one file.

    Raises:
        BadImage: as in `open_file`.
    """
    with open_file(path) as file:
        return file.read(os.fstat(file.fileno()).st_size + 1)  # a read reserves all that it is asked for


def hash_file(path: Path | str) -> str:
    """The SHA-256 of one file as hexadecimal text; the file is never held in memory as a whole.

    Raises:
        BadImage: as in `open_file`.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
)


def sniff(content: bytes) -> str:
    """The format of an image by its first bytes, as Pillow names it.

    Raises:
        BadImage: it is none of those that are read; what it is instead is said where it can be told.

    Example:
        >>> sniff(b"GIF89a and so on")
        'GIF'
    """
    if not content:
        raise BadImage("the file is empty")
    for magic, form in _MAGIC:
        if content.startswith(magic):
            return form
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    raise BadImage(_other(content[:512]))


def _other(head: bytes) -> str:
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML)"
    if text.startswith((b"<?xml", b"<svg")):
        return "an SVG drawing" if b"<svg" in text else "an XML file"
    if head[4:8] == b"ftyp":
        return f"a {head[8:12].decode('ascii', 'replace').strip().upper()} file"
    if not head.strip(b"\0"):
        return "only zero bytes"
    return "not an image"
