"""What turns images into features, in which samples are compared with real images.

A pretrained network where its weights are on this machine, else a small one that is trained on the training part
(`feature_small.py`). Either way the features are the main directions of the training part: a Fréchet distance in more
directions than a few dozen is mostly bias at a few thousand images. A run keeps its feature network, so that other runs
can be judged by the very same (`judge.like`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import pydantic
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerwise.config import Section, build
from layerwise.console import Show
from layerwise.device import Device, pick
from layerwise.errors import DataError, LayerwiseError, RecipeError, StoreError, WeightsError
from layerwise.models import at_hand, find_model
from layerwise.store import atomic, strict_json
from layerwise.store.model_file import tensors_digest
from layerwise.tasks.feature_bodies import (
    PRETRAINED,
    Body,
    Pixels,
    Values,
    inputs_for,
    linear_classifier,
    main_directions,
    pretrained_body,
    small_body,
    small_body_again,
)
from layerwise.tasks.feature_small import trained
from layerwise.tasks.generator_data import GeneratorData

# n images, S pixels a side, C channels, D activations of the network, F features.

FACTS: Final = "judge/facts.json"
TENSORS: Final = "judge/tensors.safetensors"

_FITTED = 5000  # training images that directions and classifier are fitted on
_CHECKED = 1000  # validation images that the classifier is held to
_LABELLED = 20  # of those fitted on, that two classes at least have to have for labels to be used
_READ = 512  # images read at once
_NETWORK = "network."  # before the names of a small network's tensors
_FACTS_LIMIT, _TENSORS_LIMIT = 10_000_000, 100_000_000  # bytes


class JudgeRecipe(Section):
    """How samples are judged."""

    network: Literal["auto", "efficientnet_lite0", "small"] = "auto"
    samples: int = pydantic.Field(2000, ge=50, le=20_000)  # images on either side of a distance; fewer where test is
    epoch_samples: int = pydantic.Field(1000, ge=50, le=20_000)  # the same after each epoch
    steps: int = pydantic.Field(150, ge=1)  # that the small network is trained for
    like: str | None = None  # a run folder whose feature network is taken


class FeatureFacts(Section):
    """What a feature network is, beside its tensors.

    Attributes:
        format: of the files, and of what is done to an image.
        network: "efficientnet_lite0" or "small".
        side, channels: of the images that it was fitted on.
        inputs: pixels a side that the network sees.
        labelled: whether the small network was trained on labels too.
        kept: share of the variance of the training images that the features hold, 0 to 1.
        classes: what its classifier tells apart; none where it has no classifier.
        accuracy: of the classifier on validation images, 0 to 1; none where nothing could be checked.
        weights: digest of the network's tensors; those of a pretrained one are not kept with the run.
        tensors: digest of the tensors that are kept.
    """

    format: Literal[1] = 1
    network: Literal["efficientnet_lite0", "small"]
    side: int = pydantic.Field(ge=1, le=1024)
    channels: Literal[1, 3]
    inputs: int = pydantic.Field(ge=1, le=1024)
    labelled: bool = False
    kept: float = pydantic.Field(ge=0.0, le=1.0, allow_inf_nan=False)
    classes: tuple[str, ...] = ()
    accuracy: float | None = pydantic.Field(None, ge=0.0, le=1.0, allow_inf_nan=False)
    weights: str
    tensors: str


@final
class FeatureNetwork:
    """Features of images, and their classes where there were labels. Made by `feature_network` or `from_files`.

    Attributes:
        facts: what it is.
        name: the same for people.
        digest: equal digests give comparable figures.

    Example:
        >>> raw = np.random.default_rng(0).normal(size=(40, 4))
        >>> body = Body(lambda pixels: torch.from_numpy(pixels.reshape(len(pixels), -1)), "", {})
        >>> facts = FeatureFacts(network="small", side=2, channels=1, inputs=2, kept=1.0, weights="", tensors="")
        >>> FeatureNetwork(body, main_directions(raw)[0], facts).features(np.zeros((3, 2, 2, 1), np.uint8)).shape
        (3, 4)
    """

    def __init__(self, body: Body, fitted: Mapping[str, Values], facts: FeatureFacts) -> None:
        self._body, self._fitted, self.facts = body, dict(fitted), facts
        # How well the classifier did changes no feature.
        decides = facts.model_dump(mode="json", exclude={"accuracy"})
        self.digest = hashlib.sha256(strict_json.dumps(decides)).hexdigest()
        self.name = _name(facts, self._fitted["directions"].shape[1])

    def features(self, pixels: Pixels) -> Values:
        """Features of images: centred on the training images, whose variances sum to 100.

        Args:
            pixels: (n, S, S, C) uint8, n >= 1.

        Returns:
            (n, F) float64.

        Raises:
            DataError: the images are not of the size or the channels that this network was trained on.
        """
        self.check(pixels.shape[1:])
        return np.asarray((self._body.activations(pixels) - self._fitted["mean"]) @ self._fitted["directions"])

    def probabilities(self, pixels: Pixels) -> Values | None:
        """How likely each class is: (n, classes) float64 of (n, S, S, C) uint8; none without a classifier."""
        return self.classified(self.features(pixels)) if self.facts.classes else None

    def classified(self, features: Values) -> Values | None:
        """As `probabilities`, of features (n, F)."""
        if not self.facts.classes:
            return None
        logits = features @ self._fitted["weight"] + self._fitted["bias"]  # (n, classes)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def files(self) -> Mapping[str, bytes]:
        """What is kept to have it again, by name in the run folder; equal networks give equal bytes."""
        facts = strict_json.seal(self.facts.model_dump(mode="json"))
        return {FACTS: facts, TENSORS: safetensors.torch.save(_tensors(self._body, self._fitted))}

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises DataError for images of a shape (S, S, C) that this network cannot judge."""
        wanted = (self.facts.side, self.facts.side, self.facts.channels)
        if self.facts.network == "small" and shape != wanted:
            sizes = ["x".join(map(str, sizes)) for sizes in (wanted, shape)]
            raise DataError(
                f"The feature network was trained on images of {sizes[0]}, and these are of {sizes[1]}.",
                fix="Take judge.like from a run on images of this size, or leave it out.",
            )


def settled(recipe: JudgeRecipe) -> JudgeRecipe:
    """The recipe with the network that "auto" means on this machine, so that a resumed run judges by the same.

    Example:
        >>> settled(JudgeRecipe(network="small")).network
        'small'
    """
    if recipe.network != "auto" or recipe.like is not None:
        return recipe
    return recipe.model_copy(update={"network": PRETRAINED if at_hand(find_model(PRETRAINED)) else "small"})


def feature_network(found: GeneratorData, recipe: JudgeRecipe, device: Device, show: Show) -> FeatureNetwork:
    """The feature network of a run, fitted on its training part alone.

    Equal data and recipe give equal features: which network it is hangs on what is installed and never on how fast it
    runs, and no global generator is used. Features are computed in float32 whatever the precision of the run.

    Args:
        found: the images.
        recipe: how samples are judged.
        device: where the network runs.
        show: tells a person how far it is, and what was chosen.

    Raises:
        WeightsError: the pretrained network was named and its weights cannot be reached.
        RecipeError, StoreError: `judge.like` has no feature network, or a damaged one.
        DataError: the feature network of `judge.like` does not fit these images.
    """
    if recipe.like is not None:
        network = read_judge(Path(recipe.like), device)
        network.check((found.side, found.side, found.channels))
    else:
        network = _fitted(found, settled(recipe), device, show)
    checked, where = network.facts.accuracy, " of that run" if recipe.like else ""
    said = "" if checked is None else f" It names {checked:.0%} of the validation images{where} right."
    show.say(f"Samples are judged by a {network.name}.{said}")
    return network


def read_judge(run: Path, device: Device | None = None) -> FeatureNetwork:
    """The feature network that a run has kept.

    Raises:
        RecipeError: the folder has none. StoreError, WeightsError: it cannot be used; see `from_files`.
    """
    if not all((run / name).is_file() for name in (FACTS, TENSORS)):
        raise RecipeError(
            f'judge.like is "{run}", and there is no {FACTS} with {TENSORS} in it.',
            expected="the folder of a run of a generator",
            fix="Check the path, or leave judge.like out.",
        )
    limits = {FACTS: _FACTS_LIMIT, TENSORS: _TENSORS_LIMIT}
    return from_files({name: atomic.read_bytes(run / name, limit) for name, limit in limits.items()}, device)


def from_files(files: Mapping[str, bytes], device: Device | None = None) -> FeatureNetwork:
    """A feature network from what `FeatureNetwork.files` gave.

    Args:
        files: by name; others than its own are passed over.
        device: where the network runs; none is the CPU.

    Raises:
        StoreError: a file is missing or damaged.
        WeightsError: the pretrained weights cannot be reached, or are not those that it was fitted with.
    """
    place = (device or pick("cpu", "float32")).place
    try:
        facts = build(FeatureFacts, strict_json.unseal(files[FACTS]))
        tensors = safetensors.torch.load(files[TENSORS])
        if tensors_digest(tensors) != facts.tensors:
            raise ValueError("its tensors do not match their hash")
        own = {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}
        fitted = {name: value.numpy() for name, value in tensors.items() if not name.startswith(_NETWORK)}
        _check_fitted(fitted, facts)
        body = _body_again(facts, own, place)
    except WeightsError:
        raise
    except (KeyError, ValueError, LayerwiseError, safetensors.SafetensorError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise StoreError(
            f"The feature network of the run cannot be used: {reason}.",
            fix=f"Restore {FACTS} and {TENSORS} of the run, or judge anew without judge.like.",
        ) from None
    return FeatureNetwork(body, fitted, facts)


def drawn(ids: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` of the ids, in an order that follows from the seed; the first of many are those of few.

    Example:
        >>> sorted(drawn(np.arange(4), 9, 0).tolist())
        [0, 1, 2, 3]
    """
    return np.random.Generator(np.random.Philox(seed)).permutation(ids)[:count]


def _fitted(found: GeneratorData, recipe: JudgeRecipe, device: Device, show: Show) -> FeatureNetwork:
    train, pretrained = found.ids("train"), recipe.network == PRETRAINED
    ids = drawn(train, _FITTED, 0)
    classes = _classes(found, ids)
    body = (
        pretrained_body(inputs_for(found.side), device.place)
        if pretrained
        else _small(found, classes, recipe.steps, device, show)
    )
    parts = []
    with show.bar("features of training images", len(ids)) as advance:
        for start in range(0, len(ids), _READ):
            parts.append(body.activations(found.pixels(ids[start : start + _READ])))
            advance(len(parts[-1]))
    raw = np.concatenate(parts)  # (n, D)
    fitted, kept = main_directions(raw)
    if classes:
        fitted |= linear_classifier((raw - fitted["mean"]) @ fitted["directions"], found.targets[ids], len(classes))
    facts = FeatureFacts(
        network=PRETRAINED if pretrained else "small",
        side=found.side,
        channels=1 if found.channels == 1 else 3,
        inputs=inputs_for(found.side) if pretrained else found.side,
        labelled=not pretrained and bool(classes),
        kept=kept,
        classes=classes,
        weights=body.digest,
        tensors=tensors_digest(_tensors(body, fitted)),
    )
    accuracy = _accuracy(FeatureNetwork(body, fitted, facts), found)
    return FeatureNetwork(body, fitted, facts.model_copy(update={"accuracy": accuracy}))


def _small(found: GeneratorData, classes: tuple[str, ...], steps: int, device: Device, show: Show) -> Body:
    train = found.ids("train")
    targets = found.targets[train] if classes else None
    network = trained(
        lambda rows: found.pixels(train[rows]), targets, (found.side, found.channels), len(train), steps, show
    )
    return small_body(network, device.place)


def _classes(found: GeneratorData, ids: NDArray[np.int64]) -> tuple[str, ...]:
    """The classes to tell apart; none where fewer than two of them have enough images."""
    targets = found.targets[ids]
    counts = np.bincount(targets[targets >= 0], minlength=len(found.classes))
    return found.classes if (counts >= _LABELLED).sum() > 1 else ()


def _accuracy(network: FeatureNetwork, found: GeneratorData) -> float | None:
    valid = found.ids("valid")
    ids = drawn(valid[found.targets[valid] >= 0], _CHECKED, 0)
    said = network.probabilities(found.pixels(ids)) if len(ids) else None
    return None if said is None else float((said.argmax(axis=1) == found.targets[ids]).mean())


def _tensors(body: Body, fitted: Mapping[str, Values]) -> dict[str, Tensor]:
    network = {f"{_NETWORK}{name}": tensor for name, tensor in body.kept.items()}
    return network | {name: torch.from_numpy(value) for name, value in fitted.items()}


def _body_again(facts: FeatureFacts, own: Mapping[str, Tensor], place: torch.device) -> Body:
    if facts.network == "small":
        return small_body_again(facts.channels, facts.side, own, place)
    body = pretrained_body(facts.inputs, place)
    if body.digest != facts.weights:
        raise WeightsError(
            f"The weights of {PRETRAINED} on this machine are not those that the run was judged with.",
            expected=f"tensors with the digest {facts.weights[:12]}",
            fix="Install layerwise[offline] as that run had it, or judge anew without judge.like.",
        )
    return body


def _check_fitted(fitted: Mapping[str, NDArray[Any]], facts: FeatureFacts) -> None:
    names = {"mean", "directions"} | ({"weight", "bias"} if facts.classes else set())
    if set(fitted) != names:
        raise ValueError(f"it has not the tensors {', '.join(sorted(names))}")
    inner, count = fitted["directions"].shape if fitted["directions"].ndim == 2 else (0, 0)
    classes = len(facts.classes)
    shapes = {"mean": (inner,), "directions": (inner, count), "weight": (count, classes), "bias": (classes,)}
    for name, value in fitted.items():
        if value.dtype != np.float64 or value.shape != shapes[name] or not value.size or not np.isfinite(value).all():
            raise ValueError(f'its tensor "{name}" is not of the shape or the type that is kept, or not finite')


def _name(facts: FeatureFacts, count: int) -> str:
    learnt = "classes and quarter turns" if facts.labelled else "quarter turns"
    kinds = {
        "small": f"small network trained on {learnt}",
        PRETRAINED: f"pretrained EfficientNet-Lite0 at {facts.inputs} pixels",
    }
    return f"{kinds[facts.network]} ({count} directions, {facts.kept:.0%} of the variance)"
