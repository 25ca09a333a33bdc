"""`inspect` of texts: every planted fault is found by its kind, sound texts give nothing that is wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from layerwise.console import Silent
from layerwise.data.files import hash_file
from layerwise.errors import DataError, UsageError
from layerwise.tasks import TASKS
from layerwise.tasks.inspection import Finding, Inspection
from layerwise.tasks.text_inspect import inspect

SUBJECTS = [
    "the",
    "river",
    "an",
    "old",
    "clock",
    "my",
    "neighbour",
    "this",
    "committee",
    "every",
    "traveller",
    "one",
    "engineer",
]
VERBS = ["crossed", "repaired", "described", "refused", "measured", "painted", "followed", "ignored"]
THINGS = [
    "bridge",
    "lamp",
    "story",
    "garden",
    "engine",
    "letter",
    "valley",
    "window",
    "ladder",
    "curtain",
    "harbour",
    "recipe",
]
HOW = ["slowly", "gladly", "twice", "again", "yesterday", "before", "noon", "without", "a", "word", "in", "the", "rain"]


def sentence(draws: random.Random, number: int) -> str:
    parts = (SUBJECTS, VERBS, THINGS, HOW, THINGS, VERBS, SUBJECTS, HOW)
    return " ".join(draws.choice(part) for part in parts) + f" near number{number} and street{number * 7}"


def sound(count: int = 120, start: int = 0) -> pl.DataFrame:
    """Texts of two classes in which nothing is wrong."""
    draws = random.Random(start)
    texts = [sentence(draws, start + number) for number in range(count)]
    return pl.DataFrame({"text": texts, "label": ["yes" if number % 2 else "no" for number in range(count)]})


def looked(data: Any, **columns: str) -> dict[str, Finding]:
    found = inspect(data, columns, Silent())
    assert found.record()["n"] == found.table.height
    assert len({each.kind for each in found.findings}) == len(found.findings)
    return {each.kind: each for each in found.findings}


def with_texts(*texts: str | None, label: str = "yes") -> pl.DataFrame:
    """Sound texts and some more behind them."""
    return pl.concat([sound(), pl.DataFrame({"text": list(texts), "label": [label] * len(texts)}, schema_overrides={
        "text": pl.String, "label": pl.String,
    })])  # fmt: skip


def test_sound_texts_give_no_finding() -> None:
    assert looked(sound()) == {}


def test_inspect_is_in_the_table_of_tasks() -> None:
    assert TASKS["text-classification"].inspect is inspect


def test_empty_and_blank_texts_and_other_rows_without_use_are_named() -> None:
    data = with_texts(None, "", "   ")
    data = pl.concat([data, pl.DataFrame({"text": ["a text without a label"], "label": [None]}, schema=data.schema)])
    found = looked(data)
    assert found["empty-texts"].groups == ((120,), (121,), (122,))
    assert found["unusable"].groups == ((123,),) and "no label" in found["unusable"].message


def test_copies_of_each_degree_are_found_once_and_leave_the_first() -> None:
    first = sound()["text"].to_list()
    near = first[4] + " indeed"
    found = looked(with_texts(first[1], first[3].upper() + " !!", near, label="yes").with_columns(
        label=pl.when(pl.int_range(pl.len()) == 122).then(pl.lit("no")).otherwise("label")
    ))  # fmt: skip
    assert found["copies"].groups == ((1, 120),) and found["copies"].exclude == (120,)
    assert found["loose-copies"].groups == ((3, 121),)
    assert found["near-copies"].groups == ((4, 122),)
    assert set(found) == {"copies", "loose-copies", "near-copies"}


def test_copies_across_labels_are_wrong_and_all_left_out() -> None:
    first = sound()["text"].to_list()
    found = looked(with_texts(first[0], first[2].title(), first[4] + " indeed", label="yes"))
    for kind, rows in (("copies", (0, 120)), ("loose-copies", (2, 121)), ("near-copies", (4, 122))):
        finding = found[f"{kind}-across-labels"]
        assert (finding.weight, finding.exclude) == ("wrong", rows)


def test_copies_across_parts_are_wrong_and_the_train_copy_is_left_out() -> None:
    train, test = sound(), sound(40, 500)
    first = train["text"].to_list()
    leaked = pl.DataFrame({"text": [first[1], first[3] + "!", first[5] + " indeed"], "label": ["yes"] * 3})
    found = looked({"train": train, "test": pl.concat([test, leaked])})
    for kind, row in (("copies", 1), ("loose-copies", 3), ("near-copies", 5)):
        finding = found[f"{kind}-across-parts"]
        assert (finding.weight, finding.exclude) == ("wrong", (row,))


def test_a_near_copy_of_a_text_that_has_copies_leaves_nothing_in_both_parts() -> None:
    train, test = sound(), sound(40, 500)
    again = train["text"][1]
    train = pl.concat([train, pl.DataFrame({"text": [again], "label": ["yes"]})])
    test = pl.concat([test, pl.DataFrame({"text": [again + " indeed"], "label": ["yes"]})])
    found = inspect({"train": train, "test": test}, {}, Silent())
    assert set(found.excluded()["path"]) == {found.table["path"][1], found.table["path"][120]}


def test_a_word_that_gives_a_class_away_is_found() -> None:
    data = sound().with_columns(
        text=pl.when(pl.col("label") == "no").then(pl.lit("REJECTED: ") + pl.col("text")).otherwise("text")
    )
    found = looked(data)
    assert set(found) == {"label-in-text"}
    assert '"rejected"' in found["label-in-text"].message and '"no"' in found["label-in-text"].message


def test_a_word_of_most_texts_of_a_class_gives_nothing_away() -> None:
    rows = pl.int_range(pl.len())
    data = sound().with_columns(
        text=pl.when((pl.col("label") == "no") & (rows % 10 != 0))
        .then(pl.lit("bad ") + pl.col("text"))
        .otherwise("text")
    )
    assert looked(data) == {}


def test_flaws_of_single_texts_are_found() -> None:
    found = looked(
        with_texts(
            "the price was 5 \ufffd and nobody paid it at all",
            "she ordered a cafÃ© au lait and paid for it",
            "line one of it<br />line two of the same",
            "...!?",
            "marvellous",
            " ".join(f"joined{n}" for n in range(900)),
        )
    )
    assert {kind: each.groups for kind, each in found.items()} == {
        "lost-signs": ((120,),),
        "garbled": ((121,),),
        "html": ((122,),),
        "no-words": ((123,),),
        "one-word": ((124,),),
        "extremely-long": ((125,),),
    }


def test_a_second_language_is_a_note_with_its_rows() -> None:
    german = [
        "Der Nachbar hat gestern die alte Brücke langsam überquert und nichts gesagt.",
        "Niemand wusste, warum der Garten hinter dem Haus im Regen so schön aussah.",
        "Die Ingenieurin reparierte zweimal die Lampe, bevor sie den Brief beschrieb.",
        "Am Morgen folgte der Reisende dem Fluss bis in das nächste Tal hinunter.",
    ]
    found = looked(with_texts(*german))
    assert set(found) == {"languages"}
    assert found["languages"].weight == "note" and found["languages"].groups == ((120, 121, 122, 123),)
    assert "de" in found["languages"].message


def test_facts_tell_lengths_and_languages() -> None:
    facts = inspect(sound(), {}, Silent()).facts
    assert facts["words a text"]["median"] == 12
    assert sum(facts["languages"].values()) == 120


def test_labels_are_looked_at_too() -> None:
    data = sound().with_columns(label=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("Yes")).otherwise("label"))
    assert {"labels-alike", "tiny-class"} <= set(looked(data))


def test_a_thumbnail_is_the_text_and_nothing_is_said_twice() -> None:
    found = inspect(with_texts(sound()["text"][1], None), {}, Silent())
    assert found.thumbnail(1) == sound()["text"][1] and found.thumbnail(121) is None
    assert not any("copies" in note or "cannot be used" in note for note in found.notes)


def test_columns_are_named_and_others_refused() -> None:
    data = sound().rename({"text": "said", "label": "kind"}).with_columns(other=pl.lit("x"))
    assert inspect(data, {"text": "said", "label": "kind"}, Silent()).classes == {"no": 60, "yes": 60}
    with pytest.raises(UsageError, match="image"):
        inspect(data, {"image": "said"}, Silent())


def test_data_without_a_text_are_refused() -> None:
    with pytest.raises(DataError, match="None of the 2 texts"):
        inspect(([None, ""], ["a", "b"]), {}, Silent())


def test_texts_that_are_one_class_are_inspected_all_the_same() -> None:
    assert looked(sound().with_columns(label=pl.lit("yes")))["one-class"].weight == "wrong"


def test_the_users_file_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    sound().write_csv(file)
    before = hash_file(file)
    found = inspect(file, {}, Silent())
    assert hash_file(file) == before and found.table["path"][0] == "texts.csv:2"


def real(shared_data: Path, name: str) -> Inspection:
    return inspect(shared_data / "text" / name, {}, Silent())


@pytest.mark.slow
def test_movie_reviews_have_two_loose_copies_and_nothing_wrong(shared_data: Path) -> None:
    found = {each.kind: each for each in real(shared_data, "movie-reviews.csv").findings}
    assert len(found.pop("loose-copies").groups) == 2
    assert {each.weight for each in found.values()} == {"note"}


def test_the_questions_leak_ten_exact_copies_into_test(shared_data: Path) -> None:
    inspected = real(shared_data, "questions-train.csv")
    found = {each.kind: each for each in inspected.findings if each.weight == "wrong"}
    assert len(found["copies-across-parts"].groups) == 10
    texts = [inspected.thumbnail(row) for row in found["loose-copies-across-labels"].groups[0]]
    assert texts == ["What are the Twin Cities ?", "What are the twin cities ?"]
    assert set(found) == {
        "copies-across-parts", "loose-copies-across-labels", "loose-copies-across-parts", "near-copies-across-parts"
    }  # fmt: skip


def test_messages_have_copies_lost_signs_and_no_conflict(shared_data: Path) -> None:
    found = {each.kind: each for each in real(shared_data, "sms.csv").findings}
    assert len(found["lost-signs"].groups) == 482 and len(found["copies"].exclude) == 403
    assert not any(each.weight == "wrong" for each in found.values())
