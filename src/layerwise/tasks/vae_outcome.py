"""The end of a run of a variational autoencoder: figures, samplers, pictures, and what the model file says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.console import Show
from layerwise.device import Device
from layerwise.metrics import elbo
from layerwise.metrics.generation_verdict import verdict_nats
from layerwise.metrics.means import mean_interval
from layerwise.tasks.feature_network import feature_network
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_judge import MEAN_IMAGE, Judge
from layerwise.tasks.generator_run import GRID, card_of, drawn_classes, in_turns, pairs_file, same_cost, samples_file
from layerwise.tasks.job import Outcome
from layerwise.tasks.vae import Vae
from layerwise.tasks.vae_bound import Measured, as_vae, encoded, importance_nats, measured, measured_untold
from layerwise.tasks.vae_latents import FITTED, Mixture, Sampler, VaeLook, fit, latents
from layerwise.tasks.vae_pictures import Drawing, pictures
from layerwise.tasks.vae_recipe import TASK, VaeRecipe, recipe_of

DRAWS = 4  # of the latents of an image, that its score is the mean of
_VALUES = 400_000_000  # bytes of training pixels that are held at once for the mixture and the mean image
_JUDGED = 7_032  # seed of the samples that are judged


@dataclass(frozen=True)
class End:
    """What a run has when its training is done.

    Args:
        found: its images.
        recipe: complete.
        task: holds the kept network.
        device: where it computes.
        show: tells a person how far it is.
    """

    found: GeneratorData
    recipe: VaeRecipe
    task: Vae
    device: Device
    show: Show

    @property
    def drawing(self) -> Drawing:
        """The kept network, and what it draws."""
        return Drawing(self.task.network, self.device, self.found.conditional)

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """(n,) class numbers where the network is told of them."""
        return self.found.targets[ids] if self.found.conditional else None


@dataclass(frozen=True)
class Scored:
    """A part of the images, measured.

    Args:
        measured: the bound, given the class where the network is told of one.
        scores: (n,) the anomaly score: the negative ELBO, of a class unknown where the network is told of classes.
    """

    measured: Measured
    scores: NDArray[np.float64]


def scored(end: End, ids: NDArray[np.int64]) -> Scored:
    """Images by number, averaged over a few draws."""
    pixels, network = end.found.pixels(ids), end.task.network
    given = measured(network, end.device, pixels, end.labels(ids), DRAWS)
    if not end.found.conditional:
        return Scored(given, given.negative_elbo)
    return Scored(given, measured_untold(network, end.device, pixels, end.found.shares, DRAWS)[0])


def finish(end: End, seconds: Mapping[str, float], kept: Mapping[str, float]) -> Outcome:
    """Figures of the reported part, samplers and which is better, pictures, and the card.

    Args:
        end: what the run has.
        seconds: spent so far.
        kept: validation of the kept weights.
    """
    began, found = time.monotonic(), end.found
    ids, train_ids = found.ids("test"), _some(found, "train", FITTED)
    test, train = scored(end, ids), found.pixels(train_ids)
    figures = _figures(end, test, ids)
    nats = elbo.mean_image_nats(train, found.pixels(ids), as_vae(end.task.network).likelihood)
    tested = time.monotonic()
    mixture = fit(
        encoded(end.task.network, end.device, train, end.labels(train_ids)), end.labels(train_ids), end.recipe.mixture
    )
    features = feature_network(found, end.recipe.judge, end.device, end.show)
    judge = Judge.of(found, features, end.recipe.judge, end.recipe.seed)
    samplers = _samplers(end, mixture, judge)
    for note in judge.notes:
        end.show.say(note)
    report = judge.report(samplers)
    words = "In validation {name} takes {ours:.1f} nats an image, and {other} {theirs:.1f}."
    beside = same_cost(words, "negative_elbo", end.task.name, kept, end.task.bests, end.recipe.rival)
    best: Sampler = "mixture" if next(iter(samplers)) == NAMES["mixture"] else "normal"
    metrics = {
        "task": TASK,
        "split": found.held_out,
        "n": len(ids),
        "metrics": {**figures, **report["metrics"]},
        **_baselines(report, nats),
        "verdict": " ".join([verdict_nats(test.measured.negative_elbo, nats), report["verdict"], *beside]),
        "generation": {**report["generation"], **_generation(end, test)},
        "seconds": {**seconds, "test": tested - began, "judge": time.monotonic() - tested},
    }
    look = VaeLook(
        image=found.preprocess,
        mixture=mixture,
        sampler=best,
        scores=elbo.quantiles(scored(end, found.ids("valid")).scores),
        shares=found.shares,
    )
    files = {**features.files(), **_pictures(end, ids, test, look), **_nearest(end, samplers, report)}
    options = recipe_of(end.task.name, end.recipe).network
    card = card_of(found, TASK, end.task.name, end.device, options, look)
    return Outcome(metrics, table(end, ids, test), card, files)


NAMES: Mapping[Sampler, str] = MappingProxyType({"normal": "N(0, I)", "mixture": "Gaussian mixture"})


def _samplers(end: End, mixture: Mixture, judge: Judge) -> dict[str, NDArray[np.uint8]]:
    """Samples of both samplers, first those that come closer to the validation images."""
    count = judge.samples
    labels = drawn_classes(_JUDGED, count, end.found.shares) if end.found.shares else in_turns(count, 0)
    drawn = {kind: end.drawing.decoded(latents(kind, mixture, seed=_JUDGED, labels=labels), labels) for kind in NAMES}
    distances = {kind: judge.validate(images)["distance"] for kind, images in drawn.items()}
    return {NAMES[kind]: drawn[kind] for kind in sorted(NAMES, key=lambda kind: distances[kind])}


def _figures(end: End, test: Scored, ids: NDArray[np.int64]) -> dict[str, Any]:
    """What a network's own bound says, in nats an image, each with its interval."""
    found = test.measured
    some = _some(end.found, "test", end.recipe.importance_images)
    nats = importance_nats(
        end.task.network, end.device, end.found.pixels(some), end.labels(some), end.recipe.importance
    )
    return {
        "negative_elbo": mean_interval(found.negative_elbo),
        "reconstruction": mean_interval(found.reconstruction),
        "kl": mean_interval(found.kl),
        "nll": mean_interval(nats),
        "active_units": elbo.active_count(found.means),
    }


def _baselines(report: Mapping[str, Any], nats: NDArray[np.float64]) -> dict[str, Any]:
    """What needs no network; the mean image has nats too."""
    listed = [dict(each) for each in report["baselines"]]
    for each in listed:
        if each["name"] == MEAN_IMAGE:
            each["metrics"] = {"negative_elbo": mean_interval(nats), **each["metrics"]}
    first = next(each for each in listed if each["name"] == MEAN_IMAGE)
    return {"baseline": first, "baselines": listed}


def _generation(end: End, test: Scored) -> dict[str, Any]:
    """What only a variational autoencoder has to say."""
    means = test.measured.means
    images = min(end.recipe.importance_images, len(means))
    return {
        "alarms": [],
        "active_units": means.var(0).tolist(),
        "importance": {"draws": end.recipe.importance, "n": images},
        "networks": [{"name": name, "valid": dict(best)} for name, best in end.task.bests.items()],
    }


def table(end: End, ids: NDArray[np.int64], test: Scored) -> pl.DataFrame:
    """`predictions.csv`: a row for each image of the reported part."""
    given = end.found.examples[ids.tolist()]
    return pl.DataFrame({"id": ids, "path": given["path"], "label": given["label"]}).hstack(score_columns(test))


def score_columns(test: Scored) -> list[pl.Series]:
    """The score of each image, its two parts, and the means of its latents."""
    found = test.measured
    columns = {"score": test.scores, "reconstruction": found.reconstruction, "kl": found.kl}
    columns |= {f"z{place}": found.means[:, place] for place in range(found.means.shape[1])}
    return [pl.Series(name, values) for name, values in columns.items()]


def _pictures(end: End, ids: NDArray[np.int64], test: Scored, look: VaeLook) -> dict[str, bytes]:
    found, labels = end.found, in_turns(GRID, end.found.told)
    drawn = latents(look.sampler, look.mixture, seed=0, labels=labels)
    return {
        **samples_file(end.drawing.decoded(drawn, labels)),
        **pictures(end.drawing, found.pixels(ids), found.targets[ids], test.scores),
    }


def _nearest(end: End, samplers: Mapping[str, NDArray[np.uint8]], report: Mapping[str, Any]) -> dict[str, bytes]:
    """The samples that are nearest to training images, each beside its own."""
    pairs = report["generation"]["memorised"]["pairs"]
    samples = next(iter(samplers.values()))[[pair["sample"] for pair in pairs]]
    return pairs_file(samples, end.found.pixels(np.array([pair["train"] for pair in pairs], np.int64)))


def _some(found: GeneratorData, part: str, most: int) -> NDArray[np.int64]:
    """At most so many images of a part, evenly spaced, and no more than memory holds."""
    ids = found.ids(part)
    most = min(most, max(1, _VALUES // (found.side**2 * found.channels)))
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).round().astype(np.int64))]
