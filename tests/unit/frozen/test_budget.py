"""What is left out of a run so that it ends in time: pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from layerwise.frozen.budget import best_within, expected, given_up
from layerwise.frozen.plan import Amounts, Plan, StageFacts, decide

HEAD = StageFacts("head", "head", 4, "pooled", 2560, prefix=0.01, step=1e-5, score=1e-5, epoch=0.1, fit=0.2, keep=True)
LAST = StageFacts("last", "head and more", 6, "block", 30_000, prefix=0.008, step=0.01, score=0.003, epoch=0.3)
AMOUNTS = Amounts(1000, 100, 100, views=2, missing=2100, disk=1e10, setup=0.0, finish=1.0)
FULL = decide([HEAD, LAST], AMOUNTS)


def chosen(seconds: float) -> Plan:
    best = best_within([HEAD, LAST], AMOUNTS, seconds)[1]
    assert best is not None
    return best


@pytest.mark.parametrize("seconds", [14, 25, 40, 60, 100, 200, 1000])
def test_the_choice_ends_in_time_and_more_time_is_never_worse(seconds: float) -> None:
    best, richer = chosen(seconds), chosen(2 * seconds)
    assert best.seconds <= seconds

    def value(plan: Plan) -> float:
        return expected(0, 1, sum(stage.facts.epochs for stage in plan.stages[1:]), plan.amounts.views)

    assert value(richer) >= value(best)


def test_training_again_counts(seconds: float = 40.0) -> None:
    again = replace(AMOUNTS, refit=True, missing=2200)
    best = best_within([HEAD, LAST], again, seconds)[1]
    assert best is not None and best.refit > 0 and best.seconds + best.refit <= seconds
    assert best.stages[-1].facts.epochs < chosen(seconds).stages[-1].facts.epochs
    assert again.pictures == 2 * 1100 and FULL.refit == 0
    # What is told of the shortest is enough for it, and no less is.
    needed = best_within([HEAD, LAST], again, 0.0)[0].most
    assert best_within([HEAD, LAST], again, needed)[1] is not None
    assert best_within([HEAD, LAST], again, needed - 0.01)[1] is None


def test_with_all_the_time_in_the_world_nothing_is_given_up() -> None:
    best = chosen(1e6)
    assert best.amounts.views == 2 and best.stages[1].facts.epochs >= LAST.epochs
    assert given_up(FULL, best) == []


def test_what_is_given_up_is_named() -> None:
    shortest = best_within([HEAD, LAST], AMOUNTS, 1e6)[0]
    assert [stage.facts.name for stage in shortest.stages] == ["head"]
    assert given_up(FULL, shortest) == ["the stage last", "1 views of each image"]
    fewer = decide([HEAD, replace(LAST, epochs=2)], AMOUNTS)
    assert given_up(FULL, fewer) == ["4 epochs of last"]


def test_where_nothing_fits_the_shortest_is_told() -> None:
    shortest, best = best_within([HEAD, LAST], AMOUNTS, 1.0)
    assert best is None and shortest.seconds == pytest.approx(min(shortest.seconds, FULL.seconds))


def test_one_view_misses_fewer_pictures() -> None:
    shortest = best_within([HEAD, LAST], AMOUNTS, 1e6)[0]
    assert shortest.amounts.missing == 1100 and shortest.fill < FULL.fill


def test_expectations_are_ordered_as_they_should_be() -> None:
    assert expected(75, 1.0, 0, 1) < expected(75, 1.0, 0, 2) < expected(75, 1.0, 2, 2) < expected(75, 1.0, 6, 2)
    assert expected(75, 1.0, 6, 2) < expected(77, 1.0, 6, 2)
    assert expected(75, 0.75, 6, 2) < expected(75, 1.0, 6, 2)
