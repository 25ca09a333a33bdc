"""Why some answers of a run were given, as its folder holds it, for the page."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pydantic

from layerwise.report.read import RunFiles, attempt

BYTES = 1_200_000  # of all pictures together; as text they are a third more
_NAME = re.compile(r"-?\d{1,12}\.(png|jpg|svg)")
_KINDS = {"png": "png", "jpg": "jpeg", "svg": "svg+xml"}


class Shown(pydantic.BaseModel):
    """One explained example."""

    id: int
    why: str = ""
    path: str = ""
    label: str | None = None
    predicted: str | None = None
    probability: float | None = None
    words: str = ""
    problem: str | None = None
    picture: str | None = None


class Explained(pydantic.BaseModel):
    """`explained.json`; keys that a later version adds are passed over."""

    method: str | None = None
    paper: str | None = None
    about: str | None = None
    reason: str | None = None
    left_out: int = 0
    inputs: list[Shown] = []


def explained_content(run: RunFiles) -> dict[str, Any] | None:
    """What the page shows of `explained.json` and the pictures beside it; None where the run explained nothing.

    Args:
        run: the run; notes are added to it where a file is damaged.
    """
    if not (run.path / "explained.json").is_file():
        return None
    found = attempt(run, "explained.json", lambda file: Explained.model_validate_json(file.read_bytes()))
    if found is None:
        return None
    left, rows, unseen = BYTES, [], 0
    for item in found.inputs:
        content = _picture(run, item)
        left -= len(content or b"")
        if content is None or left < 0:
            unseen += item.picture is not None
            continue
        kind = _KINDS[str(item.picture).rpartition(".")[2]]
        source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
        rows.append({**item.model_dump(), "source": source})
    return {
        "method": found.method,
        "about": found.about,
        "reason": found.reason,
        "rows": rows,
        "problems": [item.model_dump() for item in found.inputs if item.problem is not None],
        "wide": any(str(item.picture).endswith("svg") for item in found.inputs),
        "unseen": unseen,
        "left_out": found.left_out,
    }


def _picture(run: RunFiles, item: Shown) -> bytes | None:
    if item.picture is None or not _NAME.fullmatch(item.picture):
        return None
    return attempt(run, f"explained/{item.picture}", _bytes)


def _bytes(file: Path) -> bytes:
    content = file.read_bytes()
    if not content:
        raise ValueError("it is empty")
    return content
