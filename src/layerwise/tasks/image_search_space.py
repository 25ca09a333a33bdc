"""What a search of settings may choose from, and a recipe with the chosen ones in it.

Settings, by the names that they have in a recipe and for people:

    share            of the body's layers that thaw
    rate             factor on the learning rates of stages in which layers thaw
    head_rate        factor on the learning rate of the head's stage, where that is trained by steps
    depth_rate       as `thaw.depth_rate`
    label_smoothing  as the key of that name
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from layerwise.errors import RecipeError
from layerwise.frozen.cuts import Cut
from layerwise.frozen.form import Form
from layerwise.models import body_layers
from layerwise.tasks.image_frozen import Frozen
from layerwise.tasks.image_plan import room
from layerwise.tasks.recipe import ImageRecipe, Stage

# Fewer layers than by default, and never more: those make every trial dearer, and `thaw.share` can ask for them.
_SHARES = (0.1, 0.2)
_RATES = (0.25, 4.0)  # lowest and highest factor
_DEPTH_RATES = (0.1, 0.3, 1.0)
_SMOOTHINGS = (0.0, 0.1, 0.2)


@dataclass(frozen=True)
class Space:
    """What a trial may choose from.

    Args:
        defaults: the recipe's own settings.
        choices: of the settings that have a few values; the others are factors on rates.
    """

    defaults: Mapping[str, float]
    choices: Mapping[str, Sequence[float]]

    def draw(self, asked: Any) -> dict[str, float]:
        """The settings of one of Optuna's trials."""
        return {name: self._drawn(asked, name) for name in self.defaults}

    def _drawn(self, asked: Any, name: str) -> float:
        if name in self.choices:
            return float(asked.suggest_categorical(name, self.choices[name]))
        return float(f"{asked.suggest_float(name, *_RATES, log=True):.2g}")  # as a person would write it


def kept(frozen: Frozen) -> Frozen:
    """The same run with all kept that trials train on, whether or not that paid for one run.

    Raises:
        RecipeError: there is no room for it.
    """
    stages = [stage for stage in stages_of(frozen) if stage is not None]
    cuts = {cut.name: cut for stage in stages if (cut := frozen.cuts[stage.name]) is not None}
    if not _fit(frozen, list(cuts.values())):
        recipe = frozen.recipe
        raise RecipeError(
            f"search.trials is {recipe.search.trials}, and what trials train on cannot be kept within "
            f"{recipe.frozen.disk_gb:g} GB and the free disk.",
            fix="Set frozen.disk_gb higher, or frozen.dtype=uint8, or a smaller thaw.share.",
        )
    names = {stage.name for stage in stages}
    settled = tuple(
        stage.model_copy(update={"keep": True}) if stage.name in names else stage for stage in frozen.recipe.stages
    )
    return replace(frozen, recipe=frozen.recipe.model_copy(update={"stages": settled}))


def space_of(frozen: Frozen) -> Space:
    """What is open in a run.

    Raises:
        RecipeError: nothing is.
    """
    recipe, (head, thawing) = frozen.recipe, stages_of(frozen)
    defaults: dict[str, float] = {}
    choices: dict[str, Sequence[float]] = {}
    if thawing is not None:
        if len(shares := _shares(frozen, thawing)) > 1:
            defaults["share"], choices["share"] = thawing.share, shares
        defaults |= {"rate": 1.0, "depth_rate": recipe.thaw.depth_rate}
        choices["depth_rate"] = _with(_DEPTH_RATES, recipe.thaw.depth_rate)
    if head.solver == "steps":
        defaults["head_rate"] = 1.0
    if not defaults:
        raise RecipeError(
            f"search.trials is {recipe.search.trials}, and there is nothing to search: the head is fitted at once, by "
            "the penalty that is best in cross-validation, and no layer thaws behind what can be kept.",
            expected="layers that thaw, or a head that is trained by steps",
        )
    defaults["label_smoothing"] = recipe.label_smoothing
    choices["label_smoothing"] = _with(_SMOOTHINGS, recipe.label_smoothing)
    return Space(defaults, choices)


def stages_of(frozen: Frozen) -> tuple[Stage, Stage | None]:
    """The head's stage, and the first in which layers thaw unless it begins with the pictures; trials end there."""
    head, *others = frozen.recipe.stages
    thawing = others[0] if others and frozen.cuts[others[0].name] is not None else None
    return head, thawing


def _shares(frozen: Frozen, thawing: Stage) -> tuple[float, ...]:
    """Shares that thaw different numbers of layers, and before which activations can be kept beside one another."""
    thaw, front, own = frozen.recipe.thaw, frozen.frontier, thawing.share
    if thaw.mode != "auto" or thaw.share is not None or thaw.last_layers is not None:
        return (own,)  # said by hand
    layers = len(body_layers(front.task.network))
    held = [cut for cut in (front.cut(0.0), front.cut(own)) if cut is not None]
    shares = {round(own * layers): own}
    for share in _SHARES:
        cut, count = front.cut(share), round(share * layers)
        if cut is not None and 0 < count < round(own * layers) and _fit(frozen, [*held, cut]):
            held.append(cut)
            shares.setdefault(count, share)
    return tuple(sorted(shares.values()))


def _fit(frozen: Frozen, cuts: Sequence[Cut]) -> bool:
    """Whether there is room to keep all these."""
    front, recipe = frozen.frontier, frozen.recipe
    rows: dict[str | None, int] = {cut.name: Form(cut.shape, recipe.frozen.dtype, "0" * 64).row_bytes for cut in cuts}
    missing = front.lacking(cuts, frozen.engine)
    return sum(rows.values()) * len(front.wanted()[0]) <= room(front, recipe, rows, missing)


def boundaries(frozen: Frozen, space: Space) -> list[Cut]:
    """Where stages begin, over all trials."""
    found = [frozen.cuts[stage.name] for stage in stages_of(frozen) if stage is not None]
    found += map(frozen.frontier.cut, space.choices.get("share", ()))
    return list({cut.name: cut for cut in found if cut is not None}.values())


def _with(values: Sequence[float], own: float) -> tuple[float, ...]:
    return tuple(sorted({*values, own}))


def applied(recipe: ImageRecipe, settings: Mapping[str, float]) -> ImageRecipe:
    """A recipe whose stages are written out, with these settings in it."""
    stages = []
    for stage in recipe.stages:
        share = settings.get("share", stage.share) if stage.share else stage.share
        rate = stage.learning_rate * settings.get("rate" if stage.share else "head_rate", 1.0)
        stages.append(stage.model_copy(update={"share": share, "learning_rate": rate}))
    thaw = recipe.thaw.model_copy(update={"depth_rate": settings.get("depth_rate", recipe.thaw.depth_rate)})
    smoothing = settings["label_smoothing"]
    return recipe.model_copy(update={"stages": tuple(stages), "thaw": thaw, "label_smoothing": smoothing})
