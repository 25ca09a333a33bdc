"""Parts of run folders that some runs have: what was explained, and labels to look at."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from layerwise.store.atomic import write_csv, write_json


def png(side: int = 20) -> bytes:
    """A picture of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def explained(run: Path, pictures: dict[str, bytes], **changes: Any) -> None:
    """`explained.json` with these pictures."""
    (run / "explained").mkdir(exist_ok=True)
    for name, content in pictures.items():
        (run / "explained" / name).write_bytes(content)
    inputs = [
        {
            "id": 3, "why": "wrong", "path": "a/<b>.png", "label": "dog", "predicted": "cat", "probability": 0.91,
            "words": "strongest at the top", "problem": None, "picture": name,
        }
        for name in pictures
    ]  # fmt: skip
    record = {"method": "Grad-CAM", "about": "Heat.", "reason": None, "left_out": 0, "inputs": inputs}
    write_json(run / "explained.json", record | changes)


def suspects(run: Path, rows: int, **changes: Any) -> None:
    """`suspects.csv` of so many rows, and what `metrics.json` says of it."""
    metrics = json.loads((run / "metrics.json").read_text())
    record = {"n": 60, "usable": 60, "suspects": rows, "method": "a simple model", "accuracy": 0.8, "folds": 5}
    write_json(run / "metrics.json", metrics | {"suspects": record | changes})
    table = pl.DataFrame(
        {
            "id": range(rows), "path": [f"=cat/{row}.png" for row in range(rows)], "split": ["train"] * rows,
            "label": ["cat"] * rows, "suggested": ["dog"] * rows, "score": np.linspace(0, 0.4, rows),
        }
    )  # fmt: skip
    write_csv(run / "suspects.csv", table)
