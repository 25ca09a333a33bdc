"""How good samples are: distances from real images after each epoch and at the end, copies, classes, a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from layerwise.errors import DataError
from layerwise.metrics.generation import class_share, frechet, frechet_interval, kid_interval
from layerwise.metrics.generation_baselines import mean_image, pca_gaussian
from layerwise.metrics.generation_verdict import verdict
from layerwise.metrics.intervals import Interval
from layerwise.metrics.memorisation import Memory, nearest
from layerwise.metrics.neighbours import density_coverage, density_coverage_interval, diversity
from layerwise.tasks.feature_network import FeatureNetwork, JudgeRecipe, drawn
from layerwise.tasks.generator_data import GeneratorData

__all__ = ["MEAN_IMAGE", "PCA_GAUSSIAN", "Judge", "JudgeRecipe"]

# n images, S pixels a side, C channels, F features.

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

MEAN_IMAGE: Final = "mean image"
PCA_GAUSSIAN: Final = "PCA-Gaussian"
_SAID: Final = MappingProxyType({MEAN_IMAGE: "the mean image", PCA_GAUSSIAN: "a Gaussian in principal components"})

_LEAST = 8  # training images, or nothing can be said
_VALID, _TEST = 50, 10  # images of a part, below which samples are held to training images
_NEIGHBOURS = 5
_BASELINE = 10_000  # training images that baselines are made of, and
_BASELINE_VALUES = 40_000_000  # how many values they may have
_KNOWN = 5000  # training images whose features are searched for the nearest
_SHOWN = 16  # samples with their nearest training images
_READ = 1024  # images read at once
# What images are averaged down to where they are searched pixel by pixel: values of an image, bytes of all.
_THUMB, _THUMBS = 1024, 400_000_000
# Below these a generator has collapsed; real images have 1 of either. On Fashion-MNIST, in all three kinds of features,
# one image and five or twenty in turn, each under slight noise, came to 0.07 at most in one of the two; a GAN after 40
# steps to 0.5, a Gaussian in two principal components to 0.2, samples of one class of ten to 0.5.
_ALIKE, _REPEATED = 0.1, 0.1
_FEW = 50  # images over and over are a collapse


@final
class Judge:
    """What compares samples with real images. Made by `Judge.of`; equal arguments give equal figures.

    Attributes:
        samples: how many samples `report` wants of each sampler: as many as there are real images beside them.
        epoch_samples: how many `validate` wants.
        notes: what a person should know of the comparison.
    """

    def __init__(self, found: GeneratorData, network: FeatureNetwork, recipe: JudgeRecipe, seed: int) -> None:
        self._found, self._network = found, network
        train = drawn(found.ids("train"), len(found.ids("train")), seed)
        valid, test = (drawn(found.ids(part), len(found.ids(part)), seed) for part in ("valid", "test"))
        notes = []
        if len(valid) < _VALID:
            notes.append(f"Validation has {len(valid)} images: samples are held to training images after each epoch.")
            valid = train
        if len(test) < _TEST:
            notes.append(f"The {found.held_out} part has {len(test)} images: samples are held to training images.")
            half = len(train) // 2
            train, test = train[half:], train[:half]
        self.notes = tuple(notes)
        self.epoch_samples = min(recipe.epoch_samples, len(valid))
        self.samples = min(recipe.samples, len(test), len(train))
        self._train, self._test = train, test[: self.samples]
        valid = valid[: self.epoch_samples]
        self._valid = self._features(valid)
        self._block = _block(found.side, found.channels, len(train))
        self._apart = _apart(self._valid, _flat(self._thumbnails(valid)))

    @classmethod
    def of(cls, found: GeneratorData, network: FeatureNetwork, recipe: JudgeRecipe, seed: int) -> Judge:
        """A judge of these images; the features of the validation part are computed now.

        Args:
            found: the images.
            network: features of theirs.
            recipe: how many are compared.
            seed: of which real images those are.

        Raises:
            DataError: there are too few training images to say anything.
        """
        if len(found.ids("train")) < _LEAST:
            raise DataError(
                f"There are {len(found.ids('train'))} training images.",
                expected=f"{_LEAST} or more: with fewer nothing can be said of what a generator makes",
            )
        return cls(found, network, recipe, seed)

    def validate(self, samples: Pixels) -> dict[str, float]:
        """How near samples come to the validation part, after an epoch.

        Args:
            samples: (n, S, S, C) uint8, n >= 2; those beyond the number of validation images are passed over.

        Returns:
            distance: Fréchet, lower is better.
            coverage: share of real images with a sample near by, 0 to 1.
            diversity: the mean distance between two samples, of real images 1; in features or in pixels, where it is
                less: features see noise on one image as many images.
            spacing: the same of the mean distance of a sample from its nearer ones, 0 where few images repeat.
        """
        made = self._network.features(samples[: len(self._valid)])
        real = self._valid[: len(made)]
        ratios = _apart(made, _flat(_averaged(samples[: len(made)], self._block))) / self._apart  # (2, 2)
        ratios = np.where(self._apart > 0, ratios, 1.0).min(axis=0)
        return {
            "distance": frechet(made, real),
            "coverage": density_coverage(real, made, _neighbours(real))[1],
            "diversity": float(ratios[0]),
            "spacing": float(ratios[1]),
        }

    def collapsed(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong with samples that are all but alike, in a sentence; none where they are not.

        Few images over and over are a collapse too. Samples of one class among several are none: they differ.

        Args:
            metrics: what `validate` gave.
        """
        alike, repeated = metrics["diversity"], metrics["spacing"]
        if alike < _ALIKE:
            return f"Samples are all but alike: their diversity is {alike:.3f}, where real images have 1."
        if repeated < _REPEATED:
            return f"Samples are a few images over and over: their spacing is {repeated:.3f}, where real images have 1."
        return None

    def report(self, samplers: Mapping[str, Pixels]) -> Mapping[str, Any]:
        """All figures of samples against the reported part.

        Args:
            samplers: name -> (n, S, S, C) uint8, n = `samples`; the model's own comes first.

        Returns:
            metrics: distance, kid, density and coverage of the first sampler, each with its interval.
            baselines: those of the mean image and of the Gaussian, `{"name", "metrics"}` each.
            verdict: a sentence for people.
            generation: what `metrics.json` says of samples beside these.
        """
        name, *_ = samplers
        real = self._features(self._test)
        made = {each: self._network.features(pixels[: self.samples]) for each, pixels in samplers.items()}
        rivals = {each: self._network.features(make(self.samples, 0)) for each, make in self._baselines().items()}
        known = self._features(self._train[: max(_KNOWN, self.samples)])
        among_real = _figures(known[: self.samples], real)
        figures = {each: _figures(features, real) for each, features in {**made, **rivals}.items()}
        said = {_SAID[each]: features for each, features in rivals.items()}
        generation = {
            "features": self._network.name,
            "digest": self._network.digest,
            "samples": self.samples,
            "real": among_real,
            "samplers": [{"name": each, "metrics": figures[each]} for each in made],
            "memorised": self._memorised(samplers[name][: self.samples], made[name], known),
            "notes": list(self.notes),
        }
        return {
            "metrics": figures[name],
            "baselines": [{"name": each, "metrics": figures[each]} for each in rivals],
            "verdict": verdict(made[name], real, said, real_distance=among_real["distance"]["value"]),
            "generation": generation | self._classes(real, made[name]),
        }

    def _features(self, ids: NDArray[np.int64]) -> Values:
        """(n, F) of images by number; their pixels are held a few at a time."""
        starts = range(0, len(ids), _READ)
        return np.concatenate([self._network.features(self._found.pixels(ids[at : at + _READ])) for at in starts])

    def _baselines(self) -> dict[str, Callable[[int, int], Pixels]]:
        size = self._found.side**2 * self._found.channels
        some = self._found.pixels(self._train[: max(_LEAST, min(_BASELINE, _BASELINE_VALUES // size))])
        return {MEAN_IMAGE: mean_image(some), PCA_GAUSSIAN: pca_gaussian(some)}

    def _classes(self, real: Values, made: Values) -> dict[str, Any]:
        """Shares of classes, both as the classifier sees them, and half the sum of their differences."""
        seen, said = self._network.classified(real), self._network.classified(made)
        if seen is None or said is None:
            return {}
        shares = [class_share(each) for each in (seen, said)]
        return {
            "classes": {
                "names": list(self._network.facts.classes),
                "real": shares[0].tolist(),
                "samples": shares[1].tolist(),
                "variation": float(np.abs(shares[0] - shares[1]).sum() / 2),
            }
        }

    def _memorised(self, samples: Pixels, made: Values, known: Values) -> dict[str, Any]:
        """Samples that are training images.

        All training images are searched by their pixels, and that decides. Features of some are searched too, for the
        pairs that are shown: of all, that would take minutes.
        """
        every = self._found.ids("train")
        memory = Memory.of(self._thumbnails(every), self._thumbnails(self._test))
        small = _averaged(samples, self._block)
        distances, rows = memory.nearest(small)
        apart, places = nearest(made, known)
        order = np.argsort(distances, kind="stable")[:_SHOWN]
        return {
            "n": len(samples),
            "flagged": int((distances <= memory.threshold).sum()),
            "threshold": memory.threshold,
            "expected": memory.share,
            "train": len(every),
            "held_out": memory.held_out,
            "copies_held_out": memory.copies_held_out,
            "pixels": self._found.side // self._block,
            "features_of": len(known),
            "pairs": [
                {
                    "sample": int(row),
                    "train": int(every[rows[row]]),
                    "distance": float(distances[row]),
                    "by_features": int(self._train[places[row]]),
                    "features_distance": float(apart[row]),
                }
                for row in order
            ],
        }

    def _thumbnails(self, ids: NDArray[np.int64]) -> Pixels:
        """(n, S', S', C) uint8 of images by number, small enough to be held and searched."""
        starts = range(0, len(ids), _READ)
        return np.concatenate([_averaged(self._found.pixels(ids[at : at + _READ]), self._block) for at in starts])


def _figures(made: Values, real: Values) -> dict[str, Interval]:
    density, coverage = density_coverage_interval(real, made, _neighbours(real))
    return {
        "distance": frechet_interval(made, real),
        "kid": kid_interval(made, real),
        "density": density,
        "coverage": coverage,
    }


def _neighbours(real: Values) -> int:
    return min(_NEIGHBOURS, len(real) - 1)


def _spacing(features: Values) -> float:
    """The mean distance of each row from the other one that a fiftieth of all are nearer than: 0 for fifty in turn."""
    place = len(features) // _FEW
    middle = features - features.mean(axis=0)
    squares = (middle**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(middle), _READ):
        rows = middle[start : start + _READ]
        apart = squares[start : start + _READ, None] + squares - 2 * rows @ middle.T  # (rows, n)
        apart[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf
        total += float(np.sqrt(np.partition(apart, place, axis=1)[:, place].clip(0)).sum())
    return total / len(features)


def _apart(features: Values, pixels: Values) -> Values:
    """(2, 2): diversity and spacing, in features and in pixels."""
    return np.array([[diversity(each), _spacing(each)] for each in (features, pixels)])


def _flat(pixels: Pixels) -> Values:
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def _block(side: int, channels: int, count: int) -> int:
    """How many pixels a side are averaged into one, so that images can be searched: 1, 2, 4 and so on."""
    block = 1
    while side % (2 * block) == 0 and (values := (side // block) ** 2 * channels):
        if values <= _THUMB and values * count <= _THUMBS:
            break
        block *= 2
    return block


def _averaged(pixels: Pixels, block: int) -> Pixels:
    """(n, S, S, C) -> (n, S / block, S / block, C)."""
    if block == 1:
        return pixels
    n, side, _, channels = pixels.shape
    blocks = pixels.reshape(n, side // block, block, side // block, block, channels)
    return np.asarray(np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)), dtype=np.uint8)
