"""Hostile tables by number: encodings x line ends x separators x faults, each with what is right to find in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "cp1252")
ENDS = ("\n", "\r\n", "\r")
SEPARATORS = {",": "csv", ";": "csv", "\t": "tsv"}
# What is done to single rows; those in BROKEN make a row that nobody can use.
BROKEN = ("few", "many", "zero", "open quote", "junk behind a quote", "bad byte", "blank text", "no label")
WHOLE = ("lines", "quotes", "huge", "blank line before")
_MARKS = {"utf-8-sig": b"\xef\xbb\xbf", "utf-16-be": b"\xfe\xff", "utf-16": b"\xff\xfe"}
_BAD = {"utf-8": b"\xe9", "utf-8-sig": b"\xe9", "cp1252": b"\x81"}  # a byte that is no text in that encoding
_HOLE = "\x1a"  # stands for the bad byte while the table is text


@dataclass
class Hostile:
    """One made table.

    Fields:
        content, suffix: the file.
        used: line -> (text, label) of each row that can be used.
        broken: lines of the rows that cannot.
        faults: by name, for people.
    """

    content: bytes
    suffix: str
    used: dict[int, tuple[str, str]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def hostile(number: int) -> Hostile:
    """The table of a number: every third has a single fault, so that what one fault does is seen by itself."""
    chance = random.Random(number)
    encoding = ENCODINGS[number % len(ENCODINGS)]
    end = ENDS[number // len(ENCODINGS) % len(ENDS)]
    separator = list(SEPARATORS)[number // (len(ENCODINGS) * len(ENDS)) % len(SEPARATORS)]
    kinds = [kind for kind in (*BROKEN, *WHOLE) if kind != "bad byte" or encoding in _BAD]
    rows = 24
    faults = {
        row: kinds[(number * 7 + place * 5) % len(kinds)]
        for place, row in enumerate(chance.sample(range(1, rows - 1), 1 + number % 3))
    }
    made = Hostile(b"", SEPARATORS[separator], faults=[encoding, repr(end), repr(separator), *faults.values()])
    lines = [f"id{separator}text{separator}label"]
    for row in range(rows):
        _add(made, lines, row, faults.get(row), (separator, end))
    text = end.join(lines) + (end if number % 2 else "")
    content = text.encode({"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding))
    mark = _MARKS.get(encoding, b"")
    made.content = mark + content.replace(_HOLE.encode(), _BAD.get(encoding, b""))
    return made


def _add(made: Hostile, lines: list[str], row: int, fault: str | None, marks: tuple[str, str]) -> None:
    separator, end = marks
    text, label = f"Größe {row}, “très” bien", ("gut", "schön")[row % 2]
    if fault == "blank line before":
        lines.append("")
    line = sum(each.count(end) + 1 for each in lines) + 1
    text = {
        "lines": f"first{end}second{separator} third {row}{end}{end}last",
        "quotes": f'he said "no"{separator} {row}',
        "huge": f"{row} " + "long word " * 20_000,
        "zero": f"a\0b {row}",
        "bad byte": f"caf{_HOLE} {row}",
        "blank text": "  ",
    }.get(fault or "", text)
    label = "" if fault == "no label" else label
    quoted = '"' + text.replace('"', '""') + '"'
    cells = [str(row), quoted if separator in text or '"' in text or end in text or row % 2 else text, label]
    if fault == "few":
        del cells[0]
    elif fault == "many":
        cells.append("more")
    elif fault == "open quote":
        cells[1] = f'"open {row}'
    elif fault == "junk behind a quote":
        cells[1] = f'"closed" and more {row}'
    lines.append(separator.join(cells))
    if fault in BROKEN:
        made.broken.add(line)
    else:
        made.used[line] = (text, label)
