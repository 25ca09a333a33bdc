"""The frozen part of a transfer run: where each stage begins, what is kept, and the plan.

A frozen layer is run once for each picture, not once an epoch. Before training, rates are measured on one batch, the
plan decides what is kept, and the decisions go into the recipe, so that a resumed or repeated run does the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import PIL
import polars as pl
import torch
from torch import nn

from layerwise.console import Show, Silent
from layerwise.data.cache import CACHE_BYTES, default_cache, folder_bytes
from layerwise.data.loader import Normalise
from layerwise.device import Device, give_back_memory
from layerwise.engine.loop import Batches
from layerwise.frozen import infer, plan
from layerwise.frozen.batches import FrozenBatches, Kept, Recomputed, Rows, Run, Through, keep, missing
from layerwise.frozen.cuts import Cut, Cuttable, trace
from layerwise.frozen.form import Form
from layerwise.frozen.shelf import Shelf
from layerwise.frozen.views import PLAIN, Views, identities
from layerwise.models import body_layers
from layerwise.tasks.image_classification import ImageClassification, fingerprint, thawed
from layerwise.tasks.image_data import ImageData, ids_of
from layerwise.tasks.image_stage import begin
from layerwise.tasks.recipe import ImageRecipe, Stage

Wish = infer.Engine | Literal["auto"]
Compute = Callable[[Rows, Rows], tuple[torch.Tensor, ...]]

FORMAT = 2  # of what is kept; raise it when the value of an activation changes
_PROBE = 16  # images that rates are measured on
_ADDRESS = re.compile(" at 0x[0-9a-f]+")  # of an object in this process, as some layers print


@final
class Frontier:
    """Between what is frozen and what trains: pictures, prefixes, and what is kept of them.

    Args:
        found: the data of a run.
        task: holds the network.
        device: where it computes.
        views: of the training images.
        judged: images beside training and validation of which what comes before the head will be asked for in the end.
    """

    def __init__(
        self, found: ImageData, task: ImageClassification, device: Device, views: Views, judged: Rows | None = None
    ) -> None:
        self.found, self.task, self.device, self.views = found, task, device, views
        self.images = identities(found.store.hashes)
        self.train = ids_of(found.examples, "train")
        self.valid = ids_of(found.examples, "valid")
        self.example = self.pictures(self.train[:_PROBE], np.full(len(self.train[:_PROBE]), PLAIN))
        self.net: Cuttable = trace(task.network, self.example[:2])
        self.root = default_cache() / "activations"
        self.refit = False  # whether the validation images will be trained on as well, in the end
        self.judged = self.train[:0] if judged is None else judged
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._runs: dict[tuple[str, ...], infer.Chosen] = {}

    def pictures(self, ids: Rows, numbers: Rows) -> torch.Tensor:
        """(B,) rows and (B,) views -> normalised pictures (B, C, H, W) on the device."""
        look = self.found.preprocess
        images = self.found.store.read(ids).to(self.device.place).permute(0, 3, 1, 2).float()  # (B, C, H, W)
        changed = self.views.pictures(images, self.images[ids], numbers)
        normalised = Normalise(look.mean, look.std)(changed)
        return normalised.contiguous(memory_format=torch.channels_last)

    def cut(self, share: float) -> Cut | None:
        """The last cut before the last share of the layers; none where the first of all is among them."""
        frozen, _ = thawed(body_layers(self.task.network), share)
        held = {id(parameter) for layer in frozen for parameter in layer.parameters(recurse=False)}
        return self.net.before(each for each in self.task.network.parameters() if id(each) not in held)

    def run(self, names: Sequence[str], engine: Wish, pictures: int) -> infer.Chosen:
        """What computes the activations at these cuts, chosen and checked once."""
        known = tuple(names)
        if known not in self._runs:
            prefix = self.net.prefix(names)
            key = hashlib.sha256(f"{self._weights(prefix)} {tuple(self.example.shape[1:])}".encode()).hexdigest()
            self._runs[known] = infer.choose(
                prefix,
                self.example,
                engine=engine,
                images=pictures,
                key=key,
                cache=default_cache(),
                device=self.device.place,
            )
        return self._runs[known]

    def compute(self, names: Sequence[str], engine: Wish, pictures: int) -> Compute:
        """(B,) rows and (B,) views -> a tuple of activations, one a cut."""

        through = self.through(names, engine, pictures)
        return lambda ids, numbers: through(self.pictures(ids, numbers))

    def through(self, names: Sequence[str], engine: Wish, pictures: int) -> Run:
        """Normalised pictures (B, C, H, W) -> a tuple of activations, one a cut."""

        def activations(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            run = self.run(names, engine, pictures).run  # made when it is needed: it may take an export
            with self.device.precision():
                return run(images)

        return activations

    def forget_runs(self) -> None:
        """Give back the memory of what computes activations; it is made again if it is needed again."""
        self._runs.clear()
        give_back_memory()

    def shelf(self, cut: Cut, engine: str) -> Shelf:
        """Where the activations at a cut are kept."""
        if (cut.name, engine) not in self._shelves:
            recipe = self.found.recipe
            facts = {
                "format": FORMAT,
                "preprocess": self.found.preprocess.model_dump(mode="json"),
                "pillow": PIL.__version__,
                "cut": cut.name,
                "weights": self._weights(self.net.prefix([cut.name])),
                "engine": engine,
                "device": self.device.place.type,
                "autocast": str(self.device.autocast),
                "dtype": recipe.frozen.dtype,
            }
            key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
            self._shelves[cut.name, engine] = Shelf(self.root, Form(cut.shape, recipe.frozen.dtype, key))
        return self._shelves[cut.name, engine]

    def close_shelves(self) -> None:
        """Let go of what is kept, so that it may be evicted; it is opened again when it is asked for."""
        for shelf in self._shelves.values():
            shelf.close()
        self._shelves.clear()

    def wanted(self) -> tuple[Rows, Rows]:
        """Rows and numbers of all views that are kept: every view of what is trained on, the picture of the others."""
        count = self.views.count
        train = np.concatenate([self.train, self.valid]) if self.refit else self.train
        others = self.valid[:0] if self.refit else self.valid
        rows = np.concatenate([np.tile(train, count), others])
        numbers = np.concatenate([np.repeat(np.arange(count), len(train)), np.full(len(others), PLAIN)])
        return rows, numbers.astype(np.int64)

    def lacking(self, cuts: Sequence[Cut], engine: str) -> int:
        """Pictures that one of the cuts lacks, or that before the head those lack that will be judged."""
        rows, numbers = self.wanted()
        hashes, views = self.found.store.hashes, self.views
        counts = [missing(self.shelf(cut, engine), hashes, views, rows, numbers) for cut in cuts]
        head = [self.shelf(cut, engine) for cut in cuts if cut == self.cut(0.0)]
        return max(counts, default=0) + sum(missing(shelf, hashes, views, *plain(self.judged)) for shelf in head)

    def fill(self, cuts: Sequence[Cut], engine: infer.Engine, show: Show) -> None:
        """One pass over the pictures that any of these cuts lacks."""
        shelves, hashes = [self.shelf(cut, engine) for cut in cuts], self.found.store.hashes
        wanted, lacking = self.wanted(), self.lacking(cuts, engine)
        if lacking:
            compute = self.compute([cut.name for cut in cuts], engine, lacking)
            head = [place for place, cut in enumerate(cuts) if cut == self.cut(0.0)]
            # Those that are kept already count at once.
            with show.bar("frozen layers", len(wanted[0]) + len(head) * len(self.judged)) as advance:
                keep(shelves, hashes, self.views, *wanted, compute, advance)
                for place in head:
                    keep([shelves[place]], hashes, self.views, *plain(self.judged), _only(compute, place), advance)
            self.forget_runs()

    def joined(self) -> Frontier:
        """The same with the validation part among what is trained on; what is kept is shared."""
        other, examples = copy.copy(self), self.found.examples
        part = pl.when(pl.col("split") == "valid").then(pl.lit("train")).otherwise(pl.col("split")).alias("split")
        other.found = replace(self.found, examples=examples.with_columns(part.cast(examples.schema["split"])))
        other.train = ids_of(other.found.examples, "train")
        return other

    def where(self) -> str:
        """Where activations lie, and how to clear them, for people."""
        kept = folder_bytes(self.root)
        return (
            f"Kept in {self.root} ({plan.size(kept)}; at most {plan.size(CACHE_BYTES)}, the least recently used go "
            "first). Remove that folder to clear it."
        )

    def _weights(self, prefix: nn.Module) -> str:
        """What a prefix computes: its steps, its layers with their settings, such as strides, and its numbers."""
        steps = _ADDRESS.sub("", str(prefix))  # of a graph: its layers and its code
        return hashlib.sha256(f"{steps}\n{fingerprint(prefix.state_dict())}".encode()).hexdigest()


def _only(compute: Compute, place: int) -> Compute:
    """One of several activations."""
    return lambda ids, numbers: compute(ids, numbers)[place : place + 1]


def plain(rows: Rows) -> tuple[Rows, Rows]:
    """Rows, and the numbers of the views that are the images themselves."""
    return rows, np.full(len(rows), PLAIN, np.int64)


@final
@dataclass(frozen=True)
class Frozen:
    """A transfer run with its decisions made.

    Args:
        frontier: between what is frozen and what trains.
        recipe: of the run, with the decisions in it.
        cuts: where each stage's network begins, by the stage's name; none for the pictures.
        plan: what is kept, and what it costs.
        engine: what runs the frozen part.
        features: what the body gives before any training; none where it is not kept.
    """

    frontier: Frontier
    recipe: ImageRecipe
    cuts: Mapping[str, Cut | None]
    plan: plan.Plan
    engine: infer.Engine
    features: Shelf | None

    def enter(self, stage: Stage, show: Show, resumed: bool) -> Batches:
        """Make the task ready for a stage; gives its batches, after computing what is to be kept."""
        cut, front = self.cuts[stage.name], self.frontier
        give_back_memory()  # of measuring, or of the stage before
        batches = front.found.batches(front.device) if cut is None else self._batches(stage, cut, show)
        tail = None if cut is None else front.net.suffix(cut.name)
        begin(front.task, stage, batches, self.recipe, show, tail=tail, resumed=resumed)
        return batches

    def validated(self) -> tuple[np.ndarray, np.ndarray]:
        """What the task answers to the validation part, (n, classes) uncalibrated, and what is right, (n,).

        From what is kept for the last stage, where it keeps: nothing before its cut has ever been trained.
        """
        front, last = self.frontier, self.recipe.stages[-1]
        cut = self.cuts[last.name]
        if cut is None or not last.keep:
            return front.task.predict(front.found.batches(front.device).part("valid"))
        return front.task.predict(self._batches(last, cut, Silent()).part("valid"), tail=front.net.suffix(cut.name))

    def _batches(self, stage: Stage, cut: Cut, show: Show) -> FrozenBatches | Through:
        front, found, options = self.frontier, self.frontier.found, self.recipe.frozen
        if self.recipe.augment.mixup:
            prefix = front.through([cut.name], self.engine, 0)
            return Through(found.batches(front.device), prefix, options.noise, options.mixup)
        hashes, views = found.store.hashes, front.views
        compute = front.compute([cut.name], self.engine, 0)
        if stage.keep:
            self._fill(stage, show)
            activations: Kept | Recomputed = Kept(front.shelf(cut, self.engine), hashes, views, compute)
        else:  # nothing need come again, so every epoch has views of its own
            activations, views = Recomputed(compute), replace(views, count=0)
        return FrozenBatches(
            activations=activations,
            views=views,
            images=front.images,
            targets=found.targets,
            parts={"train": front.train, "valid": front.valid},
            classes=len(found.classes),
            batch_size=0 if stage.solver == "lbfgs" else self.recipe.batch_size,
            noise=options.noise,
            mixup=options.mixup,
            seed=self.recipe.seed,
            device=front.device.place,
            balanced=self.recipe.balance.way == "sampling",
        )

    def _fill(self, stage: Stage, show: Show) -> None:
        """One pass over the pictures for this stage and all later ones that keep."""
        later = self.recipe.stages[[each.name for each in self.recipe.stages].index(stage.name) :]
        cuts = {cut.name: cut for each in later if each.keep and (cut := self.cuts[each.name]) is not None}
        self.frontier.fill(list(cuts.values()), self.engine, show)
