"""A search of head and thaw settings before a run: trials on the same kept activations, judged in validation only.

What is frozen is computed once for all trials, and a linear head is fitted once. A trial then trains for a sixth of
the run's epochs, with a whole schedule of rates in them. The recipe's own settings are trial 0. The others are drawn
by Optuna's tree-structured Parzen estimator (J. Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS
2011). A trial is stopped after a quarter or half of its steps unless it is then ahead of all before it, a strict form
of successive halving (K. Jamieson, A. Talwalkar, AISTATS 2016). The best settings become the run's recipe.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from layerwise.console import Show, Silent
from layerwise.device import Device, seed
from layerwise.engine.loop import Batches, Metrics
from layerwise.errors import Diverged, RecipeError, UsageError
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.image_data import ImageData
from layerwise.tasks.image_frozen import Frozen
from layerwise.tasks.image_plan import freeze
from layerwise.tasks.image_search_space import Space, applied, boundaries, kept, space_of, stages_of
from layerwise.tasks.recipe import ImageRecipe, SearchRecipe, Stage, Trial

_PART = 6  # a trial trains for one part in so many of the run's epochs, and for one at least: so ten are cheap
_RUNGS = (4, 2)  # after one part in so many of its steps it is decided whether a trial goes on
_DRAWN = 5  # trials before the estimator has something to go by


def check(recipe: ImageRecipe) -> None:
    """Refuse a search that could not be made, before anything long begins.

    Args:
        recipe: what is known of it so far.

    Raises:
        UsageError: Optuna is not installed, or the recipe says by hand what a search would find out.

    Example:
        >>> check(ImageRecipe())  # no search is asked for
    """
    if not recipe.search.trials:
        return
    beside = {
        "stages that are written out": bool(recipe.stages),
        "a budget": recipe.budget is not None,
        "find_rate": recipe.find_rate,
        "frozen.keep=false": not recipe.frozen.keep,
        "augment.mixup": recipe.augment.mixup > 0,
        "pretrained=false": not recipe.pretrained,
    }
    if found := [name for name, asked in beside.items() if asked]:
        raise RecipeError(
            f"search.trials is {recipe.search.trials} beside {found[0]}.",
            expected="a pretrained network whose frozen layers are kept, and whose stages and rates are open",
            fix="Leave one of the two out.",
        )
    _optuna()


def searched(found: ImageData, task: ImageClassification, device: Device, show: Show) -> ImageData:
    """Search, and write what was best into the recipe, with its stages written out so that it repeats the run.

    The same data, seed and versions give the same trials and the same choice. The reported part is not looked at.

    Args:
        found: the data of a run, whose recipe asks for trials.
        task: holds the network, which is left as it was; it follows the new recipe.
        device: where it computes.
        show: a line a trial.

    Raises:
        UsageError: there is nothing to search, or no Optuna to search with.
        Diverged: every trial did.
    """
    check(found.recipe)
    if found.entry is None or not found.entry.transfer:
        raise RecipeError(
            f"search.trials is {found.recipe.search.trials}, and no part of this network is frozen.",
            expected="a network with ImageNet weights",
        )
    frozen = kept(freeze(found, task, device, None, Silent()))
    space = space_of(frozen)
    frozen.frontier.fill(boundaries(frozen, space), frozen.engine, show)
    results = _Search(frozen, space, show).run(found.recipe.search.trials)
    best = _best(results)
    show.say(_verdict(results, best, len(frozen.frontier.valid)))
    tried = tuple(each.trial.model_copy(update={"chosen": place == best}) for place, each in enumerate(results))
    recipe = applied(frozen.recipe, results[best].trial.settings)
    recipe = recipe.model_copy(update={"search": SearchRecipe(tried=tried)})
    task.recipe = recipe
    task.load_weights({})
    return replace(found, recipe=recipe)


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise UsageError(
            f"A search needs Optuna, and it cannot be imported: {error}.",
            fix='Install it with pip install "layerwise[search]", or leave search.trials out.',
        ) from None


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Within it, Optuna's own log holds warnings only."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class _Result:
    """How a trial ended.

    Args:
        trial: what is written down of it.
        score: as the recipe ranks it; none where it diverged.
        whole: whether it came to its end.
        seconds: that it took.
    """

    trial: Trial
    score: list[float] | None
    whole: bool
    seconds: float


@final
class _Search:
    """Runs trials.

    Args:
        frozen: the run as it would be without a search, with all that trials need kept.
        space: what a trial may choose from.
        show: a line a trial.
    """

    def __init__(self, frozen: Frozen, space: Space, show: Show) -> None:
        self._frozen, self._space, self._show = frozen, space, show
        self._front, self._task = frozen.frontier, frozen.frontier.task
        head, thawing = stages_of(frozen)
        last = thawing or head
        self._epochs = last.epochs  # of the run, in the stage that trials are judged in
        short = last.model_copy(update={"epochs": max(1, round(last.epochs / _PART))})
        self._stages = (short,) if thawing is None else (head, short)
        self._ahead: dict[int, list[float]] = {}  # the best score so far after so many steps, at each of the rungs
        self._rungs: set[int] = set()
        self._fitted: Mapping[str, torch.Tensor] | None = None  # a head that all trials share

    def run(self, count: int) -> list[_Result]:
        """So many trials, the recipe's own settings first."""
        optuna, short = _optuna(), self._stages[-1]
        self._show.say(
            f"Search: {count} trials of the stage {short.name}, each as long as {short.epochs} of its {self._epochs} "
            f"epochs, on the same kept activations; {len(self._front.valid)} images of validation judge."
        )
        results = []
        with _quiet(optuna), self._show.bar("search", count) as advance:
            study = optuna.create_study(
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=self._frozen.recipe.seed, n_startup_trials=_DRAWN),
            )
            study.enqueue_trial(dict(self._space.defaults))
            states = optuna.trial.TrialState
            for _ in range(count):
                asked = study.ask()
                result = self._tried(asked)
                if result.score is not None and result.whole:
                    study.tell(asked, result.score[0])
                else:
                    study.tell(asked, state=states.FAIL if result.score is None else states.PRUNED)
                self._show.say(f"  trial {asked.number}: {self._words(result)}")
                results.append(result)
                advance(1)
        return results

    def _tried(self, asked: Any) -> _Result:
        """Train with the settings of a trial, to its end or until it has fallen behind."""
        began, settings, epochs = time.monotonic(), self._space.draw(asked), 0.0
        ends: list[tuple[list[float], Metrics]] = []
        try:
            for step, epochs, metrics in self._validations(settings):
                score = self._task.score(metrics)
                if epochs.is_integer():
                    ends.append((score, metrics))
                asked.report(score[0], step)  # the estimator learns from a stopped trial, too
                if self._falls_behind(step, score):
                    behind = Trial(settings=settings, epochs=epochs, valid=metrics)
                    return _Result(behind, score, False, time.monotonic() - began)
        except Diverged:
            broken = Trial(settings=settings, epochs=epochs)
            return _Result(broken, None, False, time.monotonic() - began)
        score, metrics = max(ends, key=lambda end: end[0])
        return _Result(Trial(settings=settings, epochs=epochs, valid=metrics), score, True, time.monotonic() - began)

    def _falls_behind(self, step: int, score: list[float]) -> bool:
        """Whether a trial ends here, as one before it was as good or better; the first never does."""
        if step not in self._rungs:
            return False
        if step in self._ahead and score <= self._ahead[step]:
            return True
        self._ahead[step] = score
        return False

    def _validations(self, settings: Mapping[str, float]) -> Iterator[tuple[int, float, Metrics]]:
        """Train with these settings; at the rungs and after each epoch: steps and epochs done, and the validation."""
        recipe = applied(self._frozen.recipe.model_copy(update={"stages": self._stages}), settings)
        cuts = {stage.name: self._front.cut(stage.share) for stage in recipe.stages}
        frozen = replace(self._frozen, recipe=recipe, cuts=cuts)
        self._task.recipe = recipe
        self._task.load_weights({})
        *heads, last = recipe.stages
        for head in heads:
            self._task.load_weights(self._head(frozen, head))
        batches = frozen.enter(last, Silent(), False)
        total = last.epochs * batches.steps
        self._rungs = {-(-total // part) for part in _RUNGS} - {total}
        for step in self._steps(batches, last, first=sum(head.epochs for head in heads)):
            if step in self._rungs or step % batches.steps == 0:
                yield step, step / batches.steps, self._task.evaluate(batches.part("valid"))

    def _head(self, frozen: Frozen, stage: Stage) -> Mapping[str, torch.Tensor]:
        """Weights after the head's stage: fitted once for all trials, or trained by steps, the best epoch kept."""
        if self._fitted is not None:
            return self._fitted
        batches = frozen.enter(stage, Silent(), False)
        best: tuple[list[float], Mapping[str, torch.Tensor]] | None = None
        for step in self._steps(batches, stage, first=0):
            if step % batches.steps == 0:
                score = self._task.score(self._task.evaluate(batches.part("valid")))
                if best is None or score > best[0]:
                    best = score, self._task.weights()
        assert best is not None, "a stage has an epoch"
        if stage.solver == "lbfgs":
            self._fitted = best[1]
        return best[1]

    def _steps(self, batches: Batches, stage: Stage, *, first: int) -> Iterator[int]:
        """Train a stage as the engine does; after each step, how many are done.

        Args:
            batches: of the stage, which the task is ready for.
            stage: says for how many epochs.
            first: epochs of the stages before it.
        """
        for epoch in range(stage.epochs):
            for step, batch in enumerate(batches.train(first + epoch)):
                seed(self._frozen.recipe.seed, first + epoch, step)
                self._task.train_step(batch)
                yield epoch * batches.steps + step + 1

    def _words(self, result: _Result) -> str:
        """A trial for people."""
        trial, metric = result.trial, self._frozen.recipe.stop.metric
        settings = ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in trial.settings.items())
        shown = dict.fromkeys(["accuracy", "calibrated_loss", *([] if metric == "auto" else [metric])])
        words = [f"{name.replace('_', ' ')} {trial.valid[name]:.4f}" for name in shown if trial.valid]
        if not result.whole:
            words.append(f"{'diverged' if result.score is None else 'stopped'} at epoch {trial.epochs:.2g}")
        return f"{settings}: {', '.join(words)}; {result.seconds:.1f} s"


def _best(results: Sequence[_Result]) -> int:
    """The place of the best trial that came to its end; the first one stays unless another is better.

    Raises:
        Diverged: none came to its end.
    """
    best: int | None = None
    for place, result in enumerate(results):
        if result.whole and result.score is not None:
            known = None if best is None else results[best].score
            if known is None or result.score > known:
                best = place
    if best is None:
        raise Diverged("Every trial of the search diverged.", fix="Lower optimizer.learning_rate.")
    return best


def _verdict(results: Sequence[_Result], best: int, images: int) -> str:
    """What was chosen, for people."""
    if not best:
        return "The recipe's own settings stay: no trial was better."
    return (
        f"Trial {best} is chosen. It is the best of {len(results)} on the {images} images that judged them, and they "
        "flatter the best."
    )
