"""A network of the user's own: asked for where it is missing, and tried before anything long begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layerwise.errors import StoreError, UsageError

CUSTOM = "custom"  # what such a network is called in recipes and model files


def not_given() -> UsageError:
    """Of a run whose network is the user's own."""
    return UsageError(
        "The network of this run is your own, and was not given.",
        fix="Give it in Python: train(data, model=MyNet()), or resume(path, network=MyNet()).",
    )


def not_in_file() -> StoreError:
    """Of a model file whose network is the user's own."""
    return StoreError(
        "This model file holds the weights of your own network, and no code.",
        expected="the network itself",
        fix="Give it: layerwise.load(path, network=MyNet()).",
    )


def try_out(network: nn.Module, inputs: Sequence[Tensor], wanted: Sequence[tuple[int, ...]], meaning: str) -> None:
    """Run a user's own network once on a few examples; it is in eval mode afterwards.

    Args:
        network: on the device of the inputs.
        inputs: its arguments.
        wanted: the shapes that its output may have.
        meaning: of the output, for people.

    Raises:
        UsageError: it fails, or gives something else.

    Example:
        >>> try_out(nn.Linear(4, 2), [torch.zeros(3, 4)], [(3, 2)], "a number for each of the 2 classes")
    """
    network.eval()
    shapes = " and ".join(str(tuple(each.shape)) for each in inputs)
    try:
        with torch.inference_mode():
            given = tuple(network(*inputs).shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(f"Your network failed on a batch of shape {shapes}: {error}.") from error
    if given not in wanted:
        listed = " or ".join(str(shape) for shape in wanted)
        raise UsageError(
            f"Your network's output has the shape {given} for a batch of {len(inputs[0])}.",
            expected=f"{listed}: {meaning}",
        )
