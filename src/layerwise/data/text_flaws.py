"""What went wrong with single texts before they came here: lost signs, wrong encodings, left-overs of web pages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from layerwise.data.text_copies import words_of

# UTF-8 that was read as Windows-1252 or Latin-1. Of what may follow a capital that languages use, quotes, dots, spaces
# and guillemets are left out: all of them stand behind such a letter in sound texts as well.
_BEHIND = "\x80-\x90\x98-\x9f¡-ª¬-º¼-¿€‚ƒ„†‡ˆ‰Š‹ŒŽ˜™š›œžŸ"
_ANY = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(f"[ÂÃ][{_BEHIND}]|â[€\x80][{_ANY}]|ðŸ[{_ANY}]|(?:[ÐÑ][{_ANY}]){{2}}|ï»¿")
_LOST = "\ufffd"
_TAGS = "a|b|big|blockquote|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|script|small|span|strong|style|sub"
_HTML = re.compile(
    rf"</?(?:{_TAGS}|sup|table|tbody|td|th|tr|u|ul)(?:\s+[a-z-]+\s*=[^<>]*)?\s*/?>"
    r"|&(?:amp|lt|gt|quot|apos|nbsp|[lr]squo|[lr]dquo|[mn]dash|hellip|#\d{1,7}|#x[0-9a-f]{1,6});",
    re.IGNORECASE,
)
_LONG, _LONG_WORDS = 5.0, 100  # times the 99th percentile, and words, from which on a text is extremely long
_PERCENTILES = (("shortest", 0), ("5 %", 5), ("median", 50), ("95 %", 95), ("99 %", 99), ("longest", 100))


def has_lost(text: str) -> bool:
    """Whether it holds a replacement character: a sign that an earlier program could not read.

    Example:
        >>> has_lost("caf\\ufffd")
        True
    """
    return _LOST in text


def is_garbled(text: str) -> bool:
    """Whether it holds UTF-8 that was read in another encoding.

    Example:
        >>> is_garbled("CafÃ© au lait"), is_garbled("Café à São Paulo")
        (True, False)
    """
    return not text.isascii() and _MOJIBAKE.search(text) is not None


def has_html(text: str) -> bool:
    """Whether it holds tags or entities of a web page.

    Example:
        >>> has_html("good<br />film"), has_html("R&amp;B"), has_html("a < b > c & d")
        (True, True, False)
    """
    return ("<" in text or "&" in text) and _HTML.search(text) is not None


def has_content(text: str) -> bool:
    """Whether it holds a letter, a digit or a symbol such as an emoji, and not only punctuation.

    Example:
        >>> has_content("..."), has_content("🙂")
        (False, True)
    """
    return any(unicodedata.category(sign)[0] in "LNS" for sign in text)


def word_counts(texts: Sequence[str]) -> NDArray[np.int64]:
    """(texts,) words each."""
    return np.array([len(words_of(text)) for text in texts], dtype=np.int64)


def percentiles(numbers: NDArray[np.int64]) -> dict[str, float]:
    """The spread of lengths, by names for people.

    Example:
        >>> percentiles(np.arange(101))["median"]
        50.0
    """
    return {name: round(float(np.percentile(numbers, share)), 1) for name, share in _PERCENTILES}


def extremely_long(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of texts that are far longer than nearly all others, as where rows of a file were joined by mistake.

    Example:
        >>> extremely_long(np.array([20] * 200 + [900])).tolist()
        [200]
    """
    return np.flatnonzero(words > max(_LONG * float(np.percentile(words, 99)), _LONG_WORDS))
