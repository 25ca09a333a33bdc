"""Hostile tables: rows in = used + reported, each by its line; nothing hangs, nothing but our own errors comes out."""

from __future__ import annotations

import csv
import random
import re
import time
from pathlib import Path

import polars as pl
import pytest

from layerwise.data.delimited import read_delimited
from layerwise.data.images import find_images
from layerwise.data.tables import open_table
from layerwise.data.texts import find_texts
from layerwise.errors import DataError
from layerwise_tests.tables import hostile


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("number", range(180))
def test_rows_in_are_rows_used_and_rows_reported(number: int, tmp_path: Path) -> None:
    made = hostile(number)
    path = write(tmp_path / f"t.{made.suffix}", made.content)
    before = csv.field_size_limit()
    table = find_texts(path, text="text", label="label").table
    assert csv.field_size_limit() == before and path.read_bytes() == made.content
    found = {
        int(name.rpartition(":")[2]): row for name, *row in table.select("path", "text", "label", "problem").rows()
    }
    used = {line: (text, label) for line, (text, label, problem) in found.items() if problem is None}
    reported = {line: problem for line, (*_, problem) in found.items() if problem is not None}
    swallowed = {
        each
        for line, problem in reported.items()
        if (upto := re.search(r"up to line (\d+)", problem))
        for each in range(line, int(upto[1]) + 1)
    }
    assert used == {line: row for line, row in made.used.items() if line not in swallowed}, made.faults
    assert made.broken <= set(reported) | swallowed, made.faults
    assert len(found) == table.height and (len(made.broken) > 1 or not swallowed), made.faults


def test_damage_anywhere_gives_rows_or_our_own_error(tmp_path: Path) -> None:
    pieces = [b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b'""', b',"', b"\xc3", b"sep=;\n"]
    read = 0
    for number in range(300):
        chance = random.Random(number)
        content = bytearray(hostile(chance.randrange(1000)).content[: chance.choice([50, 400, 3000])])
        for _ in range(chance.choice([1, 3, 30])):
            place = chance.randrange(len(content) + 1)
            content[place : place + chance.choice([0, 0, 1, 5, 40])] = chance.choice(pieces) * chance.choice([1, 2, 50])
        try:
            path = write(tmp_path / f"t.{chance.choice(['csv', 'tsv'])}", bytes(content))
            table = read_delimited(path, guess_separator=True)
        except DataError:
            continue
        read += 1
        assert len(table.lines) == table.frame.height and sorted(set(table.lines)) == list(table.lines)
        assert all(0 <= row < table.frame.height for row in table.problems)
    assert read > 150


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ()),
        ("utf-8-sig", ()),
        ("utf-16", ("t.csv was read as UTF-16.",)),
        ("utf-16-le", ("t.csv was read as UTF-16.",)),
        ("utf-32", ("t.csv was read as UTF-32.",)),
        ("cp1252", ("t.csv is not UTF-8; it was read as Windows-1252 (cp1252), which holds Latin-1.",)),
    ],
)
def test_the_encoding_is_found_and_said(encoding: str, note: tuple[str, ...], tmp_path: Path) -> None:
    rows = 'text,label\n"Größe, “NA”",01\nça va,NA\n'
    table = open_table(write(tmp_path / "t.csv", rows.encode(encoding)))
    assert table.frame.rows() == [("Größe, “NA”", "01"), ("ça va", "NA")] and table.notes == note
    assert [table.name(row) for row in (0, 1)] == ["t.csv:2", "t.csv:3"] and not table.problems


def test_one_bad_byte_is_the_problem_of_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "text,label\nGrün,a\ncaf".encode() + b"\xe9,b\nx,c\n")
    table = open_table(path)
    assert table.problems == {1: "it holds a byte that is no text (0xE9)"} and table.name(1) == "t.csv:3"
    assert table.frame["text"].to_list() == ["Grün", "caf\ufffd", "x"]
    half = open_table(write(path, "text,label\nx,a\n".encode("utf-16") + b"y"))
    assert half.frame.height == 2 and list(half.problems) == [1]


def test_an_encoding_that_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    for encoding in ("cp1251", "koi8-r"):
        rows = "text,label\n" + "Очень хороший фильм про войну,да\n" * 3
        with pytest.raises(DataError, match=r"not UTF-8.*Save it as CSV in UTF-8"):
            open_table(write(tmp_path / "t.csv", rows.encode(encoding)))
    for content, kind in ((b"PK\x03\x04rest", "Excel"), (b"\x1f\x8bxx", "gzip"), (b"", "empty")):
        with pytest.raises(DataError, match=kind):
            open_table(write(tmp_path / "t.csv", content))


def test_other_separators_are_noticed(tmp_path: Path) -> None:
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        path = write(tmp_path / "t.csv", f"text{mark}label\na, b, c{mark}x\nd, e{mark}y\n")
        with pytest.raises(DataError, match=f"separated by {word}: save the table with commas"):
            open_table(path)
        table = open_table(path, guess_separator=True)
        assert table.frame.rows() == [("a, b, c", "x"), ("d, e", "y")]
        assert table.notes == (f"t.csv is separated by {word}, and was read so.",)
    prose = write(tmp_path / "p.csv", "label,text\nham,one; two, three\nspam,well; well\n")
    assert open_table(prose, guess_separator=True).problems == {0: "3 fields where the head has 2"}
    excel = write(tmp_path / "e.csv", 'sep=;\ntext;label\n"a;b";x\n')
    assert open_table(excel, guess_separator=True).frame.rows() == [("a;b", "x")]


def test_quotes_that_do_not_match_cost_one_row(tmp_path: Path) -> None:
    rows = ["text,label", *(f"row {n},a" for n in range(2, 30))]
    rows[4] = '"never closed,a'
    assert open_table(write(tmp_path / "t.csv", "\n".join(rows))).problems == {
        3: "a quote is opened and never properly closed"
    }
    rows[8] = '"quoted, and\non two lines",b'
    table = open_table(write(tmp_path / "t.csv", "\n".join(rows)))
    assert list(table.problems) == [3] and table.frame["text"][7] == "quoted, and\non two lines"
    assert table.name(7) == "t.csv:9" and table.name(8) == "t.csv:11"
    broken = 'text,label\n"one\ntwo, three\nfour" five,a\nnext,b\n'
    table = open_table(write(tmp_path / "t.csv", broken))
    assert table.frame.rows() == [(None, None), ("next", "b")]
    assert table.problems == {0: "a quote is opened and never properly closed (up to line 4)"}
    with pytest.raises(DataError, match="quotes .* do not match from line"):
        open_table(write(tmp_path / "t.csv", "text,label\n" + ("a,b\n" * 10 + 'x","\n') * 1000))


def test_tabs_without_quoting_keep_their_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'label\ttext\nham\t"Yes" he said\nspam\t"open\nham\tshut"\nspam\tx\n')
    table = open_table(path)
    assert table.frame["text"].to_list() == ['"Yes" he said', '"open', 'shut"', "x"] and not table.problems
    assert table.notes == ("t.tsv is written without quoting: quotes in it were read as text.",)
    quoted = open_table(write(path, 'label\ttext\nham\t"two\nlines"\nspam\t"a\tb"\n'))
    assert quoted.frame["text"].to_list() == ["two\nlines", "a\tb"] and quoted.notes == ()


def test_names_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(DataError, match='more than once: "text".'):
        open_table(write(path, "text,label,text\na,b,c\n"))
    table = open_table(write(path, "v1,v2,,\nham,hello,,\n"))
    assert table.frame.columns == ["v1", "v2", "column_3", "column_4"] and "without a name (3, 4)" in table.notes[0]
    assert open_table(write(path, "\n\n text , label\na,b\n")).frame.columns == ["text", "label"]
    with pytest.raises(DataError, match="line 1: a quote"):
        open_table(write(path, '"text,label\na,b\n'))


def test_blank_lines_and_empty_fields(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "t.csv", "text,label\n\na,\n   \n,b\n\n\n"))
    assert table.frame.rows() == [("a", None), (None, "b")] and list(table.lines) == [3, 5]
    assert table.notes == ("t.csv has 2 blank lines; they were passed over.",)


def test_a_field_of_ten_megabytes_takes_less_than_seconds(tmp_path: Path) -> None:
    field = 'word, ""x""\n' * 800_000
    path = write(tmp_path / "t.csv", f'text,label\na b c,x\n"{field}",y\nd e f,x\n')
    start = time.process_time()
    source = find_texts(path)
    assert time.process_time() - start < 5  # 0.3 s where it was written
    assert source.table["text"].str.len_chars().to_list() == [5, 8_000_000, 5]
    assert source.table["path"].to_list() == ["t.csv:2", "t.csv:3", "t.csv:800004"]


def test_images_profit_too(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n}.jpg").write_bytes(b"not read here")
    rows = "image,label,split\n0.jpg,schön,train\n1.jpg\n2.jpg,gut,train\n3.jpg,gut,test\n"
    source = find_images(write(tmp_path / "t.csv", rows.encode("cp1252")))
    assert source.table["problem"].to_list() == [None, "1 field where the head has 3", None, None]
    assert source.table["path"][1] == "t.csv:3" and source.classes == ("gut", "schön")
    assert "Windows-1252" in source.notes[0]


def test_a_broken_line_of_json_is_named(tmp_path: Path) -> None:
    good = '{"text": "a", "label": 1}\n'
    for line, reason in (("{broken", "line 3 is no JSON"), ("[1, 2]", "line 3 is no JSON object")):
        with pytest.raises(DataError, match=reason):
            open_table(write(tmp_path / "t.jsonl", good + "\n" + line + "\n" + good))
    table = open_table(write(tmp_path / "t.jsonl", "\ufeff" + good + "\n" + good))
    assert table.name(1) == "t.jsonl:3" and table.frame.height == 2
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "t.parquet")
    assert open_table(tmp_path / "t.parquet").name(0) == "t.parquet[0]"
