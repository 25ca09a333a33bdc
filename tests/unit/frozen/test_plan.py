"""The plan: what is kept, decided from facts alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from layerwise.frozen.plan import Amounts, Plan, StageFacts, decide, duration, lines, size

# A head behind pooled features, a fifth of the layers behind a feature map, and all layers.
HEAD = StageFacts("head", "head", 10, "pooled", 2560, prefix=0.02, step=1e-5, score=1e-5, epoch=0.1)
LAST = StageFacts(
    "last", "head, last 20 of 98 layers", 6, "blocks.5.1", 100_000, prefix=0.015, step=0.01, score=0.003, epoch=0.3
)
ALL = StageFacts("all", "all layers", 4, None, 0, prefix=0.0, step=0.07, score=0.02, epoch=0.6)


def amounts(**changes: Any) -> Amounts:
    base = Amounts(train=1000, valid=100, test=100, views=1, missing=1100, disk=1e9, setup=5.0, finish=2.0)
    found = replace(base, **changes)
    return found if "missing" in changes else replace(found, missing=found.pictures)


def kept(plan: Plan) -> list[bool]:
    return [stage.keep for stage in plan.stages]


def text(plan: Plan) -> str:
    return "\n".join(lines(plan, engine="PyTorch", views="two views of each image", place="Kept in CACHE."))


# What is decided


def test_what_is_frozen_is_kept_where_it_pays_and_what_trains_whole_never_is() -> None:
    plan = decide([HEAD, LAST, ALL], amounts())
    assert kept(plan) == [True, True, False] and plan.notes == ()
    assert plan.seconds < plan.seconds_without


def test_the_seconds_are_those_of_the_facts() -> None:
    plan = decide([HEAD], amounts())
    read = 2560 * 1100 / 1e9
    assert plan.fill == pytest.approx(1100 * 0.02 + 1100 * 2560 / 400e6)
    assert plan.stages[0].seconds == pytest.approx(10 * (1000 * 1e-5 + 100 * 1e-5 + 0.1 + read))
    assert plan.stages[0].seconds_without == pytest.approx(10 * (1100 * 0.02 + 1000 * 1e-5 + 100 * 1e-5 + 0.1))
    assert plan.seconds == pytest.approx(plan.fill + plan.stages[0].seconds + 2.0)
    assert plan.seconds_without == pytest.approx(plan.stages[0].seconds_without + 2.0)
    assert plan.bytes == plan.stages[0].bytes == 1100 * 2560


@pytest.mark.parametrize(("epochs", "views", "pays"), [(4, 4, True), (3, 4, False), (1, 1, False), (2, 1, True)])
def test_nothing_is_kept_where_more_views_are_computed_than_epochs_show(epochs: int, views: int, pays: bool) -> None:
    plan = decide([replace(HEAD, epochs=epochs)], amounts(views=views))
    assert kept(plan) == [pays]
    assert pays or (plan.fill == 0.0 and plan.bytes == 0 and plan.notes == ())


def test_what_reading_costs_more_than_computing_is_not_kept() -> None:
    early = replace(LAST, cut="stem", row_bytes=802_816, prefix=0.0006)  # 32 x 112 x 112: little work, many bytes
    assert kept(decide([early], amounts())) == [False]
    assert kept(decide([replace(early, prefix=0.006)], amounts())) == [True]


def test_one_pass_fills_all_so_a_second_boundary_costs_its_bytes_only() -> None:
    both, one = decide([HEAD, replace(LAST, epochs=1)], amounts()), decide([HEAD], amounts())
    assert kept(both) == [True, True]
    assert both.fill - one.fill == pytest.approx(1100 * 100_000 / 400e6)
    assert kept(decide([replace(LAST, epochs=1)], amounts())) == [False]


def test_the_disk_is_never_asked_for_more_than_it_has() -> None:
    for disk in (0, 2e6, 5e6, 1e8, 1e9):
        plan = decide([HEAD, LAST, ALL], amounts(disk=disk))
        assert plan.bytes <= disk
    assert kept(decide([HEAD, LAST], amounts(disk=5e6))) == [True, False]
    assert kept(decide([HEAD, LAST], amounts(disk=2e6))) == [False, False]


def test_what_more_room_would_spare_is_said() -> None:
    plan = decide([HEAD, LAST], amounts(disk=5e6))
    full = decide([HEAD, LAST], amounts())
    (note,) = plan.notes
    assert "before last" in note and size(full.bytes) == "112.8 MB" and "0.1 GB" in note and "0.0 GB" in note
    assert duration(plan.seconds - full.seconds) in note and "frozen.disk_gb" in note
    assert note in text(plan)
    (note,) = decide([HEAD, LAST], amounts(disk=1e3)).notes
    assert "before head, last" in note


def test_stages_at_one_cut_share_what_is_kept_and_it_is_counted_once() -> None:
    again = replace(LAST, name="again", epochs=2)
    plan = decide([HEAD, LAST, again], amounts(disk=1100 * (2560 + 100_000)))
    assert kept(plan) == [True] * 3 and plan.bytes == 1100 * (2560 + 100_000)
    assert plan.fill == decide([HEAD, LAST], amounts()).fill
    assert decide([LAST, again], amounts()).bytes == 1100 * 100_000


def test_every_other_choice_that_fits_would_take_longer() -> None:
    facts = [HEAD, replace(LAST, epochs=2), replace(LAST, name="more", cut="blocks.3", row_bytes=150_000, prefix=0.008)]
    for missing, disk, views in itertools.product((0, 500, 1100), (4e6, 1.2e8, 3e8, 1e9), (1, 2, 4)):
        given = amounts(missing=missing, disk=disk, views=views)
        plan = decide(facts, given)
        for choice in itertools.product((True, False), repeat=3):
            other = decide([replace(each, keep=keep) for each, keep in zip(facts, choice, strict=True)], given)
            assert kept(other) == list(choice)
            assert other.seconds >= plan.seconds or other.bytes > disk


# Decided before


def test_what_was_decided_stays_even_where_it_no_longer_pays_or_fits() -> None:
    facts = [replace(HEAD, keep=False), replace(LAST, epochs=1, keep=True), ALL]
    for given in (amounts(), amounts(disk=0), amounts(views=4)):
        plan = decide(facts, given)
        assert kept(plan) == [False, True, False] and plan.notes == ()
    assert kept(decide([replace(HEAD, keep=True), LAST], amounts(disk=5e6))) == [True, False]


def test_a_stage_from_the_pictures_on_keeps_nothing_whatever_was_asked_for() -> None:
    plan = decide([replace(ALL, keep=True)], amounts())
    assert kept(plan) == [False] and plan.bytes == 0 and plan.fill == 0


def test_what_is_found_kept_needs_no_pass() -> None:
    plan = decide([HEAD, replace(LAST, epochs=1)], amounts(missing=0))
    assert kept(plan) == [True, True] and plan.fill == 0.0
    assert "found kept" in text(plan) and "pass" not in text(plan)
    half = decide([HEAD], amounts(missing=550))
    assert half.fill == pytest.approx(decide([HEAD], amounts()).fill / 2) and "550 pictures" in text(half)


# Fits and fresh views


def test_a_fit_in_one_piece_takes_the_place_of_steps_only_where_features_are_kept() -> None:
    whole = replace(HEAD, fit=0.5, step=1.0)
    plan = decide([whole], amounts(views=2))
    read = 2560 * 2100 / 1e9  # every view in every fit
    assert kept(plan) == [True] and plan.stages[0].seconds == pytest.approx(10 * (0.5 + 0.001 + 0.1 + read))
    assert plan.stages[0].seconds_without > 10 * 1000


def test_views_that_are_drawn_anew_cost_their_computing_and_their_room() -> None:
    fresh = replace(LAST, drawn=300.0)
    plan, plain = decide([fresh], amounts(views=2)), decide([LAST], amounts(views=2))
    assert plan.stages[0].seconds - plain.stages[0].seconds == pytest.approx(6 * 300 * (0.015 + 100_000 / 400e6))
    assert plan.bytes - plain.bytes == plan.stages[0].bytes - plain.stages[0].bytes == 6 * 300 * 100_000
    assert plan.seconds_without == plain.seconds_without and plan.fill == plain.fill
    assert kept(decide([replace(LAST, drawn=1000.0)], amounts(views=2))) == [False]  # as many as an epoch shows


# For people, and for metrics.json


def test_the_lines_are_a_table_that_people_can_read() -> None:
    found = lines(
        decide([HEAD, LAST, ALL], amounts()), engine="PyTorch", views="one view of each image", place="Kept in CACHE."
    )
    assert found == [
        "Plan: one view of each image. The frozen part runs in PyTorch.",
        "  stage  trains                      epochs  frozen up to  on disk   time     without keeping",
        "  head   head                        10      pooled        2.8 MB    1.1 s    3.7 min",
        "  last   head, last 20 of 98 layers  6       blocks.5.1    110.0 MB  1.1 min  2.7 min",
        "  all    all layers                  4       nothing       -         4.8 min  4.8 min",
        "  In all about 6.3 min, one pass over 1,100 pictures first (22 s); 11.3 min without keeping.",
        "  Kept in CACHE.",
    ]


def test_where_nothing_is_kept_the_lines_say_nothing_of_keeping() -> None:
    found = text(decide([replace(HEAD, keep=False), ALL], amounts()))
    assert "CACHE" not in found and "pass over" not in found and "8.6 min." in found


def test_the_record_can_be_written_as_json_and_says_what_was_promised() -> None:
    plan = decide([HEAD, LAST, ALL], amounts(views=2))
    record = json.loads(json.dumps(plan.record()))
    assert record["seconds"] == plan.seconds and record["seconds_without_keeping"] == plan.seconds_without
    assert record["bytes"] == plan.bytes and record["views"] == 2
    assert [(each["name"], each["cut"], each["kept"]) for each in record["stages"]] == [
        ("head", "pooled", True),
        ("last", "blocks.5.1", True),
        ("all", None, False),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12, "12 s"), (61, "1.0 min"), (7260, "2.0 h")]
)
def test_times_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e9, "2.5 GB")])
def test_bytes_for_people(count: int, words: str) -> None:
    assert size(count) == words
