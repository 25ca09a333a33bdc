"""Where the words of a text stand in it: `tokens.cut` makes texts alike first, which moves characters."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from layerwise.data.tokens import cut


@dataclass(frozen=True)
class Placed:
    """A text and its words.

    Args:
        text: as it came; of a text whose words could not be found in it again, the words themselves with blanks.
        words: as `tokens.cut` gives them.
        spans: of each word, its first character in the text and the one behind its last.
    """

    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


def place(text: str) -> Placed:
    """The words of a text with their places in it.

    Example:
        >>> found = place("It\u2019s GREAT")
        >>> [(word, found.text[first:last]) for word, (first, last) in zip(found.words, found.spans)][-1]
        ('great', 'GREAT')
    """
    words = cut(text)
    spans = _spans(text, words)
    if spans is not None:
        return Placed(text, tuple(words), tuple(spans))
    plain, spans = "", []
    for word in words:
        spans.append((len(plain), len(plain) + len(word)))
        plain += f"{word} "
    return Placed(plain.rstrip(), tuple(words), tuple(spans))


def _spans(text: str, words: list[str]) -> list[tuple[int, int]] | None:
    """Places of words in a text; None where it does not hold them in this order.

    What lies between words (blanks, invisible characters) is never a word's next character.
    """
    alike, begins, ends = _alike(text)
    found, at = [], 0
    for word in words:
        first = None
        for character in word:
            while at < len(alike) and alike[at] != character:
                at += 1
            if at == len(alike):
                return None
            first = at if first is None else first
            at += 1
        assert first is not None, "no word is empty"
        found.append((begins[first], ends[at - 1]))
    return found


def _alike(text: str) -> tuple[str, list[int], list[int]]:
    """The text in lower case and Unicode form NFKC; of each character the first it came from and the one behind."""
    if text.isascii():
        return text.lower(), list(range(len(text))), list(range(1, len(text) + 1))
    parts, begins, ends = [], list[int](), list[int]()
    for first, last in _clusters(text):
        for character in unicodedata.normalize("NFKC", text[first:last]):
            parts.append(character)
            times = len(character.lower())
            begins += [first] * times
            ends += [last] * times
    whole = "".join(parts).lower()  # as a whole: at the end of a word, a capital sigma becomes another letter
    return whole, begins[: len(whole)], ends[: len(whole)]


def _clusters(text: str) -> list[tuple[int, int]]:
    """Pieces of a text that are put in form NFKC each by itself: a letter with the marks that it takes up."""
    found: list[tuple[int, int]] = []
    first, formed = 0, ""
    for place, character in enumerate(text):
        own = unicodedata.normalize("NFKC", character)
        if place and not character.isascii():
            joined = unicodedata.normalize("NFKC", text[first : place + 1])
            if unicodedata.combining(character) or joined != formed + own:
                formed = joined
                continue
        if place:
            found.append((first, place))
        first, formed = place, own
    return [*found, (first, len(text))] if text else []
