"""A run within a time: what to leave out so that it ends in time, with the best accuracy to be expected.

Expectations are coarse, and only their order is used: accuracy behind a frozen body follows the body's ImageNet
accuracy, at 0.4 of its differences (S. Kornblith, J. Shlens, Q. Le, "Do Better ImageNet Models Transfer Better?", CVPR
2019, found a correlation of 0.99 for features); thawing and mirrored views bring what they brought on photographs here
(docs/decisions/0010-budget.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from layerwise.frozen.plan import Amounts, Plan, StageFacts, decide

_BODY = 0.4  # points of accuracy for a point on ImageNet
_THAW, _THAW_EPOCHS = 2.0, 2.5  # points that thawing brings in the end, and epochs after which 63 % of it is there
_VIEWS = 0.3  # points of a second view
_SMALLER = 8.0  # points on ImageNet that halving the side of the picture costs, about
EPOCHS = (12, 8, 6, 4, 3, 2, 1)  # of a thawed stage that are looked at, besides its own


def expected(top1: float, side: float, thaw_epochs: int, views: int) -> float:
    """Points of accuracy beside those of other choices; only differences mean anything.

    Args:
        top1: of the body on ImageNet, in per cent.
        side: of the picture, as a share of the body's own.
        thaw_epochs: of all stages in which layers of the body train.
        views: of a training image.

    Example:
        >>> expected(75, 1.0, 6, 2) > expected(77, 1.0, 0, 2)
        True
    """
    body = _BODY * (top1 + _SMALLER * math.log2(side))
    return body + _THAW * (1 - math.exp(-thaw_epochs / _THAW_EPOCHS)) + _VIEWS * (views > 1)


def best_within(facts: Sequence[StageFacts], amounts: Amounts, seconds: float) -> tuple[Plan, Plan | None]:
    """The plan to be expected most accurate of those that end in time.

    Args:
        facts: of every stage of the run as it would be without a budget; the first one trains the head.
        amounts: of the same.
        seconds: that are left.

    Returns:
        the shortest plan there is, and the best that ends in time, or none.
    """
    plans = [decide(some, amounts.but(views=views, refit=amounts.refit)) for some, views in _choices(facts, amounts)]
    shortest = min(plans, key=lambda plan: plan.most)
    fitting = [plan for plan in plans if plan.most <= seconds]
    return shortest, max(fitting, key=lambda plan: (_score(plan), -plan.seconds), default=None)


def _choices(facts: Sequence[StageFacts], amounts: Amounts) -> Iterator[tuple[list[StageFacts], int]]:
    """The head with any number of the stages after it, shorter or longer, with all views or the picture itself."""
    head, *thawed = facts
    for views in sorted({amounts.views, 1}):
        own = [replace(head, fit=None if head.fit is None else head.fit * views / amounts.views)]
        yield own, views
        for count in range(1, len(thawed) + 1):
            for epochs in EPOCHS:
                yield own + [replace(stage, epochs=epochs) for stage in thawed[:count]], views


def _score(plan: Plan) -> float:
    return expected(0.0, 1.0, sum(stage.facts.epochs for stage in plan.stages[1:]), plan.amounts.views)


def given_up(full: Plan, chosen: Plan) -> list[str]:
    """What a plan leaves out of another, in words.

    Args:
        full: what would be done without a budget.
        chosen: what is done.
    """
    lost = []
    kept = {stage.facts.name: stage.facts for stage in chosen.stages}
    for stage in full.stages:
        left = kept.get(stage.facts.name)
        if left is None:
            lost.append(f"the stage {stage.facts.name}")
        elif left.epochs < stage.facts.epochs:
            lost.append(f"{stage.facts.epochs - left.epochs} epochs of {stage.facts.name}")
    if chosen.amounts.views < full.amounts.views:
        lost.append(f"{full.amounts.views - chosen.amounts.views} views of each image")
    return lost
