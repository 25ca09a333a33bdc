"""Data that comes with the installation, and recipes that suit it."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.datasets import load_digits

from layerwise.models import find_model
from layerwise.models.weights import wheel_file

# Passengers of international airlines, thousands a month, January 1949 to December 1960: G. Box, G. Jenkins, "Time
# Series Analysis: Forecasting and Control" (1976), series G.
_AIRLINE = (
    (112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118),
    (115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140),
    (145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166),
    (171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194),
    (196, 196, 236, 235, 229, 243, 264, 272, 237, 211, 180, 201),
    (204, 188, 235, 227, 234, 264, 302, 293, 259, 229, 203, 229),
    (242, 233, 267, 269, 270, 315, 364, 347, 312, 274, 237, 278),
    (284, 277, 317, 313, 318, 374, 413, 405, 355, 306, 271, 306),
    (315, 301, 356, 348, 355, 422, 465, 467, 404, 347, 305, 336),
    (340, 318, 362, 348, 363, 435, 491, 505, 404, 359, 310, 337),
    (360, 342, 406, 396, 420, 472, 548, 559, 463, 407, 362, 405),
    (417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432),
)

# Packages of Python's standard library with many docstrings, each about something of its own.
_PACKAGES = ("asyncio", "email", "importlib", "logging", "multiprocessing", "unittest", "xml")
_SHORTEST = 4  # words of a docstring that says something


def digits() -> tuple[Any, dict[str, Any]]:
    """1,797 handwritten digits of 8x8 pixels (E. Alpaydin and C. Kaynak, 1998; UCI), with scikit-learn."""
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), from 0..16
    data = (images, found.target)
    wheel = find_model("efficientnet_lite0").wheel
    if wheel is not None and wheel_file(wheel):
        return data, {"model": "efficientnet_lite0", "data": {"size": 96, "resize": "squash"}, "epochs": 7}
    return data, {"model": "cnn-28", "data": {"size": 28}, "epochs": 12}


def drawn(task: str) -> tuple[Any, dict[str, Any]]:
    """The digits of `digits` at 28 pixels a side, for a network that learns to draw them: task vae or gan."""
    data, _ = digits()
    epochs = {"vae": 20, "gan": 4}  # what two minutes on two cores are enough for
    return data, {"task": task, "data": {"size": 28}, "epochs": epochs[task]}


def texts() -> tuple[Any, dict[str, Any]]:
    """First paragraphs of docstrings of Python's standard library; which package is each from?"""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = {text: package for package in _PACKAGES for text in _docstrings(library / package)}
    table = pl.DataFrame({"text": list(found), "label": list(found.values())})
    return table, {"task": "text-classification"}


def _docstrings(package: Path) -> Iterator[str]:
    """First paragraphs, read from the source: nothing is imported."""
    for file in sorted(package.rglob("*.py")):
        if "test" in file.parts[len(package.parts)]:
            continue
        with warnings.catch_warnings():  # about escapes in other people's strings
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if len(text.split()) >= _SHORTEST:
                    yield text


def sequences() -> tuple[Any, dict[str, Any]]:
    """The handwritten digits of `digits`, read row by row: 8 steps of 8 values."""
    found = load_digits()
    return (found.images, found.target), {"task": "sequence-classification", "model": "gru-stack"}


def series() -> tuple[Any, dict[str, Any]]:
    """144 months of airline passengers; the last 12 are forecast."""
    months = [f"{1949 + year}-{month:02d}" for year in range(len(_AIRLINE)) for month in range(1, 13)]
    table = pl.DataFrame({"ds": months, "y": [float(value) for year in _AIRLINE for value in year]})
    return table, {"task": "forecast", "horizon": 12}
