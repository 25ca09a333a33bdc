"""The recipe of a run: every key that `--set` and a recipe file take, with its default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic

from layerwise.config import Section
from layerwise.data.augment import AugmentRecipe
from layerwise.data.split import ImageSplitRecipe
from layerwise.errors import RecipeError
from layerwise.frozen.form import Dtype
from layerwise.tasks.run_recipe import EXPLAINED, BalanceRecipe, Explain, Reading, RunRecipe, check_stages
from layerwise.tasks.scoring import Metric

Solver = Literal["steps", "lbfgs"]
Share = Annotated[float, pydantic.Field(gt=0.0, le=1.0)]


class DataRecipe(Reading):
    """How the data is read."""

    image: str | None = None  # column of image paths, where a table has several candidates
    label: str | None = None  # column of labels
    size: int | None = pydantic.Field(None, ge=8, le=4096)  # side of the input in pixels; None is the network's own
    resize: Literal["crop", "squash", "pad"] | None = None  # None is the network's own
    normalise: Literal["unit", "data", "pretrained"] | None = None  # unit: 0..1; data: mean 0, deviation 1


class StopRecipe(Section):
    """When a stage ends before its time, and which epoch is kept."""

    patience: int = pydantic.Field(0, ge=0)  # epochs without a better validation; 0 is never
    metric: Metric = "auto"


class ThawRecipe(Section):
    """Which layers of a pretrained body train, and when. A plain word, as in `thaw=full`, is its mode."""

    # none: the head only; auto: then the last half of the layers; full: in the end all of them.
    mode: Literal["none", "auto", "full"] = "auto"
    share: float | None = pydantic.Field(None, ge=0.0, le=1.0)  # of the body's layers, counted from the last
    last_layers: int | None = pydantic.Field(None, ge=0)  # the same as a number of layers
    depth_rate: float = pydantic.Field(1.0, gt=0.0, le=1.0)  # the rate of the first thawed layer beside the last's
    # How far the weights that are validated and kept lie on the way from those of the stage before to the trained ones;
    # auto: half way, or all of it where that validates clearly better.
    blend: Share | Literal["auto"] = "auto"
    # Of batch normalisation in thawed layers: frozen keeps what ImageNet measured, trained follows the batches.
    statistics: Literal["frozen", "trained"] = "frozen"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _one_measure(self) -> ThawRecipe:
        if self.share is not None and self.last_layers is not None:
            raise ValueError("share and last_layers say the same thing: give one of them")
        return self


class FrozenRecipe(Section):
    """What the frozen part of a pretrained network gives: kept, or computed each epoch."""

    keep: bool = True  # where the plan finds that it pays
    engine: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"  # what runs the frozen part
    dtype: Dtype = "float16"  # of what is kept
    # Pictures of a training image that are kept and cycled: 1 is the image itself, 2 adds its mirror image or a drawn
    # one, more are drawn. None is 1 without augmentation, 2 where only flips are asked for, else 4.
    views: int | None = pydantic.Field(None, ge=1, le=64)
    # Share of the images with a newly drawn view, each epoch. None: what takes a quarter of an epoch's time.
    refresh: float | None = pydantic.Field(None, ge=0.0, le=1.0)
    disk_gb: float = pydantic.Field(10.0, gt=0.0)  # at most so much is kept for a run
    memory_gb: float = pydantic.Field(2.0, gt=0.0)  # at most so much is held at once to fit the head in one piece
    # Of activations, in training: other regularisers than noise and mixup of pictures.
    noise: float = pydantic.Field(0.0, ge=0.0)  # deviation of normal noise, as a share of the activations' own
    mixup: float = pydantic.Field(0.0, ge=0.0)  # alpha of the Beta distribution; 0 is off


class Stage(Section):
    """One stage of training: a call of the engine."""

    name: str
    epochs: int = pydantic.Field(ge=1)
    learning_rate: float = pydantic.Field(gt=0.0)
    # Of the body's layers, counted from the last, what part trains; 0 is the head only.
    share: float = pydantic.Field(1.0, ge=0.0, le=1.0)
    # lbfgs fits a linear head to all kept features at once: in one epoch with the penalty on its weights that is best
    # in cross-validation, in several with ever weaker ones.
    solver: Solver = "steps"
    blend: Share | Literal["auto"] = 1.0  # of the stage; see `ThawRecipe.blend`
    keep: bool | None = None  # what the frozen layers give; None: the plan decides


class Trial(Section):
    """What a search tried; times are left out, so that the same search writes the same recipe."""

    settings: dict[str, float]  # by the names in image_search.py
    epochs: float = pydantic.Field(ge=0.0)  # that it was trained for; a trial that falls behind is stopped early
    valid: dict[str, float] = pydantic.Field(default_factory=dict)  # its validation; empty where it diverged
    chosen: bool = False


class SearchRecipe(Section):
    """Trials of other head and thaw settings before the run, all on the same kept activations."""

    trials: int = pydantic.Field(0, ge=0, le=1000)  # the recipe's own settings are the first; 0 is off
    # Written by `train`, with 0 trials and the stages written out, so that a repeated run does not search again.
    tried: tuple[Trial, ...] = ()


class ImageRecipe(RunRecipe):
    """Everything that repeats a run of image classification on the same data."""

    task: Literal["image-classification"] = "image-classification"
    pretrained: bool = True
    label_smoothing: float = pydantic.Field(0.0, ge=0.0, lt=1.0)
    balance: BalanceRecipe = BalanceRecipe()
    # Of a pretrained network: train once more in the end, on the validation images as well. auto: where they are few
    # and a budget allows it; `train` then writes what was decided.
    refit: bool | Literal["auto"] = "auto"
    find_rate: bool = False  # search each stage's learning rate by a range test
    # Errors wanted at most among sure answers; predictions then say which are sure. None: all are.
    abstain: float | None = pydantic.Field(None, gt=0.0, lt=1.0)
    explain: Explain = EXPLAINED
    thaw: ThawRecipe = ThawRecipe()
    frozen: FrozenRecipe = FrozenRecipe()
    search: SearchRecipe = SearchRecipe()
    stages: tuple[Stage, ...] = ()  # in place of the network's own
    data: DataRecipe = DataRecipe()
    split: ImageSplitRecipe = ImageSplitRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    stop: StopRecipe = StopRecipe()


# Head first; then, at a lower rate, the last of the body's layers. Parts of the epochs, factors on the rate, shares.
_THAW = {
    "none": (("head", 1.0, 1.0, 0.0),),
    "auto": (("head", 0.4, 1.0, 0.0), ("last", 0.6, 0.04, 0.5)),
    "full": (("head", 0.4, 1.0, 0.0), ("last", 0.3, 0.04, 0.3), ("all", 0.3, 0.01, 1.0)),
}


def stages(recipe: ImageRecipe, *, layers: int, fits: bool = False) -> tuple[Stage, ...]:
    """The stages that a recipe means, each with at least one epoch as long as the epochs reach.

    Args:
        recipe: of the run.
        layers: of the pretrained body; 0 for a network that starts random.
        fits: whether the head can be fitted to all features at once.

    Raises:
        RecipeError: two stages of one name, or more layers to thaw than there are.

    Example:
        >>> [stage.name for stage in stages(ImageRecipe(epochs=10), layers=80)]
        ['head', 'last']
    """
    if recipe.stages:
        check_stages([stage.name for stage in recipe.stages])
        return recipe.stages
    rate = recipe.optimizer.learning_rate
    if not layers:
        return (Stage(name="all", epochs=recipe.epochs or 20, learning_rate=rate),)
    left = recipe.epochs or 10
    parts: list[Stage] = []
    plan = _schedule(recipe.thaw, layers)
    for place, (name, part, factor, share) in enumerate(plan):
        last = place == len(plan) - 1
        epochs = left if last else min(left, max(1, round(part * (recipe.epochs or 10))))
        left -= epochs
        if epochs:
            solver: Solver = "lbfgs" if fits and share == 0 else "steps"
            epochs = 1 if solver == "lbfgs" else epochs
            stage = Stage(name=name, epochs=epochs, learning_rate=rate * factor, share=share, solver=solver)
            # A first stage begins with a head that knows nothing.
            parts.append(stage.model_copy(update={"blend": recipe.thaw.blend}) if parts and share else stage)
    return tuple(parts)


def _schedule(thaw: ThawRecipe, layers: int) -> Sequence[tuple[str, float, float, float]]:
    share = thaw.share
    if thaw.last_layers is not None:
        if thaw.last_layers > layers:
            raise RecipeError(
                f"thaw.last_layers is {thaw.last_layers}, and the body has {layers} layers with parameters.",
                expected=f"at most {layers}",
                fix="thaw=full trains all of them.",
            )
        share = thaw.last_layers / layers
    if share is None:
        return _THAW[thaw.mode]
    head, last = _THAW["auto"]
    return (head, (*last[:3], share)) if round(share * layers) else _THAW["none"]
