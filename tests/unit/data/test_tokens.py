"""The tokenizer follows from its training texts alone, cuts every script, and trusts no file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from layerwise.data.tokens import Kind, Tokenizer, cut, percentile_length, train_tokenizer
from layerwise.errors import DataError, StoreError, UsageError

KINDS: tuple[Kind, ...] = ("words", "bpe")
TEXTS = ["The film is good, very good!", "a BAD film...", "naïve café in Zürich", "unbelievably good filming"] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD!!", ["it", "'", "s", "good", "!", "!"]),
        ("ﬁne ①\u00ad\u200b", ["fine", "1"]),
        ("e\u0301te\u0301 ÉTÉ", ["été", "été"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("好电影 ok", ["好", "电", "影", "ok"]),
        ("great😀😀 £5", ["great", "😀", "😀", "£", "5"]),
        ("a\x00b\ud800c", ["a", "\x00", "bc"]),
        ("a\x00b", ["a", "\x00", "b"]),
        (" \n\t\u3000", []),
        ("x" * 130, ["x" * 64, "x" * 64, "xx"]),
    ],
)
def test_texts_are_made_alike_and_cut(text: str, words: list[str]) -> None:
    assert cut(text) == words


def test_the_most_frequent_words_are_the_vocabulary() -> None:
    tokenizer = train_tokenizer(["b b b a a c c d", "a"], "words", 5)
    assert tokenizer.vocabulary == ("<pad>", "<unk>", "a", "b", "c") and len(tokenizer) == 5
    assert [ids.tolist() for ids in tokenizer.encode(["c d A", "", "  "])] == [[4, 1, 2], [], []]
    assert train_tokenizer(["b b a"], "words", 5, min_count=2).vocabulary == ("<pad>", "<unk>", "b")
    assert tokenizer.words([0, 1, 3]) == ["<pad>", "<unk>", "b"]
    assert tokenizer.encode(["<pad> <unk>"])[0].tolist() == [1] * 6


def test_encoding_keeps_the_first_tokens() -> None:
    for kind in KINDS:
        tokenizer = train_tokenizer(TEXTS, kind, 60)
        whole, short = tokenizer.encode(TEXTS), tokenizer.encode(TEXTS, max_length=3)
        assert all(ids.dtype == np.int32 and ids.min() > 0 for ids in whole)
        assert all(np.array_equal(ids[:3], some) for ids, some in zip(whole, short, strict=True))
        assert tokenizer.encode([]) == []


def test_joined_tokens_spell_the_words() -> None:
    tokenizer = train_tokenizer(TEXTS, "bpe", 80)
    for text, ids in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
        assert "".join(tokenizer.words(ids)).split("\u2581")[1:] == cut(text)
    assert "\u2581good" in tokenizer.vocabulary and len(tokenizer) <= 80
    assert tokenizer.encode(["日"])[0].tolist()[-1] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind: Kind) -> None:
    here = train_tokenizer(TEXTS, kind, 70).json
    assert train_tokenizer(TEXTS[::-1], kind, 70).json == here
    code = f"from layerwise.data.tokens import train_tokenizer as t; print(t({TEXTS!r}, {kind!r}, 70).json)"
    for seed in ("1", "2"):
        words = [sys.executable, "-c", code]
        there = subprocess.run(words, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed})
        assert there.stdout.strip() == here


@pytest.mark.parametrize("kind", KINDS)
def test_json_and_back(kind: Kind) -> None:
    tokenizer = train_tokenizer(TEXTS, kind, 70)
    again = Tokenizer.from_json(tokenizer.json)
    assert (again.kind, again.vocabulary, again.json) == (tokenizer.kind, tokenizer.vocabulary, tokenizer.json)
    for one, other in zip(tokenizer.encode(TEXTS), again.encode(TEXTS), strict=True):
        assert np.array_equal(one, other)


def made_up(**changes: object) -> str:
    return json.dumps({"kind": "bpe", "tokens": ["<pad>", "<unk>", "a", "b"], "joins": [[2, 3]]} | changes)


def test_a_tokenizer_may_be_made_up_by_hand() -> None:
    assert Tokenizer.from_json(made_up()).vocabulary == ("<pad>", "<unk>", "a", "b", "ab")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        " " * 4_000_001,
        made_up(kind="pickle"),
        made_up(kind=[]),
        made_up(kind="words"),
        made_up(more=1),
        made_up(tokens="<pad>"),
        made_up(tokens={}),
        made_up(tokens=["a", "b", "c"]),
        made_up(tokens=["<pad>", "<unk>", "a", "a"]),
        made_up(tokens=["<pad>", "<unk>", "a", 3]),
        made_up(tokens=["<pad>", "<unk>", "a", ["b"]]),
        made_up(tokens=["<pad>", "<unk>", "a", ""]),
        made_up(tokens=["<pad>", "<unk>", "a", "\ud800"]),
        made_up(tokens=["<pad>", "<unk>", "a", "b" * 100]),
        made_up(joins=[[2, 4]]),
        made_up(joins=[[0, 2]]),
        made_up(joins=[[-1, 2]]),
        made_up(joins=[[2, True]]),
        made_up(joins=[[2]]),
        made_up(joins=[2]),
        made_up(joins="ab"),
        made_up(joins=[[2, 3.0]]),
        made_up(joins=[[2, 2], *([n, n] for n in range(4, 100))]),
        made_up(joins=[[2, 3]] * 200_001),
        made_up(tokens=["<pad>", "<unk>"], joins=[]),
    ],
    ids=range(30),
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="tokenizer in the model file"):
        Tokenizer.from_json(text)


def test_what_cannot_be_trained_says_why() -> None:
    with pytest.raises(DataError, match="no word"):
        train_tokenizer(["", " "], "words")
    with pytest.raises(UsageError, match="words or bpe"):
        train_tokenizer(["a"], "letters")  # type: ignore[arg-type]
    for size in (2, 200_001):
        with pytest.raises(UsageError, match="3 to 200,000"):
            train_tokenizer(["a"], "words", size)
    for kind in KINDS:
        assert len(train_tokenizer(["a b"], kind, 3)) == 3


def test_a_large_vocabulary_fits_into_a_model_file() -> None:
    texts = [
        " ".join(f"{chr(0x4100 + n % 97)}{'ж' * 20}{n}" for n in range(first, first + 1000))
        for first in range(0, 60_000, 1000)
    ]
    tokenizer = train_tokenizer(texts, "words", 200_000)
    assert len(json.dumps(tokenizer.json)) < 8_000_000 and len(tokenizer) > 10_000
    assert len(Tokenizer.from_json(tokenizer.json)) == len(tokenizer)


def test_enormous_texts_take_no_time() -> None:
    texts = ["w" * 10_000_000, "a " * 5_000_000, "é" * 10_000_000, "short one"]
    start = time.process_time()
    for kind in KINDS:
        tokenizer = train_tokenizer(texts, kind, 100)
        assert len(tokenizer.encode(texts, max_length=100)) == 4
    assert time.process_time() - start < 20  # about 2 s where it was written


def test_the_length_of_most() -> None:
    assert percentile_length(np.arange(1, 101)) == 95 and percentile_length([7]) == 7
    assert percentile_length([0, 0]) == 1 and percentile_length([1, 1, 1, 1000], 75) == 1


def test_the_real_reviews(shared_data: Path) -> None:
    lines = (shared_data / "text" / "movie-reviews.csv").read_text(encoding="utf-8").splitlines()
    tokenizer = train_tokenizer(lines)
    ids = tokenizer.encode(lines)
    assert len(tokenizer) == 10_000 and 35 < percentile_length([len(each) for each in ids]) < 50
    assert np.mean(np.concatenate(ids) == 1) < 0.05
