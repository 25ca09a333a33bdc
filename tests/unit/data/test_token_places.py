"""Words are found again in the text that they were cut from."""

from __future__ import annotations

import random
import unicodedata

import pytest

from layerwise.data.token_places import place
from layerwise.data.tokens import cut

SIGNS = "aZ9_ .,!\t\n\u00e9e\u0301\u0308\ufb01\u03a3\u03c2\u0130\u212b\u1e9b\u0323\u00a8\u200b\u00ad\u202e\u6f22\uff21"
SIGNS += "\u1100\u1161\u11a8\u0915\u094d\u0937\u0e33\u0344\u0f73\U0001f600\ufe0f\u2126\u3000\ud800"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It\u2019s GREAT...", ["It", "\u2019", "s", "GREAT", ".", ".", "."]),
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("\ufb01lm \u0130stanbul \u039f\u0394\u039f\u03a3", ["\ufb01lm", "\u0130stanbul", "\u039f\u0394\u039f\u03a3"]),
        ("so\u00adft \u6f22\u5b57 \u1112\u1161\u11ab", ["so\u00adft", "\u6f22", "\u5b57", "\u1112\u1161\u11ab"]),
        ("", []),
    ],
)
def test_words_have_their_places(text: str, expected: list[str]) -> None:
    found = place(text)
    assert found.text == text and [text[first:last] for first, last in found.spans] == expected


@pytest.mark.parametrize("seed", range(300))
def test_any_text_has_a_place_for_every_word_in_order(seed: int) -> None:
    drawn = random.Random(seed)
    text = "".join(drawn.choice(SIGNS) for _ in range(drawn.randint(1, 40)))
    found = place(text)
    assert list(found.words) == cut(text) and len(found.spans) == len(found.words)
    for (first, last), (following, _) in zip(found.spans, found.spans[1:], strict=False):
        assert 0 <= first < last <= len(found.text) and first <= following
    if found.text == text:
        for word, (first, last) in zip(found.words, found.spans, strict=True):
            piece = unicodedata.normalize("NFKC", text[first:last]).lower()
            assert word.replace("\u03c2", "\u03c3")[0] in piece.replace("\u03c2", "\u03c3")


def test_few_texts_cannot_be_placed_and_these_are_shown_by_their_words() -> None:
    drawn = random.Random(0)
    texts = ["".join(drawn.choice(SIGNS) for _ in range(20)) for _ in range(500)]
    changed = [found for text in texts if (found := place(text)).text != text]
    assert len(changed) <= 5
    assert all([found.text[a:b] for a, b in found.spans] == list(found.words) for found in changed)
