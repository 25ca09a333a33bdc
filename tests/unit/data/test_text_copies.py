"""Near copies of texts: found where a word or two differ, and not where sentences only share their form."""

from __future__ import annotations

import random

import numpy as np
import pytest

from layerwise.data.languages import languages
from layerwise.data.text_copies import count_words, near_pairs, normal_form, words_of
from layerwise.data.text_flaws import extremely_long, has_content, has_html, has_lost, is_garbled, percentiles

WORDS = [f"{a}{b}" for a in ("ba", "ko", "ri", "tu", "me") for b in ("lan", "dor", "sip", "wek", "nuf", "gat", "hol")]


def sentences(count: int, seed: int = 0, length: int = 14) -> list[str]:
    draws = random.Random(seed)
    rare = [f"word{n}" for n in range(2000)]
    return [" ".join(draws.choices(WORDS, k=length // 2) + draws.choices(rare, k=length // 2)) for _ in range(count)]


def changed(text: str, how: str, draws: random.Random) -> str:
    words = text.split()
    place = draws.randrange(len(words))
    if how == "drop":
        del words[place]
    elif how == "add":
        words.insert(place, draws.choice(WORDS))
    else:
        words[place] = draws.choice(WORDS)
    return " ".join(words)


@pytest.mark.parametrize("how", ["drop", "add", "replace"])
def test_planted_near_copies_are_found_and_nothing_else(how: str) -> None:
    texts, draws = sentences(300), random.Random(1)
    copies = [changed(text, how, draws) for text in texts[:100]]
    pairs = {tuple(pair) for pair in near_pairs(count_words(texts + copies).counts).tolist()}
    planted = {(row, 300 + row) for row in range(100)}
    assert len(pairs & planted) >= 95
    assert pairs <= planted


def test_sentences_that_differ_in_a_name_are_told_apart() -> None:
    names = ["Norway", "Chile", "Ghana", "Nepal", "Peru", "Malta", "Laos", "Cuba"]
    questions = [f"what is the capital city of the country {name}" for name in names]
    assert not len(near_pairs(count_words(questions + sentences(200)).counts))


def test_short_texts_are_not_called_near() -> None:
    assert not len(near_pairs(count_words(["very good film indeed", "very good film", "a very good film"]).counts))


def test_thousands_of_like_texts_do_not_become_millions_of_pairs() -> None:
    form = "dear customer your parcel number {} waits for you at the post office near the station"
    pairs = near_pairs(count_words([form.format(n) for n in range(2000)]).counts)
    assert len(pairs) < 2000 * 20 * 20


def test_pairs_are_the_same_every_time() -> None:
    texts = sentences(200) + sentences(200)[:50]
    assert np.array_equal(near_pairs(count_words(texts).counts), near_pairs(count_words(texts).counts))


def test_the_normal_form_knows_scripts_without_spaces() -> None:
    assert words_of("我喜欢 cats") == ["我", "喜", "欢", "cats"]
    assert normal_form("Don't  PANIC!") == normal_form("dont panic")
    assert normal_form("3.5") != normal_form("35")
    assert normal_form("?!") is None


@pytest.mark.parametrize("text", ["CafÃ© au lait", "itâ€™s fine", "ÐŸÑ€Ð¸Ð²ÐµÑ‚", "ðŸ˜€ yes", "ï»¿first"])
def test_garbled_texts_are_known(text: str) -> None:
    assert is_garbled(text)


@pytest.mark.parametrize(
    "text",
    ["Café à São Paulo", "MAÇÃ”", "Das macht Spaß”, sagt er", "ESPAÑA", "naïve – “quoted”…", "Привет, как дела?", "🙂"],
)
def test_sound_texts_of_many_languages_are_not_called_garbled(text: str) -> None:
    assert not is_garbled(text)


def test_garbling_and_lost_signs_are_what_wrong_encodings_make() -> None:
    sound = "Die Größe der Bäume überrascht; l'été à Paris"
    assert is_garbled(sound.encode().decode("cp1252", "replace"))
    assert has_lost(sound.encode("latin-1").decode("utf-8", "replace")) and not has_lost(sound)


def test_html_is_known_by_tags_and_entities_and_not_by_signs() -> None:
    assert has_html('see <a href="x">this</a>') and has_html("line<br/>line") and has_html("&nbsp;")
    assert not has_html("a < b and b > c") and not has_html("AT&T; <3 <grin>") and not has_html("<name>")


def test_content_is_more_than_punctuation() -> None:
    assert has_content("7") and has_content("👍") and not has_content("?! ...")


def test_only_texts_far_longer_than_the_rest_are_extremely_long() -> None:
    assert extremely_long(np.array([10] * 500 + [120])).tolist() == [500]
    assert extremely_long(np.arange(1, 500)).tolist() == []
    assert percentiles(np.array([1, 2, 3])) == {
        "shortest": 1.0, "5 %": 1.1, "median": 2.0, "95 %": 2.9, "99 %": 3.0, "longest": 3.0
    }  # fmt: skip


def test_languages_are_told_where_a_text_is_long_enough() -> None:
    texts = [
        "This is a film that I would very much like to see again.",
        "Das ist ein Film, den ich sehr gerne noch einmal sehen würde.",
        "C'est un film magnifique que je voudrais revoir bientôt.",
        "ok then",
        "",
    ]
    assert languages(texts) == ["en", "de", "fr", None, None]
