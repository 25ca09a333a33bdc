"""Why a text got its class: what each word adds to the class's log odds.

Words are numbers in an embedding, which has gradients, so that integrated gradients are taken of its rows, from those
of padding on. A network whose logits are a sum over words (`bag`, `nb-bag`) needs no gradients for that. T tokens, S
steps, E numbers a token, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.console import Show
from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.data.token_places import Placed, place
from layerwise.data.tokens import PADDING, UNKNOWN
from layerwise.errors import UsageError
from layerwise.models.text_average import TextAverage
from layerwise.models.text_bag import TextBag
from layerwise.models.text_nb_bag import TextNbBag
from layerwise.report.explained import words_svg
from layerwise.report.words import cut, visible
from layerwise.tasks.cards import calibrator_of
from layerwise.tasks.explanation import (
    INTEGRATED,
    SUNDARARAJAN,
    Explained,
    ExplainRecipe,
    Explanation,
    class_number,
    heading,
    integrate,
    log_odds,
    one_by_one,
    signed,
)
from layerwise.tasks.text_model import TextModel, find_inputs

EXACT = "sum of the words"
_OWN = "none: the network's own: its logits are a sum over words and pairs of words"
_ABOUT = (
    "A weight is what a word adds to the log odds of the class, against a text of as many empty words; below 0 it "
    "speaks against the class."
)
_CLOSE = 1e-3  # how far a network's answer may be off when it is given rows of its embedding in place of words
_TELLING = 3  # words that are named


def explain(model: TextModel, inputs: Any, recipe: ExplainRecipe, show: Show) -> Explained:
    """Explain texts.

    Args:
        model: a trained classifier.
        inputs: as `TextModel.predict` takes them.
        recipe: which class, and how many texts.
        show: where progress is shown.

    Raises:
        UsageError: the network is not one that can be explained so, or the class is unknown.
        DataError: there is no text.
    """
    found = find_inputs(inputs, model.card.preprocess.get("columns", {}).get("text"))
    items = one_by_one(
        found.names,
        found.problems,
        recipe.most,
        lambda row: _of_texts(model, [found.names[row]], [found.texts[row]], recipe)[0],
        show,
    )
    return Explained(*_method(model), _ABOUT, items, len(found.texts) - len(items))


def explain_examples(model: TextModel, examples: Mapping[int, Any]) -> Explained:
    """Explanations of texts, named by their numbers, for a report."""
    items = _of_texts(model, [str(row) for row in examples], list(examples.values()), ExplainRecipe())
    return Explained(*_method(model), _ABOUT, tuple(items), 0)


def _method(model: TextModel) -> tuple[str, str]:
    """Name and paper."""
    exact = _sums(model.task.network, len(model.card.classes))
    return (EXACT, _OWN) if exact else (INTEGRATED, SUNDARARAJAN)


def _of_texts(model: TextModel, names: Sequence[str], texts: Sequence[str], recipe: ExplainRecipe) -> list[Explanation]:
    wanted = class_number(recipe, model.card.classes)
    sequences = Ragged.of(model.tokenizer.encode(texts, model.max_length))
    rows = np.arange(len(texts))
    batches = SequenceBatches(sequences, np.full(len(texts), -1), {"test": rows}, 1, 0, model.device.place)
    probabilities = calibrator_of(model.card)(model.task.predict(batches.part("test"))[0])
    return [
        _of_text(model, name, text, answers, int(answers.argmax()) if wanted is None else wanted)
        for name, text, answers in zip(names, texts, probabilities, strict=True)
    ]


def _of_text(model: TextModel, name: str, text: str, probabilities: np.ndarray, number: int) -> Explanation:
    placed = place(text)
    pieces = model.tokenizer.numbers(placed.words)
    owner = [word for word, tokens in enumerate(pieces) for _ in tokens][: model.max_length]  # of each token, its word
    flat = [token for tokens in pieces for token in tokens][: model.max_length]
    if not flat:
        return Explanation(name, "there is no word in it")
    tokens = torch.tensor(flat, device=model.device.place)
    reading = _read(model.task.network, tokens, len(model.tokenizer))

    def score(*inputs: Tensor) -> Tensor:
        return log_odds(reading.logits(*inputs) / model.card.temperature, number)

    found = integrate(score, reading.inputs, reading.baselines)
    by_token = torch.stack([each[0].double().sum(-1).cpu() for each in found.weights]).sum(0)  # (T,)
    weights = np.bincount(owner, by_token.numpy()).tolist()  # by word
    known = [UNKNOWN not in pieces[word] for word in range(len(weights))]
    classes, best = model.card.classes, int(probabilities.argmax())
    item = Explanation(
        name,
        words=_in_words(placed, weights),
        predicted=classes[best],
        probability=float(probabilities[best]),
        explained=classes[number],
        explained_probability=float(probabilities[number]),
        numbers={
            "text": placed.text,
            "weights": [
                {"word": placed.text[first:last], "start": first, "end": last, "weight": weight, "known": is_known}
                for (first, last), weight, is_known in zip(placed.spans, weights, known, strict=False)
            ],
            "unread": len(placed.words) - len(weights),
            **found.record(),
        },
    )
    marked = [(*span, weight) for span, weight in zip(placed.spans, weights, strict=False)]
    picture = words_svg(placed.text, marked, heading(item), unread=len(placed.words) - len(weights))
    return replace(item, picture=picture)


def _in_words(placed: Placed, weights: Sequence[float]) -> str:
    order = sorted(range(len(weights)), key=lambda word: (-abs(weights[word]), word))
    named: dict[str, float] = {}
    for word in order[: 4 * _TELLING]:
        first, last = placed.spans[word]
        named.setdefault(placed.text[first:last].lower(), weights[word])
    some = list(named.items())[:_TELLING]
    return ", ".join(f"“{cut(visible(word), 30)}” {signed(weight)}" for word, weight in some)


@dataclass(frozen=True)
class _Reading:
    """One text as a network reads it: numbers that have gradients, in place of words.

    Args:
        inputs: each (1, T, E).
        baselines: the same for a text of empty words.
        logits: inputs (S, T, E) -> (S, C).
    """

    inputs: tuple[Tensor, ...]
    baselines: tuple[Tensor, ...]
    logits: Callable[..., Tensor]


def _sums(network: nn.Module, classes: int) -> bool:
    """Whether log odds are a sum over words: of two classes they are a difference of logits."""
    return isinstance(network, TextBag | TextNbBag) and classes == 2


def _read(network: nn.Module, tokens: Tensor, vocabulary: int) -> _Reading:
    """A text as a network reads it.

    Raises:
        UsageError: the network has no embedding of the words, or reads them in another way too.
    """
    if isinstance(network, TextAverage):
        readings = [_read(member, tokens, vocabulary) for member in network.members.values()]
        return _Reading(
            tuple(each for reading in readings for each in reading.inputs),
            tuple(each for reading in readings for each in reading.baselines),
            lambda *inputs: network.join(
                [reading.logits(each) for reading, each in zip(readings, inputs, strict=True)]
            ),
        )
    if isinstance(network, TextBag | TextNbBag):
        said = network.contributions(tokens)  # (T, C)
        bias = (network.linear.bias if isinstance(network, TextBag) else network.bias).detach()
        there = said.new_ones(1, len(tokens), 1)  # how much of each word is there
        return _Reading((there,), (torch.zeros_like(there),), lambda share: (share * said).sum(1) + bias)
    return _embedded(network, tokens, vocabulary)


def _embedded(network: nn.Module, tokens: Tensor, vocabulary: int) -> _Reading:
    """A network's rows of its embedding: it is run with a table that has a row for each place of the text."""
    tables = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Embedding) and layer.num_embeddings == vocabulary
    }
    if len(tables) != 1:
        raise UsageError(
            f"The network has {len(tables)} embeddings of {vocabulary:,} tokens.",
            expected="one, as its rows are what has gradients",
        )
    (name, layer) = next(iter(tables.items()))
    table = layer.weight.detach()
    empty, rows = table[PADDING], table[tokens][None]  # (E,), (1, T, E)

    def logits(embedded: Tensor) -> Tensor:
        count, length, width = embedded.shape
        own = torch.cat([empty[None], embedded.reshape(count * length, width)])  # row 0 is padding
        places = torch.arange(1, len(own), device=own.device).view(count, length)
        lengths = places.new_full((count,), length)
        answer: Tensor = torch.func.functional_call(network, {f"{name}.weight": own}, (places, lengths))
        return answer.float()

    with torch.no_grad():
        true = network(tokens[None], tokens.new_full((1,), len(tokens))).float()
        if layer.padding_idx not in (None, PADDING) or not torch.allclose(logits(rows), true, rtol=_CLOSE, atol=_CLOSE):
            raise UsageError(
                "The network reads the numbers of words in another way than by its embedding.",
                expected="a network that looks each word up and goes on from there",
            )
    return _Reading((rows,), (empty.expand_as(rows).clone(),), logits)
