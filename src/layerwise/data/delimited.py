"""Delimited text (CSV, TSV) read without trusting it: a value stays the text it is, and no row is lost or shifted.

Python's csv splits the fields, in its strict mode. What is done here is what it leaves open: which encoding, which
separator and which line end a file has, and how to go on behind a row that is broken. Every row that comes in is a row
of the table; one that cannot be used is a *problem* with its reason, and every row knows the line that it begins in.
"""

from __future__ import annotations

import codecs
import csv
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from layerwise.data.files import read_file
from layerwise.data.rows import printable
from layerwise.errors import BadImage, DataError

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BINARY = (
    (b"PK\x03\x04", "a ZIP archive, as Excel workbooks are"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
)
_SAVE = "Save it as CSV in UTF-8."
# A byte that is no text in the encoding stands in the text as a lone surrogate, which nothing else can be.
_BROKEN = re.compile("[\ud800-\udfff]")
_SAMPLE = 500  # lines from which the separator is told
_STRANGE = 32  # bytes above 127 from which on their share says whether a text is Western European
_QUOTE = "a quote is opened and never properly closed"
_BREAK = "a line end stands within a field that is not quoted"
_MOST_COLUMNS = 100_000
_limit = threading.Lock()


@dataclass(frozen=True)
class Table:
    """A table with what a person should know of it.

    Fields:
        frame: the rows; a row that cannot be split into its fields is null in every column.
        file: the name of the file; empty where there is none.
        lines: the line that each row begins in, from 1; empty where rows have no lines.
        problems: row -> why it cannot be used.
        notes: how the file was read, where that was not plain.
    """

    frame: pl.DataFrame
    file: str = ""
    lines: Sequence[int] = ()
    problems: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def name(self, row: int) -> str:
        """A row's name for people: file and line, else its number from 0.

        Example:
            >>> Table(pl.DataFrame({"a": ["x"]}), "t.csv", [2]).name(0), Table(pl.DataFrame()).name(7)
            ('t.csv:2', 'table[7]')
        """
        return f"{self.file}:{self.lines[row]}" if self.lines else f"{self.file or 'table'}[{row}]"


@dataclass
class _Rows:
    """Records of a file: where each begins, and its fields, or the reason why it has none."""

    lines: list[int] = field(default_factory=list)
    fields: list[list[str]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    blank: int = 0
    spans: bool = False  # whether a field holds a line end


def read_delimited(path: Path, *, guess_separator: bool = False) -> Table:
    r"""Read a file of fields with a head: `.tsv` has tabs between them, any other name has commas.

    The encoding is that of the byte order mark, else UTF-8 (or UTF-16, by its zero bytes), else Windows-1252, which a
    note says. Lines end with LF, CRLF or CR. Fields may be quoted, hold line ends, and be of any length. Empty fields
    are null. A row is a problem where it has more or fewer fields than the head, where its quotes do not match, or
    where it holds a zero byte or a byte that is no text. Lines without any text are counted in a note.

    Args:
        path: of at most 512 MiB.
        guess_separator: also take another separator, where the rows say so with certainty, and note it.

    Raises:
        DataError: the file cannot be read or is no text, has no rows, names a column twice, has another separator, or
            has quotes from which no row can be told.
    """
    name = printable(path.name)
    text, notes = _decode(_content(path), str(path))
    lines = _split_lines(text)
    start, separator = _separator(lines, path, notes, guess_separator)
    with _any_field_size(len(text)):
        head, first = _head(lines, start, separator, path)
        rows = _records(lines, first, separator, len(head), path)
        if separator == "\t" and (rows.spans or rows.problems):
            literal = _records(lines, first, separator, len(head), path, quotes=False)
            if _never_quotes(literal, len(head)):
                rows = literal
                notes.append(f"{name} is written without quoting: quotes in it were read as text.")
    if not rows.fields:
        raise DataError(f"{path} has no rows.", expected="a row for each example below the names of the columns")
    if rows.blank:
        notes.append(f"{name} has {rows.blank:,} blank lines; they were passed over.")
    columns = _names(head, name, path, notes)
    values = zip(*_judged(rows, len(columns), text), strict=True)
    series = [pl.Series(column, cells, dtype=pl.String) for column, cells in zip(columns, values, strict=True)]
    return Table(pl.DataFrame(series), name, rows.lines, rows.problems, tuple(notes))


def _content(path: Path) -> bytes:
    try:
        content = read_file(path)
    except BadImage as error:
        hint = "Save it as Parquet." if "above the limit" in error.came else "Check the path."
        raise DataError(f"{path} cannot be read: {error.came}.", expected="a text file", fix=hint) from None
    for magic, kind in _BINARY:
        if content.startswith(magic):
            raise DataError(f"{path} is {kind}.", expected="a text file", fix=_SAVE)
    if not content:
        raise DataError(f"{path} is empty.", expected="a line with the names of the columns, and a row an example")
    return content


def _decode(content: bytes, path: str) -> tuple[str, list[str]]:
    """The text, with lone surrogates for bytes that are none, and a note where it is not UTF-8."""
    name = Path(path).name
    for mark, codec in _MARKS:
        if content.startswith(mark):
            if codec == "utf-8":
                return content[len(mark) :].decode(codec, "surrogateescape"), []
            return _decode_wide(content[len(mark) :], codec, path)
    if wide := _wide(content[:4096]):
        return _decode_wide(content, wide, path)
    text = content.decode("utf-8", "surrogateescape")
    bad = len(re.findall("[\udc80-\udcff]+", text)) if _BROKEN.search(text) else 0
    if not bad or bad <= len(re.findall("[\x80-\ud7ff\ue000-\U0010ffff]", text)):
        return text, []
    high = len(content) - len(content.translate(None, bytes(range(128, 256))))
    letters = sum(content.count(bytes([letter])) for letter in b"etaoinshrETAOINSHR")
    if high >= _STRANGE and high > letters:
        raise DataError(
            f"{path} is not UTF-8, and has too many bytes above 127 to be Western European text ({high:,}): "
            "its encoding cannot be told.",
            expected="UTF-8",
            fix=_SAVE,
        )
    note = f"{printable(name)} is not UTF-8; it was read as Windows-1252 (cp1252), which holds Latin-1."
    return content.decode("cp1252", "surrogateescape"), [note]


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark, told by the zero byte beside each ASCII character."""
    pairs = len(sample) // 2
    even, odd = sample[0 : 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.05 * pairs:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * pairs and odd < 0.05 * pairs else None


def _decode_wide(content: bytes, codec: str, path: str) -> tuple[str, list[str]]:
    width = 2 if "16" in codec else 4
    whole = len(content) - len(content) % width
    try:
        text = content[:whole].decode(codec, "surrogatepass") + ("\udc80" if whole < len(content) else "")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not the {codec.upper()} that it begins as: {error.reason}.", fix=_SAVE) from None
    return text, [f"{printable(Path(path).name)} was read as {codec[:6].upper()}."]


def _split_lines(text: str) -> list[str]:
    """Lines with their ends. The first end outside quotes says whether lines end with CR alone or with LF."""
    head = re.match(r'(?:"[^"]*+"|[^"\r\n])*+', text)
    assert head is not None
    end = re.search(r"\r\n?|\n", text[head.end() : head.end() + 2]) or re.search(r"\r\n?|\n", text)
    mark = "\r" if end is not None and end.group() == "\r" else "\n"
    lines = [line + mark for line in text.split(mark)]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _separator(lines: list[str], path: Path, notes: list[str], guess: bool) -> tuple[int, str]:
    """The line that the head may begin in, and what stands between fields."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    start, found = 0, usual
    if lines and (told := re.fullmatch(r"sep=([,;|\t])\s*", lines[0])):  # Excel's own first line
        start, found = 1, told[1]
    elif (fits := {mark: _fit(lines[:_SAMPLE], mark) for mark in SEPARATORS})[usual] < 0.5:
        best = max(fits, key=lambda mark: fits[mark])
        found = best if fits[best] >= 0.9 else usual
    if found != usual:
        if not guess:
            raise DataError(
                f"The columns of {path} seem to be separated by {SEPARATORS[found]}.",
                expected=SEPARATORS[usual],
                fix=f"Columns separated by {SEPARATORS[found]}: save the table with commas, as .csv.",
            )
        notes.append(f"{printable(path.name)} is separated by {SEPARATORS[found]}, and was read so.")
    return start, found


def _fit(lines: list[str], separator: str) -> float:
    """The share of rows with as many fields as the head has, 0 where that has one."""
    with _any_field_size(sum(map(len, lines))):
        widths = [len(record.cells) for record in _parse(lines, 0, separator) if record.cells]
    return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0.0


@contextmanager
def _any_field_size(size: int) -> Iterator[None]:
    """Lift csv's limit of 128 KiB a field; it is one number for the whole process, so it is put back."""
    with _limit:
        before = csv.field_size_limit(max(size, csv.field_size_limit()))
        try:
            yield
        finally:
            csv.field_size_limit(before)


class _Record(NamedTuple):
    """Lines `line` to `end` (from 0, without it) as fields, or the reason why they are none."""

    line: int
    end: int
    cells: list[str]
    reason: str = ""


def _parse(lines: list[str], start: int, separator: str, quotes: bool = True) -> Iterator[_Record]:
    """Records from a line on; a broken one is the last."""
    rest = (lines[line] for line in range(start, len(lines)))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(rest, delimiter=separator, strict=True, quoting=quoting)
    line = start
    try:
        for cells in reader:
            yield _Record(line, start + reader.line_num, cells)
            line = start + reader.line_num
    except csv.Error as error:
        reason = _BREAK if "new-line" in str(error) else _QUOTE
        yield _Record(line, max(line + 1, start + reader.line_num), [], reason)


def _head(lines: list[str], start: int, separator: str, path: Path) -> tuple[list[str], int]:
    """The names of the columns, and the line behind them."""
    for record in _parse(lines, start, separator):
        if record.reason:
            raise DataError(
                f"{path}, line {record.line + 1}: {record.reason}.", expected="the names of the columns in that line"
            )
        if any(cell.strip() for cell in record.cells):
            return record.cells, record.end
    raise DataError(f"{path} has no rows.", expected="a line with the names of the columns, and a row an example")


def _records(lines: list[str], start: int, separator: str, width: int, path: Path, quotes: bool = True) -> _Rows:
    """All records from a line on, broken ones too.

    A quote that is not closed takes the lines behind it with it. Where these are whole rows by themselves, only the
    line with the quote is broken; where they are not, they are parts of one broken record.
    """
    rows, place, spent, blank = _Rows(), start, 0, 0
    while place < len(lines):
        for record in _parse(lines, place, separator, quotes):
            place = record.end
            if record.reason:
                spent += record.end - record.line
                if spent > 2 * len(lines) + 1000:  # each step reads on to the end: the file may be made for that
                    raise DataError(
                        f"The quotes in {path} do not match from line {record.line + 1} on: no row can be told.",
                        fix="Write the table again with a program that quotes fields.",
                    )
                if _are_rows(lines[record.line + 1 : record.end], separator, width):
                    place = record.line + 1
                upto = f" (up to line {place})" if place > record.line + 1 else ""
                rows.problems[len(rows.fields)] = record.reason + upto
            elif not record.cells or (width > 1 and len(record.cells) == 1 and not record.cells[0].strip()):
                blank += 1
                continue
            rows.blank, blank = rows.blank + blank, 0  # those behind the last row are the file's end
            rows.spans = rows.spans or record.end > record.line + 1
            rows.lines.append(record.line + 1)
            rows.fields.append(record.cells)
    return rows


def _never_quotes(rows: _Rows, width: int) -> bool:
    """Whether quotes are part of the texts: each line is a whole row, and few fields both begin and end with one."""
    if rows.problems or any(len(cells) != width for cells in rows.fields):
        return False
    begun = [cell for cells in rows.fields for cell in cells if cell.startswith('"')]
    return sum(len(cell) > 1 and cell.endswith('"') for cell in begun) < len(begun) / 2


def _are_rows(lines: list[str], separator: str, width: int) -> bool:
    """Whether lines that a quote took with it are rows by themselves.

    A quote within a line then begins a field: one behind other text is the end of what was quoted. Of the last line it
    is enough that it begins so, as it may be the first of a row that goes on.
    """
    whole = 0
    for number, line in enumerate(lines, 1):
        quote = line.find('"')
        if quote > 0 and line[quote - 1] != separator:
            continue
        record = next(_parse([line], 0, separator), None)
        if record is None or not record.cells:
            whole += number == len(lines) and quote >= 0
        else:
            whole += len(record.cells) == width
    return bool(lines) and whole >= 0.9 * len(lines)


def _names(head: list[str], name: str, path: Path, notes: list[str]) -> list[str]:
    """The names of the columns; those without one are numbered."""
    if len(head) > _MOST_COLUMNS:
        raise DataError(f"{path} has {len(head):,} columns.", expected=f"{_MOST_COLUMNS:,} at most")
    names = [_mended(cell).strip() for cell in head]
    nameless = [place for place, cell in enumerate(names) if not cell]
    for place in nameless:
        names[place] = f"column_{place + 1}"
    if nameless:
        numbers = ", ".join(str(place + 1) for place in nameless[:5]) + (", ..." if len(nameless) > 5 else "")
        notes.append(
            f"{name} has columns without a name ({numbers}); they are called column_{nameless[0] + 1} and so on."
        )
    twice = [f'"{cell}"' for cell, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{path} names columns more than once: {', '.join(twice[:5])}.",
            expected="a name of its own for each column",
            fix="Rename them in the first line.",
        )
    return names


def _judged(rows: _Rows, width: int, text: str) -> list[list[str | None]]:
    """Every row as wide as the head, empty fields null; what cannot be used becomes a problem."""
    odd = "\0" in text or _BROKEN.search(text) is not None
    found: list[list[str | None]] = []
    for row, cells in enumerate(rows.fields):
        if len(cells) != width:
            count = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
            rows.problems.setdefault(row, f"{count} where the head has {width}")
            found.append([None] * width)
            continue
        if odd and (reason := _damage(cells)):
            rows.problems[row] = reason
            cells = [_mended(cell) for cell in cells]
        found.append([cell or None for cell in cells])
    return found


def _damage(cells: Sequence[str]) -> str | None:
    for cell in cells:
        if "\0" in cell:
            return "it holds a zero byte, as damaged files do"
        if found := _BROKEN.search(cell):
            byte = ord(found.group()) - 0xDC00
            what = f"a byte that is no text (0x{byte:02X})" if 0x80 <= byte <= 0xFF else "half a character"
            return f"it holds {what}"
    return None


def _mended(cell: str) -> str:
    """A text that can be printed and kept: what is no character becomes U+FFFD."""
    return _BROKEN.sub("\ufffd", cell).replace("\0", "\ufffd")
