"""Measure a transfer run on one batch, and decide what is kept."""

from __future__ import annotations

import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from layerwise.console import Show
from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.errors import RecipeError
from layerwise.frozen import infer, plan
from layerwise.frozen.batches import Rows
from layerwise.frozen.budget import best_within, given_up
from layerwise.frozen.cuts import Cut
from layerwise.frozen.form import Form
from layerwise.frozen.views import Views
from layerwise.models import body_layers
from layerwise.models.backbones import Transfer
from layerwise.tasks.image_budget import USABLE, too_short
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData, ids_of
from layerwise.tasks.image_frozen import Frontier, Frozen
from layerwise.tasks.recipe import ImageRecipe, Stage, stages

_REFRESH = 0.25  # of the time of an epoch's steps, that drawing views anew may take
_SHARES = (0.1, 0.25, 0.5)  # of the images; few, so that runs whose rates differ a little choose the same
_FEW = 1000  # images of validation, up to which they are trained on in the end
_DRAWN = 4  # views of an image where augmentation draws them
_REPEATS, _REPEAT_SECONDS = 3, 0.5  # timed steps, after one that is not; no more once these seconds are over
# What a full fit of the head takes, about: evaluations, and arithmetic a second.
_EVALUATIONS, _ARITHMETIC = 60, 20e9
_FOLDED = 15  # times a row that is fitted to for cross-validation, beside the fit itself
# A save: seconds whatever its size, and bytes a second (packed, hashed, flushed, read back). Adam has two moments.
_SAVE, _SAVE_RATE, _MOMENTS = 0.05, 150e6, 2


def freeze(
    found: ImageData,
    task: ImageClassification,
    device: Device,
    left: float | None,
    show: Show,
    judged: Rows | None = None,
) -> Frozen:
    """Decide what of a transfer run is kept, and say so.

    Args:
        found: the data of the run; what its recipe leaves open is decided here.
        task: holds the pretrained network, which is left as it was.
        device: where it computes.
        left: seconds that the run may still take; none for all the time in the world.
        show: the plan is printed there.
        judged: other images of which what comes before the head will be asked for in the end.

    Raises:
        UsageError: the time does not reach for anything.
    """
    began, recipe = time.monotonic(), found.recipe
    layers = len(body_layers(task.network))
    count, notes = _views(recipe, head_only=all(not stage.share for stage in stages(recipe, layers=layers)))
    views = Views(recipe.augment, count, recipe.frozen.refresh or 0.0, recipe.seed)
    front = Frontier(found, task, device, views, judged)
    small = len(front.valid) < _FEW and not found.valid_given
    front.refit = recipe.refit is True or (recipe.refit == "auto" and small)
    keeps = recipe.frozen.keep and not recipe.augment.mixup
    wanted = stages(recipe, layers=layers, fits=keeps and _head_fits(front))
    cuts = _cuts(front, wanted)
    _require_linear(front, wanted, cuts)
    distinct = {cut.name: cut for cut in cuts.values() if cut is not None}
    engine, chosen, lacking = _engine(front, list(distinct.values()), keeps, _passes(front, wanted, keeps))
    rates = _Rates(front, cuts, chosen, engine)
    facts = [rates.facts(stage, keeps) for stage in wanted]
    if recipe.frozen.refresh is None and count > 1 and not front.views.flips_only:
        front.views = replace(front.views, refresh=_affordable(facts))
    facts = _with_drawn(front, facts)
    amounts = plan.Amounts(
        train=len(front.train),
        valid=len(front.valid),
        test=len(ids_of(found.examples, "test")),
        views=count,
        missing=lacking,
        disk=room(front, recipe, {each.cut: each.row_bytes for each in facts}, lacking),
        setup=time.monotonic() - began,
        finish=rates.whole * (len(ids_of(found.examples, "test")) + (0 if keeps else len(front.valid))),
        refit=front.refit,
    )
    decided = plan.decide(facts, amounts)
    if left is not None and not recipe.stages:
        decided, given_up = _within(decided, facts, left - amounts.setup, recipe)
        notes += given_up
        front.views, front.refit = replace(front.views, count=decided.amounts.views), decided.amounts.refit
    notes += [note for note in (front.net.note, chosen.note if chosen else None) if note]
    notes += [
        f"The stage {stage.name} trains step by step: nothing is kept that its head could be fitted to in one piece."
        for stage, each in zip(wanted, decided.stages, strict=False)
        if stage.solver == "lbfgs" and not each.keep
    ]
    words = {"engine": infer.NAMES[engine], "views": _words(front, decided), "place": front.where()}
    for line in [*plan.lines(decided, **words), *notes]:
        show.say(line)
    settled = _settled(recipe, wanted, decided, engine, front.views.refresh)
    head = front.cut(0.0)
    features = front.shelf(head, engine) if head in distinct.values() and head is not None and keeps else None
    return Frozen(front, settled, cuts, decided, engine, features)


def _within(
    full: plan.Plan, facts: Sequence[plan.StageFacts], left: float, recipe: ImageRecipe
) -> tuple[plan.Plan, list[str]]:
    """The plan for the time that is left, and what it leaves out of the full one."""
    shortest, best = best_within(facts, full.amounts, USABLE * left)
    if recipe.refit == "auto" and full.amounts.refit and (best is None or given_up(full, best)):
        # Epochs count for more than a tenth of the images.
        without = plan.decide(facts, full.amounts.but(views=full.amounts.views, refit=False))
        decided, notes = _within(without, facts, left, recipe)
        return decided, [*notes, "Given up for the budget: training again with the validation images."]
    if best is None:
        spent = (recipe.budget or 0.0) - left
        raise too_short(recipe.budget or 0.0, spent + shortest.most / USABLE)
    lost = given_up(full, best)
    return best, [f"Given up for the budget: {', '.join(lost)}."] if lost else []


def _views(recipe: ImageRecipe, *, head_only: bool) -> tuple[int, list[str]]:
    """How many views of an image are kept, and what to say of it."""
    asked, augment = recipe.frozen.views, recipe.augment
    notes = []
    if augment.mixup and recipe.frozen.keep:
        notes.append(
            "augment.mixup mixes pictures anew each epoch, so that nothing can be kept; frozen.mixup mixes activations."
        )
    if not augment.changes:
        if asked is not None and asked > 1:
            notes.append(f"frozen.views={asked} has nothing to draw: no augmentation is asked for. One view is kept.")
        return 1, notes
    if not Views(augment, 1, 0.0, 0).flips_only:
        return asked or _DRAWN, notes
    if asked is not None and asked > 2:
        notes.append(f"frozen.views={asked} has nothing to draw but flips: two views are kept.")
    # A linear head on mirror images as well validated no better (docs/log.md); layers that thaw need them.
    return min(asked or (1 if head_only else 2), 2), notes


def _words(front: Frontier, decided: plan.Plan) -> str:
    views = front.views
    if not any(stage.keep for stage in decided.stages) and (views.recipe.changes or views.recipe.mixup):
        return "each picture is drawn anew each epoch"
    if not views.recipe.changes:
        return "one view of each image, itself"
    if views.count == 1 and (views.flips_only or not views.refresh):
        return "one view of each image, itself; frozen.views=2 keeps a changed one as well"
    if views.flips_only:
        return "two views of each training image, itself and its mirror image"
    fresh = f", {views.refresh:.0%} of the images with a new one each epoch" if views.refresh else ""
    return f"{views.count} views of each training image, itself and {views.count - 1} drawn{fresh}"


def _cuts(front: Frontier, wanted: Sequence[Stage]) -> dict[str, Cut | None]:
    """Where each stage's network begins: before all that trains in it, or has trained in a stage before it."""
    shares = itertools.accumulate((stage.share for stage in wanted), max)
    return {stage.name: front.cut(share) for stage, share in zip(wanted, shares, strict=True)}


def _head_fits(front: Frontier) -> bool:
    """Whether the features of all views can be held at once to fit a linear head in one piece."""
    cut, most = front.cut(0.0), front.found.recipe.frozen.memory_gb * 1e9
    return _linear(front, cut) and 4 * (cut.values if cut else 0) * len(front.train) * front.views.count <= most


def _linear(front: Frontier, cut: Cut | None) -> bool:
    """Whether all that lies behind a cut is one linear layer, and it takes what is kept as it is."""
    recipe, network = front.found.recipe, front.task.network
    if cut is None or recipe.network.get("dropout") or recipe.frozen.noise or recipe.frozen.mixup:
        return False
    return isinstance(network, Transfer) and not network.head.hidden and cut.shape == (network.head.linear.in_features,)


def _require_linear(front: Frontier, wanted: Sequence[Stage], cuts: Mapping[str, Cut | None]) -> None:
    """Refuse stages of the user's own that cannot be fitted in one piece."""
    for stage in wanted:
        if stage.solver == "lbfgs" and not _linear(front, cuts[stage.name]):
            raise RecipeError(
                f'The stage "{stage.name}" has the solver lbfgs, which fits a linear head to what is kept before it.',
                expected="share = 0 in it and in all stages before it, a head without hidden layer and dropout, and "
                "neither frozen.noise nor frozen.mixup",
                fix='Give the stage solver = "steps".',
            )


def _passes(front: Frontier, wanted: Sequence[Stage], keeps: bool) -> int:
    """Pictures that the frozen part will be run on if nothing is kept already."""
    if keeps:
        return len(front.wanted()[0])
    return sum(stage.epochs for stage in wanted) * (len(front.train) + len(front.valid))


def _engine(
    front: Frontier, cuts: Sequence[Cut], keeps: bool, pictures: int
) -> tuple[infer.Engine, infer.Chosen | None, int]:
    """What runs the frozen part, and how many pictures are not kept yet."""
    asked = front.found.recipe.frozen.engine
    if not cuts:
        return "torch", None, 0
    engines = tuple(infer.NAMES) if asked == "auto" else (asked,)
    if keeps:
        lacking = {engine: front.lacking(cuts, engine) for engine in engines}
        engine = min(engines, key=lacking.__getitem__)
        if not lacking[engine]:
            return engine, None, 0
        pictures = lacking[engine]
        # What one engine has kept is of no use to another: most of it is there, so the rest comes from the same one.
        if 2 * pictures <= max(lacking.values()) and infer.available(engine):
            asked = engine
    chosen = front.run([cut.name for cut in cuts], asked, pictures)
    return chosen.engine, chosen, front.lacking(cuts, chosen.engine) if keeps else pictures


def room(front: Frontier, recipe: ImageRecipe, rows: Mapping[str | None, int], lacking: int) -> float:
    """Bytes that may be kept, those that are kept already included.

    Args:
        front: of the run.
        recipe: says how much at most.
        rows: bytes of a row at each cut.
        lacking: pictures that are not kept yet at all of them.
    """
    above = next(folder for folder in (front.root, *front.root.parents) if folder.exists())
    held = sum(rows.values()) * max(0, len(front.wanted()[0]) - lacking)
    return min(recipe.frozen.disk_gb * 1e9, 0.9 * shutil.disk_usage(above).free + held)


class _Rates:
    """Seconds an image, measured on one batch with the run's own steps; the task is left as it was."""

    def __init__(
        self, front: Frontier, cuts: Mapping[str, Cut | None], chosen: infer.Chosen | None, engine: infer.Engine
    ) -> None:
        self._front, self._cuts = front, cuts
        self._deepest = max((cut.share for cut in cuts.values() if cut), default=1.0)
        self._targets = torch.from_numpy(front.found.targets[front.train[: len(front.example)]]).to(front.device.place)
        names = [cut.name for cut in dict.fromkeys(cut for cut in cuts.values() if cut)]
        with torch.random.fork_rng(devices=[]):
            pictures = self._batch(front.example)
            self._reading = _timed(self._read) / len(pictures.ids)
            self.whole = _timed(lambda: front.task.predict(iter([pictures]))) / len(pictures.ids)
            run = chosen.run if chosen else front.net.prefix(names).eval() if names else None
            with torch.inference_mode():
                values = [value.float() for value in run(front.example)] if run else []
        self._values = {name: value.clone() for name, value in zip(names, values, strict=True)}
        self._prefix = chosen.seconds_per_image if chosen else self.whole * self._deepest

    def facts(self, stage: Stage, keeps: bool) -> plan.StageFacts:
        """What a stage needs, without views that are drawn anew."""
        front, cut = self._front, self._cuts[stage.name]
        recipe = front.found.recipe
        with torch.random.fork_rng(devices=[]):
            step, score = self._step(stage, cut)
        front.task.load_weights({})
        trained = [each for each in front.task.network.parameters() if each.requires_grad]
        size = sum(each.numel() * each.element_size() for each in trained)
        whole = stage.solver == "lbfgs"
        rows = len(front.train) * front.views.count + _FOLDED * min(len(front.train), 2000)
        fit = _EVALUATIONS * 4 * sum(each.numel() for each in trained) * rows
        return plan.StageFacts(
            name=stage.name,
            trains=_trains(front, stage),
            epochs=stage.epochs,
            cut=None if cut is None else cut.name,
            row_bytes=0 if cut is None else Form(cut.shape, recipe.frozen.dtype, "0" * 64).row_bytes,
            prefix=0.0 if cut is None else self._reading + self._prefix * cut.share / self._deepest,
            step=step,
            score=score,
            epoch=2 * _SAVE + (2 + _MOMENTS) * size / _SAVE_RATE,
            fit=fit / _ARITHMETIC if whole else None,
            keep=(True if whole else stage.keep) if keeps else False,
        )

    def _step(self, stage: Stage, cut: Cut | None) -> tuple[float, float]:
        """Seconds an example in training and in validation behind the cut."""
        front = self._front
        count = min(front.found.recipe.batch_size, len(front.example))
        inputs = front.example if cut is None else self._values[cut.name]
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        batch = self._batch(inputs[:count])
        tail = None if cut is None else front.net.suffix(cut.name)
        front.task.begin(stage.model_copy(update={"solver": "steps"}), steps=1 + _REPEATS, tail=tail)
        step = _timed(lambda: front.task.train_step(batch)) / count
        return step, _timed(lambda: front.task.evaluate(iter([batch]))) / count

    def _read(self) -> torch.Tensor:
        ids = self._front.train[: len(self._front.example)]
        return self._front.pictures(ids, np.arange(len(ids)) % self._front.views.count)

    def _batch(self, inputs: torch.Tensor) -> Batch:
        return Batch(np.arange(len(inputs)), inputs, self._targets[: len(inputs)])


def _timed(work: Callable[[], object]) -> float:
    """Seconds of one call: the middle of three, or of fewer where they take long, after one to warm up."""
    work()
    found: list[float] = []
    while not found or (len(found) < _REPEATS and sum(found) < _REPEAT_SECONDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def _affordable(facts: Sequence[plan.StageFacts]) -> float:
    """The share of the images whose view may be drawn anew each epoch, in the stages of steps."""
    shares = [_REFRESH * each.step / each.prefix for each in facts if each.fit is None and each.prefix]
    return max((share for share in _SHARES if share <= min(shares, default=0.0)), default=0.0)


def _with_drawn(front: Frontier, facts: Sequence[plan.StageFacts]) -> list[plan.StageFacts]:
    begins = itertools.accumulate((each.epochs for each in facts), initial=0)
    return [
        each if each.fit is not None else replace(each, drawn=_drawn(front, range(first, first + each.epochs)))
        for first, each in zip(begins, facts, strict=False)
    ]


def _drawn(front: Frontier, epochs: range) -> float:
    """Views an epoch that are drawn anew in these epochs, on average, beside those that are kept from the start."""
    views = front.views
    if not views.refresh or views.flips_only or not views.recipe.changes:
        return 0.0
    shown = np.stack([views.numbers(front.images[front.train], epoch) for epoch in epochs], 1)  # (images, epochs)
    return sum(len(np.unique(row[row >= views.count])) for row in shown) / len(epochs)


def _trains(front: Frontier, stage: Stage) -> str:
    layers = len(body_layers(front.task.network))
    thawed = round(stage.share * layers)
    if not thawed:
        return "head"
    return "all layers" if thawed == layers else f"head, last {thawed} of {layers} layers"


def _settled(
    recipe: ImageRecipe, wanted: Sequence[Stage], decided: plan.Plan, engine: infer.Engine, refresh: float
) -> ImageRecipe:
    """The recipe with every decision in it, so that it repeats the run."""
    count = decided.amounts.views
    settled = [
        stage.model_copy(
            update={
                "epochs": each.facts.epochs,
                "keep": each.keep,
                "solver": stage.solver if each.keep else "steps",
            }
        )
        for stage, each in zip(wanted, decided.stages, strict=False)  # a budget may have left out the last ones
    ]
    frozen = recipe.frozen.model_copy(update={"engine": engine, "views": count, "refresh": refresh})
    update = {"stages": tuple(settled), "epochs": None, "frozen": frozen, "refit": decided.amounts.refit}
    return recipe.model_copy(update=update)
