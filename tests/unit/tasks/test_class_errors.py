"""Wrong answers as tables and as a sheet."""

from __future__ import annotations

import io

import numpy as np
import polars as pl

from layerwise.tasks.class_errors import confused, error_files, errors

TABLE = pl.DataFrame(
    {
        "id": range(6),
        "path": [f"{row}.png" for row in range(6)],
        "label": ["=cat", "=cat", "=cat", "dog", "dog", "emu"],
        "predicted": ["dog", "dog", "=cat", "=cat", "dog", "dog"],
        "probability": [0.9, 0.8, 0.7, 0.6, 0.9, 0.5],
        "loss": [2.0, 3.0, 0.3, 0.9, 0.1, 1.0],
    }
)


def nothing(row: int) -> None:
    return None


def test_wrong_answers_come_by_their_loss() -> None:
    found = errors(TABLE)
    assert found["id"].to_list() == [1, 0, 5, 3]
    assert found.columns == ["id", "path", "label", "predicted", "probability", "loss"]
    assert errors(TABLE.with_columns(text=pl.lit("t"))).columns[2] == "text"


def test_pairs_are_counted_and_shared_by_the_class() -> None:
    assert confused(TABLE).rows() == [
        ("=cat", "dog", 2, 2 / 3),
        ("dog", "=cat", 1, 0.5),
        ("emu", "dog", 1, 1.0),
    ]


def test_files_are_safe_to_open_in_a_spreadsheet() -> None:
    files = error_files(TABLE, nothing)
    assert set(files) == {"errors.csv", "confused.csv"}
    assert b"'=cat" in files["errors.csv"] and b",=cat" not in files["confused.csv"]


def test_images_have_a_sheet_of_the_costliest() -> None:
    asked: list[int] = []

    def thumbnail(row: int) -> np.ndarray:
        asked.append(row)
        return np.zeros((8, 8, 1), np.uint8)

    files = error_files(TABLE, thumbnail)
    assert asked == [1, 0, 5, 3] and files["errors.png"].startswith(b"\x89PNG")


def test_without_mistakes_the_tables_are_empty() -> None:
    files = error_files(TABLE.filter(pl.col("label") == pl.col("predicted")), nothing)
    assert pl.read_csv(io.BytesIO(files["errors.csv"])).height == 0 and "errors.png" not in files


def test_forecasts_and_scores_have_no_such_files() -> None:
    assert error_files(pl.DataFrame({"series": ["a"], "forecast": [1.0]}), nothing) == {}
