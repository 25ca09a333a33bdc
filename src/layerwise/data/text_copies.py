"""Texts that are nearly the same: their normal form, their words as a matrix, and pairs of near copies.

Candidates come from MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter
3), words weighted by how rare they are, in time that grows with the number of words. Each is then checked: the cosine
of TF-IDF weights must be high, so that two texts which differ in a rare word, such as a name, are told apart however
much else they share.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

COSINE = 0.85  # of TF-IDF weights, from which on two texts are near copies
LEAST = 6  # different words of each of two near copies: shorter texts are alike by chance
# Scripts without spaces give a word a sign: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")
_APOSTROPHES = re.compile(r"['’ʼ`´]")
_BANDS, _ROWS = 20, 4  # a pair that shares 0.7 of its weight is a candidate with a probability of 0.996
_NEXT = 20  # rows of a band that each is compared with: thousands of like texts would be millions of pairs
_AT_ONCE = 100_000  # pairs
_SEED = 0x7E17

Matrix = Any  # scipy.sparse.csr_matrix, which has no types
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """Which words stand in which text.

    Args:
        counts: (texts, words) int64, sparse.
        names: (words,).
    """

    counts: Matrix
    names: tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text by their normal form: without case, punctuation and apostrophes.

    Example:
        >>> words_of("Don't  PANIC!")
        ['dont', 'panic']
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _WORD.findall(_APOSTROPHES.sub("", plain.casefold()))


def normal_form(text: str) -> str | None:
    """What is left of a text without case, spaces and punctuation; None where that is nothing.

    Example:
        >>> normal_form("Good  film!") == normal_form("good film"), normal_form(":-)")
        (True, None)
    """
    return " ".join(words_of(text)) or None


def count_words(texts: Sequence[str]) -> Words:
    """Words of texts, counted; at least one text must have one."""
    vectorizer = CountVectorizer(analyzer=words_of)
    counts = vectorizer.fit_transform(texts).tocsr()
    return Words(counts, tuple(vectorizer.get_feature_names_out().tolist()))


def near_pairs(counts: Matrix) -> Pairs:
    """Pairs of texts that are nearly the same: (pairs, 2), each once, the lower row first, sorted.

    Args:
        counts: (texts, words) of `count_words`; texts that are equal should be given once.

    Example:
        >>> told = "the quick brown fox jumps over the lazy dog and runs into the dark green wood"
        >>> near_pairs(count_words([told, told + " again", "another text"]).counts).tolist()
        [[0, 1]]
    """
    rows = np.flatnonzero(np.diff(counts.indptr) >= LEAST)
    if len(rows) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    weigh = TfidfTransformer(sublinear_tf=True).fit(counts)
    weights = weigh.transform(counts).tocsr()
    pairs = _candidates(_signatures(counts[rows], weigh.idf_**2))
    kept = []
    for first in range(0, len(pairs), _AT_ONCE):
        some = rows[pairs[first : first + _AT_ONCE]]
        cosine = np.asarray(weights[some[:, 0]].multiply(weights[some[:, 1]]).sum(1)).ravel()
        kept.append(some[cosine >= COSINE])
    return np.concatenate(kept) if kept else np.zeros((0, 2), dtype=np.int64)


def _signatures(counts: Matrix, weights: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(texts, bands * rows): of each of many orders of the words, the first one that a text has.

    In an order a word of large weight tends to come early: times drawn from an exponential distribution of that rate
    are sorted. So two texts agree as often as the weights of what they share are of the weights of all they have, and
    thousands of long texts are no candidates for the common words in them.
    """
    draws = np.random.default_rng(_SEED)
    found = np.empty((counts.shape[0], _BANDS * _ROWS), dtype=np.uint64)
    for place in range(found.shape[1]):
        order = np.empty(len(weights), dtype=np.uint64)
        order[np.argsort(draws.exponential(size=len(weights)) / weights)] = np.arange(len(weights), dtype=np.uint64)
        found[:, place] = np.minimum.reduceat(order[counts.indices], counts.indptr[:-1])
    return found


def _candidates(signatures: NDArray[np.uint64]) -> Pairs:
    """Pairs of rows that agree in all of a band."""
    factors = np.random.default_rng(_SEED + 1).integers(1, 2**63, _ROWS, dtype=np.uint64) | np.uint64(1)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for band in range(_BANDS):
        keys = (signatures[:, band * _ROWS : (band + 1) * _ROWS] * factors).sum(1)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for step in range(1, _NEXT + 1):
            same = ordered[step:] == ordered[:-step]
            if not same.any():
                break
            found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
