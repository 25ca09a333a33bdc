"""Images that are arrays already: (x, y) in Python, `.npz` files, and idx files as of MNIST."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from layerwise.data.decode import Pixels, to_uint8
from layerwise.data.rows import Rows, part_of
from layerwise.errors import BadImage, DataError, nearest

_SHAPE = "(N, H, W) or (N, H, W, C) with C 1, 3 or 4"
_IDX_STEMS = {"train": "train", "t10k": "test", "test": "test", "val": "valid", "valid": "valid"}


def image_rows(x: object, name: str = "x") -> tuple[Pixels, list[str]]:
    """Any array of images as (N, H, W, C) uint8, and notes; values as in `decode.to_uint8`.

    uint8 with channels last is used as it is. Channels first are turned where that is certain, as in (N, 3, 32, 32).

    Raises:
        DataError: the shape or the range of values is not one of images.
    """
    array = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else _array(x, name)
    notes: list[str] = []
    if array.ndim == 3:
        array = array[:, :, :, None]  # (N, H, W) -> (N, H, W, 1)
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4) and array.shape[1] in (1, 3, 4):
        array = array.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        notes.append(f"{name} has its channels first; it was read as (N, H, W, C) = {array.shape}.")
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or 0 in array.shape:
        hint = "Reshape it to images first, as in x.reshape(-1, 28, 28)." if array.ndim == 2 else ""
        raise DataError(f"{name} has the shape {array.shape}.", expected=_SHAPE, fix=hint)
    try:
        return np.ascontiguousarray(to_uint8(array)), notes
    except BadImage as error:
        raise DataError(f"{name} has {error.came}.") from None


def from_parts(parts: Mapping[str | None, tuple[object, object | None]], *, labelled: bool) -> Rows:
    """Rows from a pair (x, y) for each part; the part None means that nothing was given.

    Raises:
        DataError: sizes differ between the parts or between x and y, labels are missing or of an unusable kind.
    """
    rows = Rows()
    arrays: list[Pixels] = []
    for part in sorted(parts, key=(None, "train", "valid", "test").index):
        x, y = parts[part]
        name = f"x_{part}" if part else "x"
        array, notes = image_rows(x, name)
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                f"{name} has images of {array.shape[1:]}.", expected=f"{arrays[0].shape[1:]} as in the rest"
            )
        if y is None and labelled:
            raise DataError(
                f"{name} has no labels.", expected="a pair (x, y)", fix="Images alone are for the tasks vae and gan."
            )
        labels = [None] * len(array) if y is None else label_texts(y, f"y_{part}" if part else "y")
        if len(labels) != len(array):
            raise DataError(f"There are {len(array)} images in {name} and {len(labels)} labels.", expected="as many")
        arrays.append(array)
        rows.notes += notes
        rows.names += [f"{part or 'x'}[{row}]" for row in range(len(array))]
        rows.labels += labels
        rows.parts += [part] * len(array)
    rows.problems = [None] * len(rows.names)
    rows.arrays = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return rows


def label_texts(y: object, name: str = "y") -> list[str | None]:
    """Labels as text.

    Raises:
        DataError: they are not one integer or string for each image.

    Example:
        >>> label_texts(np.array([3, 0]))
        ['3', '0']
    """
    array = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else _array(y, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{name} has the shape {array.shape}.",
            expected="one integer or string for each image",
            fix="One-hot labels become integers by y.argmax(1)." if array.ndim == 2 else "",
        )
    values = array.tolist()
    if array.dtype.kind not in "iubUO" or not all(isinstance(value, str | int) for value in values):
        odd = next((value for value in values if not isinstance(value, str | int)), values[:1])
        raise DataError(f"{name} holds {odd!r} ({array.dtype}).", expected="integers or strings")
    return [str(value) for value in values]


def from_python(data: object, *, labelled: bool) -> Rows:
    """Rows from (x, y), x alone, or {"train": (x, y), "val": ..., "test": ...}.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(data, Mapping):
        parts: dict[str | None, tuple[object, object | None]] = {}
        for key, value in data.items():
            part = part_of(str(key))
            if part is None or part in parts:
                raise DataError(f'The data have a part "{key}".', expected='"train", "val" and "test", each once')
            parts[part] = _pair(value, f'the part "{key}"')
        if not parts:
            raise DataError("The data are an empty mapping.", expected='{"train": (x, y), "test": (x, y)}')
        return from_parts(parts, labelled=labelled)
    if isinstance(data, tuple):
        return from_parts({None: _pair(data, "the tuple")}, labelled=labelled)
    return from_parts({None: (data, None)}, labelled=labelled)


def read_npz(path: Path, *, labelled: bool) -> Rows:
    """Rows from the arrays `x`, `y`, or `x_train`, `y_train`, `x_val`, ... of an `.npz` file, read without pickle.

    Raises:
        DataError: the file is damaged, holds Python objects, or has other names in it.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name.casefold(): file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}.",
            expected="an .npz file of numeric or text arrays, as numpy.savez writes it",
        ) from None
    parts: dict[str | None, tuple[object, object | None]] = {}
    for name, array in found.items():
        if name == "x":
            parts[None] = (array, found.get("y"))
        elif name.startswith("x_") and (part := part_of(name[2:])):
            parts[part] = (array, found.get(f"y_{name[2:]}"))
    if not parts or (None in parts and len(parts) > 1):
        raise DataError(
            f"{path} holds the arrays {', '.join(found) or '(none)'}.",
            expected="x and y, or x_train, y_train, x_test, y_test (and x_val, y_val)",
            fix=nearest("x", found) if found and not parts else "",
        )
    return from_parts(parts, labelled=labelled)


def idx_files(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """Part -> (file of images, file of labels) of a folder such as MNIST's; empty where there are none."""
    parts: dict[str, tuple[Path, Path | None]] = {}
    for path in sorted(folder.iterdir()):
        stem, _, rest = path.name.casefold().partition("-images")
        if stem in _IDX_STEMS and rest[1:] in ("idx3-ubyte", "idx3-ubyte.gz", "idx4-ubyte", "idx4-ubyte.gz"):
            parts.setdefault(_IDX_STEMS[stem], (path, _idx_labels(path)))
    return parts


def _idx_labels(images: Path) -> Path | None:
    stem = images.name.casefold().partition("-images")[0]
    for path in sorted(images.parent.iterdir()):
        name = path.name.casefold().removesuffix(".gz")
        if name in (f"{stem}-labels-idx1-ubyte", f"{stem}-labels.idx1-ubyte"):
            return path
    return None


def read_idx_folder(files: Mapping[str, tuple[Path, Path | None]], *, labelled: bool) -> Rows:
    """Rows from idx files; t10k is the test part.

    Raises:
        DataError: a file is damaged, or labels are missing.
    """
    return from_parts(
        {part: (read_idx(x), None if y is None else read_idx(y)) for part, (x, y) in files.items()}, labelled=labelled
    )


def read_idx(path: Path) -> Pixels:
    """One idx file (yann.lecun.com/exdb/mnist), plain or gzip, of unsigned bytes.

    Raises:
        DataError: it is not such a file, or its length is not the one that its header says.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", expected="an idx file, plain or gzip") from None
    dimensions = content[3] if len(content) > 3 else 0
    if content[:3] != b"\0\0\x08" or not 1 <= dimensions <= 4:
        raise DataError(f"{path} does not start as an idx file of bytes does.", expected="an idx file, plain or gzip")
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path} has {len(content) - start:,} bytes of values.", expected=f"{math.prod(shape):,} for {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _pair(value: object, where: str) -> tuple[object, object | None]:
    if isinstance(value, tuple | list) and len(value) == 2:
        return value[0], value[1]
    raise DataError(f"{where[0].upper()}{where[1:]} is {_described(value)}.", expected="a pair (x, y)")


def _described(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence) else ""
    return f"a {type(value).__name__}{size}"


def _array(value: object, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{name} cannot be made an array: {error}.", expected="rows that all have the same shape"
        ) from None
