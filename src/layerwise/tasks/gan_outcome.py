"""The end of a run of a GAN: figures of its samples, scores, pictures, and what the model file says."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pydantic

from layerwise.config import Section
from layerwise.data.decode import Preprocess
from layerwise.device import Device
from layerwise.tasks.feature_network import FeatureNetwork
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_recipe import TASK, GanRecipe
from layerwise.tasks.generator_data import GeneratorData
from layerwise.tasks.generator_judge import Judge
from layerwise.tasks.generator_run import GRID, card_of, in_turns, pairs_file, same_cost, samples_file
from layerwise.tasks.job import Outcome

_REPORTED = 7_032  # seed of the noise of the samples that are reported on


class GanLook(Section):
    """What a model file says of images and classes.

    Fields:
        image: from bytes to pixels.
        shares: of each class in training, where the network is told the class; none where it is not.
    """

    image: Preprocess
    shares: tuple[pydantic.NonNegativeFloat, ...] = ()

    @pydantic.field_validator("shares")
    @classmethod
    def _usable(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if shares and not 0 < sum(shares) < math.inf:
            raise ValueError("numbers of which one at least is above 0")
        return shares


@dataclass(frozen=True)
class End:
    """What a run has when its training is done.

    Args:
        found: its images.
        recipe: complete.
        task: holds the kept networks.
        judge: of its samples.
        features: that the judge goes by.
        device: where the networks compute.
    """

    found: GeneratorData
    recipe: GanRecipe
    task: Gan
    judge: Judge
    features: FeatureNetwork
    device: Device


def finish(end: End, seconds: Mapping[str, float], kept: Mapping[str, float]) -> Outcome:
    """Figures of the reported part, pictures, and the card.

    Args:
        end: what the run has.
        seconds: spent so far.
        kept: validation of the kept weights.
    """
    began, found, task = time.monotonic(), end.found, end.task
    batches = found.batches(end.device.place, batch_size=GRID, seed=0, centred=True)
    scores = score_table(found, task.logits(batches.part("test")))
    tested = time.monotonic()
    metrics, pictures = judged(found, task, end.judge)
    words = "In validation the distance of {name} is {ours:.3g}, and that of {other} {theirs:.3g}."
    beside = same_cost(words, "distance", task.name, kept, task.bests, end.recipe.rival)
    metrics["verdict"] = " ".join([metrics["verdict"], *beside])
    metrics["generation"] |= {
        "alarms": task.watch.alarms,
        "networks": [{"name": name, "valid": {"distance": best["distance"]}} for name, best in task.bests.items()],
    }
    metrics["seconds"] = {**seconds, "test": tested - began, "judge": time.monotonic() - tested}
    options = next(stage.network for stage in end.recipe.stages if stage.name == task.name)
    look = GanLook(image=found.preprocess, shares=found.shares)
    card = card_of(found, TASK, task.name, end.device, options, look)
    return Outcome(metrics, scores, card, {**end.features.files(), **pictures})


def judged(found: GeneratorData, task: Gan, judge: Judge) -> tuple[dict[str, Any], dict[str, bytes]]:
    """`metrics.json` of samples against the reported part, but for alarms and seconds; and pictures by name.

    The best generators of other networks that competed are samplers beside the model's own.

    Args:
        found: images that samples are compared with.
        task: holds the networks.
        judge: of those images.
    """
    others = [name for name in task.bests if name != task.name]
    samples = {name: task.draw(judge.samples, seed=_REPORTED, name=name).pixels for name in (task.name, *others)}
    report = judge.report(samples)
    metrics = {
        "task": TASK,
        "split": found.held_out,
        "n": len(found.ids("test")),
        "metrics": dict(report["metrics"]),
        "baseline": report["baselines"][0],
        "baselines": list(report["baselines"]),
        "verdict": report["verdict"],
        "generation": {**report["generation"], "alarms": []},
        "seconds": {},
    }
    shown = task.draw(GRID, seed=0, classes=in_turns(GRID, len(task.shares))).pixels
    pairs = report["generation"]["memorised"]["pairs"]
    copies = samples[task.name][[pair["sample"] for pair in pairs]]
    return metrics, {
        **samples_file(shown),
        **pairs_file(copies, found.pixels(np.array([each["train"] for each in pairs]))),
    }


def score_table(found: GeneratorData, scores: np.ndarray) -> pl.DataFrame:
    """`predictions.csv`: a row for each image of the reported part, with the discriminator's logit (n,)."""
    rows = found.ids("test")
    given = found.examples[rows.tolist()]
    return pl.DataFrame({"id": rows, "path": given["path"], "label": given["label"], "score": scores})
