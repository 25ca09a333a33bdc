"""What every task says of data before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

# wrong: figures or labels are not what they seem; doubt: look at it; note: good to know.
Weight = Literal["wrong", "doubt", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found in the data.

    Args:
        kind: what it is, in a word or two that scripts may rely on, such as "near-copies".
        weight: how much it matters.
        message: a sentence for people: what it is, where, and what may be done.
        groups: rows that belong together, such as copies of one image; a row alone is a group of one.
        exclude: of them, rows that can be left out to mend it; none where only a person can tell.
    """

    kind: str
    weight: Weight
    message: str
    groups: tuple[tuple[int, ...], ...] = ()
    exclude: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What a set of data holds, and what is wrong with it.

    Args:
        task: what it can be trained for.
        what: people call an example, in the plural.
        table: a row an example: id, path, label, split (as given), hash, problem (of what cannot be used).
        classes: name -> usable examples; empty for series.
        parts: of the user's own parts, name -> examples.
        findings: the gravest first.
        notes: what was passed over or guessed as the data were read.
        facts: numbers and counts, by a name for people, such as sizes -> how many images have each.
        thumbnail: what a page shows of an example by its number: pixels (H, W, C) uint8, values (T, C), a series'
            history (T,), a text; None where there is nothing.
    """

    task: str
    what: str
    table: pl.DataFrame
    classes: Mapping[str, int]
    parts: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    thumbnail: Callable[[int], np.ndarray | str | None] = lambda row: None

    def record(self) -> dict[str, Any]:
        """`inspect --json`: rows are named by their paths."""
        paths = self.table["path"].to_list()
        bad = self.table.filter(pl.col("problem").is_not_null())
        return {
            "task": self.task,
            "n": self.table.height,
            "usable": self.table.height - bad.height,
            "classes": dict(self.classes),
            "parts": dict(self.parts),
            "facts": {name: dict(counts) for name, counts in self.facts.items()},
            "notes": list(self.notes),
            "problems": [{"path": path, "reason": why} for path, why in bad.select("path", "problem").iter_rows()],
            "findings": [
                {
                    "kind": each.kind,
                    "weight": each.weight,
                    "message": each.message,
                    "groups": [[paths[row] for row in group] for group in each.groups],
                    "exclude": [paths[row] for row in each.exclude],
                }
                for each in self.findings
            ],
        }

    def excluded(self) -> pl.DataFrame:
        """What `--exclude` writes: path, hash and reason of every row that can be left out, each once."""
        rows: dict[int, str] = {}
        for finding in self.findings:
            for row in finding.exclude:
                rows.setdefault(row, finding.kind)
        kept = self.table.select("id", "path", "hash").filter(pl.col("id").is_in(list(rows)))
        reasons = pl.Series("reason", [rows[row] for row in kept["id"].to_list()], dtype=pl.String)
        return kept.drop("id").with_columns(reasons)
