"""A warm start for recurrent networks: first a language model of the user's texts, then a classifier, thawed slowly.

J. Howard, S. Ruder, "Universal language model fine-tuning for text classification" (ULMFiT), arXiv 1801.06146, without
its general-domain corpus: nothing is fetched, so what is learnt before the labels comes from the training texts, and
from texts without a label where the table has some. Output words share the input's embedding: O. Press, L. Wolf, arXiv
1608.05859. B texts, T tokens, E numbers a token, H numbers a state of one direction, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.data.ragged import SequenceBatch
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import Group, OptimizerRecipe, Update, parameter_groups
from layerwise.models.text_recurrent import TextRecurrent
from layerwise.tasks.text_recipe import TextStage

_STEP = 2.6  # the rate of a layer beside that of the one behind it: ULMFiT's discriminative rates


class LanguageModel(nn.Module):
    """Tells the next token of a text, and in a network of both directions the one before as well.

    Each direction tells what it has not read, so that neither sees the answer; this needs a single layer where both
    directions are joined.

    Args:
        body: whose embedding and recurrent layers learn; its pooling and classifier do not take part.

    Shapes:
        (B, T) tokens, (B,) lengths -> the sum of the log losses of all tokens that are told, and how many they are.
    """

    def __init__(self, body: TextRecurrent) -> None:
        super().__init__()
        self.body = body
        tokens, width = body.embedding.weight.shape
        states = body.recurrent.features // (2 if body.bidirectional else 1)
        self.project = nn.ModuleList(nn.Linear(states, width) for _ in range(2 if body.bidirectional else 1))
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        """(B, T), (B,) -> (), count."""
        states, _ = self.body.forward_states(tokens, lengths)  # (B, T, H), or (B, T, 2H)
        told = torch.arange(1, tokens.shape[1], device=tokens.device) < lengths[:, None]  # (B, T - 1)
        parts = states.chunk(len(self.project), dim=2)
        losses = [self._loss(0, parts[0][:, :-1][told], tokens[:, 1:][told])]
        if len(parts) == 2:
            losses.append(self._loss(1, parts[1][:, 1:][told], tokens[:, :-1][told]))
        return torch.stack(losses).sum(), len(parts) * int(told.sum())

    def _loss(self, direction: int, states: Tensor, wanted: Tensor) -> Tensor:
        """(n, H) states, (n,) tokens -> the sum of their log losses."""
        logits = F.linear(self.project[direction](states), self.body.embedding.weight, self.bias)  # (n, V)
        return F.cross_entropy(logits, wanted, reduction="sum")


@final
class Telling:
    """A language model under training.

    Args:
        model: what learns.
        optimizer: how it follows the gradient.
        stage: how long and how fast.
        steps: updates in the whole stage.
        device: where it computes.
    """

    def __init__(
        self, model: LanguageModel, optimizer: OptimizerRecipe, stage: TextStage, steps: int, device: Device
    ) -> None:
        self._model, self._device = model, device
        # Averages of weights trail a model that is to learn much in few steps.
        recipe = optimizer.model_copy(update={"ema": 0.0})
        groups = parameter_groups(model, recipe.norm_bias_rate)
        self._update = Update(groups, recipe, learning_rate=stage.learning_rate, steps=steps)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._update.learning_rate

    def train_step(self, batch: SequenceBatch) -> tuple[Metrics, int]:
        """Forward, log loss of the next tokens, one update."""
        self._model.train()
        with self._device.precision():
            total, count = self._model(batch.inputs, batch.lengths)
        loss = total / max(1, count)
        self._update(loss)
        return {"loss": loss.item()}, len(batch.ids)

    def evaluate(self, batches: Iterator[SequenceBatch]) -> Metrics:
        """Log loss a token, in nats, and its exponential, the perplexity."""
        self._model.eval()
        total, count = 0.0, 0
        with torch.inference_mode(), self._device.precision():
            for batch in batches:
                part, told = self._model(batch.inputs, batch.lengths)
                total, count = total + float(part), count + told
        loss = total / max(1, count)
        return {"loss": loss, "perplexity": math.exp(min(loss, 100.0))}

    def state_dict(self) -> dict[str, Any]:
        """The model and its update."""
        model = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        return {"language": model, "update": self._update.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._model.load_state_dict(state["language"])
        self._update.load_state_dict(state["update"])


def thawed(body: TextRecurrent, stage: TextStage) -> list[Group]:
    """What a stage trains of a network, last layers first, each layer before at a rate 2.6 times lower.

    Example:
        >>> from layerwise.models.by_task import Sizes
        >>> from layerwise.models.text_recurrent import Options
        >>> body = TextRecurrent(Sizes(10, 2, 5), Options())
        >>> stage = TextStage(name="head", epochs=1, learning_rate=0.1, trains="head")
        >>> sum(each.numel() for group in thawed(body, stage) for each in group.parameters)
        65
    """
    head: list[nn.Module] = [body.linear, *([body.attention] if body.attention is not None else [])]
    layers: list[list[nn.Module]] = [head, *([layer] for layer in reversed(list(body.recurrent.layers)))]
    layers += [[body.embedding]]
    shown = {"head": 1, "recurrent": len(layers) - 1}.get(stage.trains, len(layers))
    found: list[Group] = []
    for depth, modules in enumerate(layers[:shown]):
        parameters = [parameter for module in modules for parameter in module.parameters()]
        for decays in (True, False):
            if some := [each for each in parameters if (each.ndim > 1) == decays]:
                found.append(Group(some, rate=_STEP**-depth, decays=decays))
    return found
