"""Which language a text is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

_LEAST = 20  # bytes of letters in UTF-8: less could be many languages
_MOST = 500  # characters that are looked at
_SURE = 0.7  # probability; below it nothing is said


def languages(texts: Sequence[str], advance: Callable[[int], None] = lambda count: None) -> list[str | None]:
    """The language of each text as an ISO 639 code; None where it is too short or unsure to tell.

    A naive Bayes model of bytes tells 139 languages apart (Lui and Baldwin, ACL 2012; the model of py3langid).

    Args:
        texts: any.
        advance: told how many more are done.

    Example:
        >>> languages(["Das ist ein sehr schöner Film, den ich gerne noch einmal sehe.", "ok"])
        ['de', None]
    """
    model = _model()
    found: list[str | None] = []
    for text in texts:
        start = text[:_MOST]
        letters = "".join(filter(str.isalpha, start))
        language, sure = model.classify(start) if len(letters.encode("utf-8", "replace")) >= _LEAST else ("", 0.0)
        found.append(str(language) if sure >= _SURE else None)
        advance(1)
    return found


@cache
def _model() -> Any:
    """Read once, as it takes half a second; imported only where it is asked."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
