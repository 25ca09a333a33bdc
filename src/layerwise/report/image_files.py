"""Images for people: one sheet of all, a file each, or an array; as the name asks for."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from layerwise.errors import UsageError
from layerwise.report.grids import grid_png
from layerwise.store import atomic

_FORMS = "a .png for one sheet of all, a .npz for an array, or a folder for a file each"


def check_images_path(path: Path) -> None:
    """Refuse a name that says no form, or a folder that holds anything, before any work is done for it.

    Raises:
        UsageError: it cannot be written there.
    """
    if path.suffix.lower() not in ("", ".png", ".npz"):
        raise UsageError(f"{path} has the suffix {path.suffix}.", expected=_FORMS)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} in.", fix="Make it first.")
    if path.suffix and path.is_dir():
        raise UsageError(f"{path} is a folder.", expected=_FORMS)
    if not path.suffix and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} is there already, and not an empty folder.", expected=_FORMS)


def write_images(path: Path, images: NDArray[np.uint8]) -> None:
    """Write images (n, H, W, C): a sheet `.png`, an array `x` in a `.npz`, or PNGs `0000.png` ... in a folder.

    Raises:
        UsageError: the name says no form, or the folder is not empty.
        StoreError: the disk refused.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "new.png"
        >>> write_images(file, np.zeros((4, 28, 28, 1), np.uint8))
        >>> file.stat().st_size > 0
        True
    """
    check_images_path(path)
    if path.suffix.lower() == ".png":
        atomic.write_bytes(path, grid_png(images, columns=max(1, math.ceil(math.sqrt(len(images))))))
    elif path.suffix.lower() == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, x=images)
        atomic.write_bytes(path, content.getvalue())
    else:
        atomic.make_folder(path)
        digits = max(4, len(str(len(images) - 1)))
        for number, image in enumerate(images):
            atomic.write_bytes(path / f"{number:0{digits}}.png", grid_png(image[None], columns=1))
