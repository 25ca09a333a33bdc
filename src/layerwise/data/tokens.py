"""Texts as numbers: a tokenizer that is trained on the training part, and is kept in the model file as plain JSON.

Texts are first made alike (Unicode form NFKC, invisible characters dropped, lower case) and cut into words and single
signs; a Chinese character is a word. "words" numbers the most frequent of these. "bpe" joins frequent neighbours from
characters on (byte-pair encoding, Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL
2016), so that a rare word becomes several tokens instead of an unknown one; Hugging Face's `tokenizers` does that.

Cutting by a regular expression takes a fifth of the time that `tokenizers` takes for it, as that keeps for each
character where it came from. What is kept is words and joins, never a `tokenizers` file: such a file may bring
patterns and steps of its own, and a model file may come from anyone.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Literal, final, get_args

import numpy as np
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers, trainers

from layerwise.errors import DataError, StoreError, UsageError

PADDING, UNKNOWN = 0, 1
"""The tokens that stand for nothing, and for what is not in the vocabulary."""

Kind = Literal["words", "bpe"]
_SPECIAL = ("<pad>", "<unk>")
_BEGIN = "\u2581"  # of a word, in byte-pair encoding
_LONGEST = 64  # characters of a word; what is longer is cut
_MOST_TOKENS = 200_000
_MOST_BYTES = 4_000_000  # of the JSON: a model file's card holds 8 MB, in which each quote is two characters
_MOST_CHARACTERS = 1_000_000  # of one text that are looked at
_ALPHABET = 2_000  # characters that byte-pair encoding begins with

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\ud800-\udfff]")
_PLAIN = re.compile(rf"\w{{1,{_LONGEST}}}|[^\w\s]")


@final
class Tokenizer:
    """A vocabulary, and how a text becomes places in it: 0 is padding, 1 is unknown.

    Args:
        kind: "words" or "bpe".
        tokens: in the order of their numbers, padding and unknown first; of "bpe", characters.
        joins: of "bpe": the numbers of tokens that are joined, in this order. Each makes the next token,
            unless that is known already.

    Fields:
        vocabulary: all tokens in the order of their numbers.

    Raises:
        ValueError: the tokens and joins do not make a vocabulary.

    Example:
        >>> tokenizer = train_tokenizer(["a good film", "a bad film"], "words", 4)
        >>> [ids.tolist() for ids in tokenizer.encode(["A film!"])]
        [[2, 3, 1]]
    """

    def __init__(self, kind: Kind, tokens: Sequence[str], joins: Sequence[tuple[int, int]] = ()) -> None:
        self.kind, self._tokens, self._joins = kind, tuple(tokens), tuple(joins)
        self._numbers = _grown(tokens, joins)
        self.vocabulary = tuple(self._numbers)
        self._model: models.BPE | None = None
        if kind == "bpe":
            pairs = [(self.vocabulary[left], self.vocabulary[right]) for left, right in joins]
            self._model = models.BPE(self._numbers, pairs, unk_token=_SPECIAL[UNKNOWN])

    def __len__(self) -> int:
        """Tokens in the vocabulary, the two special ones included: what an embedding needs rows for."""
        return len(self.vocabulary)

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[np.ndarray]:
        """Texts as token numbers.

        Args:
            texts: N of them; of each the first million characters are looked at.
            max_length: the first so many tokens are kept; all for None.

        Returns:
            N arrays (length,) int32, some of length 0 where a text holds nothing but blanks.
        """
        assert max_length is None or max_length > 0
        encode = self._encode_words if self._model is None else self._encode_joined()
        return [np.array(encode(cut(text))[:max_length], dtype=np.int32) for text in texts]

    def numbers(self, words: Sequence[str]) -> list[list[int]]:
        """The tokens of each of some words, such as `cut` gives.

        Example:
            >>> train_tokenizer(["to be"], "words", 4).numbers(["be", "not"])
            [[2], [1]]
        """
        encode = self._encode_words if self._model is None else self._encode_joined()
        return [encode([word]) for word in words]

    def _encode_words(self, words: list[str]) -> list[int]:
        number = self._numbers.get
        return [number(word, UNKNOWN) for word in words]

    def _encode_joined(self) -> Callable[[list[str]], list[int]]:
        """Most words of a text have been met before: each is joined once a call."""
        model, met = self._model, dict[str, list[int]]()
        assert model is not None

        def encode(words: list[str]) -> list[int]:
            ids: list[int] = []
            for word in words:
                if word not in met:
                    met[word] = [token.id for token in model.tokenize(_BEGIN + word)]
                ids += met[word]
            return ids

        return encode

    def words(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The tokens of some numbers, (length,).

        Example:
            >>> train_tokenizer(["good film"], "words", 5).words([2, 3, 0])
            ['film', 'good', '<pad>']
        """
        return [self.vocabulary[number] for number in ids]

    @property
    def json(self) -> str:
        """All of it as JSON text, the same for the same training texts."""
        content: dict[str, Any] = {"kind": self.kind, "tokens": self._tokens, "joins": self._joins}
        return json.dumps(content, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Tokenizer:
        """A tokenizer from `json`; the text may come from anyone.

        Raises:
            StoreError: it is not what `json` writes, or is too large.
        """
        if not isinstance(text, str) or len(text) > _MOST_BYTES:
            raise StoreError("The tokenizer in the model file is no text, or too long a one.", expected=_WANTED)
        try:
            content = json.loads(text)
            if reason := _nonsense(content):
                raise ValueError(reason)
            return Tokenizer(content["kind"], content["tokens"], [(left, right) for left, right in content["joins"]])
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "nested too deep"
            raise StoreError(f"The tokenizer in the model file is unusable: {reason}.", expected=_WANTED) from None


_WANTED = "a tokenizer as layerwise writes it"


def _nonsense(content: Any) -> str | None:
    """What is wrong with the form of a tokenizer from a file."""
    if not isinstance(content, dict) or set(content) != {"kind", "tokens", "joins"}:
        return "it has other keys than kind, tokens and joins"
    if content["kind"] not in get_args(Kind) or not isinstance(content["tokens"], list):
        return "it is of no known kind, or without a list of tokens"
    joins = content["joins"]
    if not isinstance(joins, list) or (joins and content["kind"] != "bpe"):
        return "it has joins that do not belong there"
    if not all(isinstance(join, list) and [type(side) for side in join] == [int, int] for join in joins):
        return "a join is not a pair of whole numbers"
    return None


def _grown(tokens: Sequence[str], joins: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Token -> number, with what the joins make; checked, as it may come from a file.

    Raises:
        ValueError: a token is no text, too long, or there twice; a join is of tokens that are not there yet.
    """
    if tuple(tokens[:2]) != _SPECIAL or not len(_SPECIAL) < len(tokens) + len(joins) <= _MOST_TOKENS:
        raise ValueError(f"it has {len(tokens) + len(joins):,} tokens, or does not begin with {' and '.join(_SPECIAL)}")
    if not all(isinstance(token, str) and 0 < len(token) <= _LONGEST + 1 and _is_text(token) for token in tokens):
        raise ValueError("it has a token that is empty, too long, or no text")
    known = list(tokens)
    numbers = {token: number for number, token in enumerate(known)}
    if len(numbers) < len(known):
        raise ValueError("it has a token twice")
    for left, right in joins:
        if not all(len(_SPECIAL) <= side < len(known) for side in (left, right)):
            raise ValueError(f"it joins the tokens {left} and {right} of {len(known)}")
        token = known[left] + known[right]
        if len(token) > _LONGEST + 1:  # at once, as each join may double the length
            raise ValueError("it has a token that is too long")
        if token not in numbers:  # two ways may lead to one token
            numbers[token] = len(known)
            known.append(token)
    return numbers


def _is_text(token: str) -> bool:
    return token.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in token)


def cut(text: str) -> list[str]:
    """A text as words and single signs, made alike; of its first million characters.

    Example:
        >>> cut("It\u2019s GREAT... caf\u00e9!")
        ['it', '\u2019', 's', 'great', '.', '.', '.', 'caf\u00e9', '!']
    """
    text = text[:_MOST_CHARACTERS]
    if text.isascii():
        return _PLAIN.findall(text.lower())
    return _pattern().findall(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower())


@cache
def _pattern() -> re.Pattern[str]:
    """Words in any script: Python's own word characters leave out the marks that many scripts write vowels with."""
    marks = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    ranges = "".join(f"{chr(first)}-{chr(last)}" for first, last in _runs(marks))
    return re.compile(rf"[{_CHINESE}]|(?:[^\W{_CHINESE}]|[{ranges}]){{1,{_LONGEST}}}|[^\w\s]")


def _runs(codes: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of numbers that follow one another."""
    first = codes[0]
    for code, following in zip(codes, [*codes[1:], sys.maxsize], strict=True):
        if following != code + 1:
            yield first, code
            first = following


def train_tokenizer(
    texts: Sequence[str], kind: Kind = "words", vocabulary: int = 10_000, *, min_count: int = 1
) -> Tokenizer:
    """A tokenizer for texts like these; give it the training part alone.

    Args:
        texts: one or more.
        kind: "words" or "bpe".
        vocabulary: tokens at most, padding and unknown included: 3 to 200,000. The most frequent are taken; of equally
            frequent words, the first in the order of their characters.
        min_count: how often a word (of "bpe", a pair) must occur, so that the network also meets unknown ones.

    Raises:
        UsageError: an unknown kind, or a vocabulary out of its range.
        DataError: there is no word in the texts.

    Example:
        >>> train_tokenizer(["to be or not to be"], "words", 5).vocabulary
        ('<pad>', '<unk>', 'be', 'to', 'not')
    """
    if kind not in get_args(Kind):
        raise UsageError(f'The tokenizer is "{kind}".', expected=" or ".join(get_args(Kind)))
    if not len(_SPECIAL) < vocabulary <= _MOST_TOKENS:
        raise UsageError(f"The vocabulary is {vocabulary:,}.", expected=f"3 to {_MOST_TOKENS:,} tokens")
    counts = Counter(word for text in texts for word in cut(text))
    if not counts:
        raise DataError("There is no word in the training texts.", expected="texts with words in them")
    return (_train_words if kind == "words" else _train_joins)(counts, vocabulary, min_count)


def _train_words(counts: Counter[str], vocabulary: int, min_count: int) -> Tokenizer:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    words = [word for word, count in ranked[: vocabulary - len(_SPECIAL)] if count >= min_count]
    sizes = np.cumsum([len(json.dumps(word)) + 1 for word in words])
    room = _MOST_BYTES - 1000
    return Tokenizer("words", (*_SPECIAL, *words[: int(np.searchsorted(sizes, room, side="right"))]))


def _train_joins(counts: Counter[str], vocabulary: int, min_count: int) -> Tokenizer:
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        letters.update(dict.fromkeys(_BEGIN + word, count))
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
    alphabet = set(ranked[: max(1, min(_ALPHABET, vocabulary // 2))])
    engine = Engine(models.BPE(unk_token=_SPECIAL[UNKNOWN]))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_count,
        special_tokens=list(_SPECIAL),
        max_token_length=_LONGEST,
        show_progress=False,
    )
    kept = {word: "".join(letter for letter in _BEGIN + word if letter in alphabet) for word in sorted(counts)}
    engine.train_from_iterator((" ".join([kept[word]] * counts[word]) for word in kept), trainer)
    model = json.loads(engine.to_str())["model"]
    numbers: dict[str, int] = model["vocab"]
    joins = [(numbers[left], numbers[right]) for left, right in model["merges"]]
    made = {left + right for left, right in model["merges"]}
    found = Tokenizer("bpe", [token for token in sorted(numbers, key=numbers.__getitem__) if token not in made], joins)
    assert found._numbers == numbers
    return found


def percentile_length(lengths: Sequence[int] | np.ndarray, percent: float = 95) -> int:
    """The length that so many in a hundred sequences do not exceed, at least 1.

    Example:
        >>> percentile_length([3, 5, 4, 90], 75)
        5
    """
    return max(1, math.ceil(np.percentile(lengths, percent, method="inverted_cdf")))
