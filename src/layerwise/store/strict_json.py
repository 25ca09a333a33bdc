"""JSON that is refused rather than guessed, and JSON that carries a hash of itself.

Python's reader keeps the last of two equal keys, takes `NaN`, and recurses as deep as the file says. A file that is to
be trusted may do none of it. A *sealed* document names the hash of its own text in its first line, so damage is seen
before a byte of it is parsed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

MAX_DEPTH = 32
"""Deepest nest of lists and objects that is read, unless told otherwise."""

# A string (possibly unterminated, so that the scan stays linear on any input) or a bracket.
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SEAL = b'{"sha256":"'
_HEX = 64


def parse(data: bytes, depth: int = MAX_DEPTH) -> Any:
    """Read one JSON document.

    Raises:
        ValueError: not UTF-8, not JSON, a key twice in one object, NaN or an infinity, or more than `depth` nests.

    Example:
        >>> parse(b'{"a": [1, 2.5]}')
        {'a': [1, 2.5]}
    """
    text = data.decode("utf-8")
    level = 0
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark in "[{":
            level += 1
        elif mark in "]}":
            level -= 1
        if level > depth:
            raise ValueError(f"lists and objects are nested more than {depth} deep")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)


def dumps(value: Any, *, indent: int | None = None) -> bytes:
    """Any plain value as JSON in UTF-8; what JSON cannot say as a number (NaN, infinities) becomes null.

    Example:
        >>> dumps({"loss": float("nan"), "n": 3})
        b'{"loss": null, "n": 3}'
    """
    text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    # A lone surrogate (a file name that is not UTF-8) comes out as \udcXX, which inside a JSON text is its own escape.
    return text.encode("utf-8", "backslashreplace")


def plain(value: Any) -> Any:
    """`value` with numpy scalars as Python numbers, tuples as lists, and numbers that are not finite as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def seal(content: Mapping[str, Any]) -> bytes:
    """A JSON object whose first line is the SHA-256 of all that follows it.

    Example:
        >>> seal({"a": 1})[75:]
        b'",\\n"a": 1}'
    """
    assert content and "sha256" not in content
    # Escapes only, so that a text that holds a document in a text stays the same bytes everywhere.
    body = json.dumps(content, allow_nan=False, ensure_ascii=True).encode("ascii")[1:]
    return _SEAL + hashlib.sha256(body).hexdigest().encode("ascii") + b'",\n' + body


def unseal(data: bytes, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Check the hash of a sealed document, and only then read it.

    Raises:
        ValueError: it is not sealed, is damaged, or is not acceptable JSON.

    Example:
        >>> unseal(seal({"a": 1}))
        {'a': 1}
    """
    start = len(_SEAL) + _HEX
    body = data[start + 3 :]
    if not data.startswith(_SEAL) or data[start : start + 3] != b'",\n':
        raise ValueError("it does not begin with its own hash, so it is damaged or of another kind")
    if hashlib.sha256(body).hexdigest().encode("ascii") != data[len(_SEAL) : start]:
        raise ValueError("it does not match its own hash, so it was damaged or changed")
    content: dict[str, Any] = parse(b"{" + body, depth)
    return content


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number
