from __future__ import annotations

import json

import numpy as np
import pytest

from layerwise.store import strict_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": {"a": 1, "a": 1}}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "too large"),
        (b"[" * 33 + b"]" * 33, "nested"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested"),
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"9" * 5000, "digits"),
        (b'"' + b'\\"' * 200_000, "Unterminated"),
        (b'"abc\\', "Unterminated"),
    ],
)
def test_what_is_not_plain_json_is_refused_with_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        strict_json.parse(text)


def test_brackets_within_texts_are_no_nests() -> None:
    text = json.dumps(["[" * 100, '"' + "{" * 100, "\\" * 7 + '"[['])
    assert strict_json.parse(text.encode()) == json.loads(text)


def test_the_deepest_allowed_nest_is_read() -> None:
    assert strict_json.parse(b"[" * 32 + b"]" * 32)


def test_what_is_not_finite_is_written_as_null() -> None:
    value = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": np.float32("nan"), "d": (1, np.int64(2))}
    assert strict_json.parse(strict_json.dumps(value)) == {"a": None, "b": [None, None], "c": None, "d": [1, 2]}


def test_any_text_comes_back_even_a_file_name_that_is_not_utf8() -> None:
    for text in ("Löwe", "\\\udcff", "a\udc80b", '\x00\n\t"', "𝄞"):
        assert strict_json.parse(strict_json.dumps({text: text})) == {text: text}


def test_every_flipped_bit_of_a_sealed_text_is_seen() -> None:
    content = {"name": "Löwe", "numbers": [1, 2.5, -0.0, None, True], "nested": {"a": {"b": []}}}
    data = strict_json.seal(content)
    assert strict_json.unseal(data) == content
    assert json.loads(data).keys() == {"sha256", *content}
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(ValueError, match="hash"):
                strict_json.unseal(bytes(damaged))


def test_every_cut_of_a_sealed_text_is_seen() -> None:
    data = strict_json.seal({"a": [1, 2, 3]})
    for end in range(len(data)):
        with pytest.raises(ValueError, match="hash"):
            strict_json.unseal(data[:end])
    with pytest.raises(ValueError, match="hash"):
        strict_json.unseal(data + b"\n")
