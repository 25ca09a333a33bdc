"""The mean of what several networks for texts answer: `average`.

Networks that err differently are together better than the best of them (L. Hansen, P. Salamon, "Neural network
ensembles", IEEE PAMI 12, 1990). B texts, T tokens, C classes, M networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import torch
from torch import Tensor, nn

from layerwise import config
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model

NAME = "average"
_TASK = "text-classification"
_MEMBERS = ("bilstm", "text-cnn", "nb-bag")


class Options(config.Section):
    """Options of `average`: the members' own options, by their names in the table of models."""

    members: dict[str, dict[str, Any]] = pydantic.Field({name: {} for name in _MEMBERS}, min_length=1)

    @pydantic.field_validator("members")
    @classmethod
    def _known(cls, members: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = [name for name in TASK_MODELS[_TASK] if name != NAME]
        if not set(members) <= set(known):
            raise ValueError(f"tables of options by name, of {', '.join(known)}")
        return members


class TextAverage(nn.Module):
    """Mean of probabilities, each network's logits divided by its own temperature first.

    Args:
        members: networks for texts, by name.

    Shapes:
        (B, T) tokens, 0 is padding, and (B,) lengths -> (B, C) logarithms of the mean probabilities, as logits.

    Example:
        >>> from layerwise.models.text_cnn import Options, TextCnn
        >>> sizes = Sizes(inputs=100, outputs=3, length=8)
        >>> net = TextAverage({"one": TextCnn(sizes, Options()), "two": TextCnn(sizes, Options())})
        >>> net(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([3, 1])).exp().sum(1).allclose(torch.ones(2))
        True
    """

    temperatures: Tensor

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # By name, so that the temperatures keep their places whatever order a file lists the members in.
        self.members = nn.ModuleDict(dict(sorted(members.items())))
        self.register_buffer("temperatures", torch.ones(len(members)))  # (M,)

    def keep(self, temperatures: Mapping[str, float]) -> None:
        """Go on with some of the members, each with its temperature, above 0."""
        self.members = nn.ModuleDict({name: member for name, member in self.members.items() if name in temperatures})
        self.temperatures = torch.tensor([temperatures[name] for name in self.members]).to(self.temperatures)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) tokens, (B,) lengths -> (B, C)."""
        return self.join([member(tokens, lengths) for member in self.members.values()])

    def join(self, logits: Sequence[Tensor]) -> Tensor:
        """(B, C) of each member -> (B, C)."""
        answers = [
            (each / temperature).log_softmax(1) for each, temperature in zip(logits, self.temperatures, strict=True)
        ]
        return torch.stack(answers).logsumexp(0) - math.log(len(answers))  # (M, B, C) -> (B, C)


def build(sizes: Sizes, options: Mapping[str, Any]) -> TextAverage:
    """Make networks for texts whose answers are averaged.

    Raises:
        RecipeError: an unknown option or an unusable value.
    """
    members = config.build(Options, options).members
    return TextAverage({name: build_task_model(_TASK, name, sizes, own) for name, own in members.items()})
