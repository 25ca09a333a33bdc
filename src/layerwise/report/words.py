"""What the page calls things, and how it writes text and numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """What the examples of a task are called.

    Args:
        one, many: the example.
        place: the head of a column that says where it lies.
        shown: what a card shows of it.
        networks: a stage of training is a network that competes with those of the other stages.
        task: what the task is called, where its key does not say it.
        makes: the model makes examples.
    """

    one: str
    many: str
    place: str
    shown: str
    networks: bool = True
    task: str = ""
    makes: bool = False


COUNTS = ("active_units",)
UNKNOWN = Words("example", "examples", "Where", "picture", networks=False)
TASKS = {
    "image-classification": Words("image", "images", "File", "picture", networks=False),
    "text-classification": Words("text", "texts", "Where", "text"),
    "sequence-classification": Words("sequence", "sequences", "Where", "values"),
    "forecast": Words("series", "series", "Series", "values"),
    "vae": Words("image", "images", "File", "picture", task="variational autoencoder", makes=True),
    "gan": Words("image", "images", "File", "picture", task="generative adversarial network", makes=True),
}


def words_of(task: str) -> Words:
    """What the examples of a task are called; a task that nobody knows has examples.

    Example:
        >>> words_of("text-classification").many
        'texts'
    """
    return TASKS.get(task, UNKNOWN)


def visible(text: object) -> str:
    """Text from data on one line: what cannot be seen (line ends, marks that turn the direction) as its code.

    Example:
        >>> visible("a\\nb")
        'a\\\\nb'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in str(text)
    )


def begin(text: str) -> str:
    """The text as the beginning of a line; the rest stays as it is, unlike with `str.capitalize`.

    Example:
        >>> begin("nearest neighbour"), begin("TF-IDF")
        ('Nearest neighbour', 'TF-IDF')
    """
    return text[:1].upper() + text[1:]


def cut(text: str, most: int) -> str:
    """At most so many characters and an ellipsis, between two words where one ends near by.

    Example:
        >>> cut("a long story", 8), cut("short", 8)
        ('a long…', 'short')
    """
    if len(text) <= most:
        return text
    start = text[:most]
    gap = start.rfind(" ")
    return f"{start[:gap] if gap > 0.7 * most else start}…"


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def figure(value: float | None) -> str:
    """A figure of any size with the digits that tell.

    Example:
        >>> figure(0.5), figure(12345.6), figure(123.456), figure(0.00012)
        ('0.500', '12,346', '123.5', '0.00012')
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if size and (size < 0.001 or size >= 1e7):
        return f"{value:.2g}"
    return f"{value:,.{3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def fine(value: float | None) -> str:
    """As `figure`, and of what is below 0.1 three digits that tell, with at most five places.

    Example:
        >>> fine(0.00123), fine(0.000123), fine(243.21), fine(0.0)
        ('0.00123', '0.00012', '243.2', '0.000')
    """
    if value is None or not 0 < abs(value) < 0.1 or abs(value) < 1e-5:
        return figure(value)
    return f"{value:.{min(5, 2 - math.floor(math.log10(abs(value))))}f}"


def writer(metric: str) -> Callable[[float | None], str]:
    """How figures of a generator are written: counts as whole numbers, others by `fine`.

    Example:
        >>> writer("active_units")(16.0), writer("kid")(0.00134)
        ('16', '0.00134')
    """
    return (lambda value: number(value, 0)) if metric in COUNTS else fine


def percent(share: float) -> str:
    """A share as a percentage; what is little is not called nothing."""
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def rate(value: float | None) -> str:
    """A learning rate, short."""
    return "–" if value is None else f"{value:.2g}".replace("e-0", "e-")


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(value: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(75.2), duration(3.21)
        ('1 min 15 s', '3.2 s')
    """
    if value < 59.5:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
