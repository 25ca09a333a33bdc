"""The plan of a run with frozen layers: what is kept, what it costs and what it saves, before the first step.

Keeping what a frozen prefix gives costs one pass over all views; not keeping it costs a pass every epoch. Nothing here
measures or changes anything: facts go in, a plan comes out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

WRITE_RATE = 400e6  # bytes a second that a disk takes, flushed; a slow one still writes 100e6
READ_RATE = 1e9  # bytes a second that rows are gathered and decoded at; measured 1.2e9 to 3.5e9 for float16


@dataclass(frozen=True)
class StageFacts:
    """What a stage needs, measured on a few batches.

    Args:
        name: of the stage.
        trains: what trains, in words.
        epochs: of the stage.
        cut: where its network begins; none where it begins with the pictures.
        row_bytes: of one example's activation as kept.
        prefix: seconds that an image takes from the picture to the cut.
        step: seconds that an example takes in a training step behind the cut.
        score: seconds that an example takes in validation behind the cut.
        epoch: seconds that an epoch costs besides, such as saving.
        drawn: pictures that are drawn anew in an epoch, on average, and computed then even where all else is kept.
        fit: seconds of fitting the head to all that is kept, which then takes the place of an epoch's steps.
        keep: what the user or an earlier plan decided; none to decide here.
    """

    name: str
    trains: str
    epochs: int
    cut: str | None
    row_bytes: int
    prefix: float
    step: float
    score: float
    epoch: float
    drawn: float = 0.0
    fit: float | None = None
    keep: bool | None = None


@dataclass(frozen=True)
class Amounts:
    """How much there is to compute, and where it may go.

    Args:
        train, valid, test: examples of each part.
        views: kept views of a training image.
        missing: pictures of which not all is kept yet, from this or another run.
        disk: bytes that may be kept.
        setup: seconds that measuring and exporting took.
        finish: seconds that the reported part and the files of the end will take.
        refit: whether the stages are trained once more in the end, on the validation part as well.
    """

    train: int
    valid: int
    test: int
    views: int
    missing: int
    disk: float
    setup: float
    finish: float
    refit: bool = False

    @property
    def pictures(self) -> int:
        """All that would be kept at a cut: every view of what is trained on, the picture itself of the others."""
        return self.train * self.views + self.valid * (self.views if self.refit else 1)

    def but(self, *, views: int, refit: bool) -> Amounts:
        """With other views or refit; what is missing shrinks in proportion."""
        found = replace(self, views=views, refit=refit)
        return replace(found, missing=round(self.missing * found.pictures / max(1, self.pictures)))


@dataclass(frozen=True)
class StagePlan:
    """What will be done in a stage; `seconds` without those of filling, which all stages share."""

    facts: StageFacts
    keep: bool
    bytes: int
    seconds: float
    seconds_without: float


@dataclass(frozen=True)
class Plan:
    """What will be done in a run.

    Args:
        stages: in order.
        amounts: what it was made from.
        fill: seconds of the one pass that fills what is kept.
        notes: why something is not kept, where that is not plain.
    """

    stages: tuple[StagePlan, ...]
    amounts: Amounts
    fill: float
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """From the plan to the end of the run."""
        return self.fill + sum(stage.seconds for stage in self.stages) + self.amounts.finish

    @property
    def refit(self) -> float:
        """Seconds beside them, at most, of training once more on the validation part as well; 0 where that is not."""
        again = sum(stage.seconds for stage in self.stages) * (1 + self.amounts.valid / max(1, self.amounts.train))
        return again if self.amounts.refit else 0.0

    @property
    def most(self) -> float:
        """Seconds from the plan to the end of the run, training once more included."""
        return self.seconds + self.refit

    @property
    def seconds_without(self) -> float:
        """The same, with nothing kept."""
        return sum(stage.seconds_without for stage in self.stages) + self.amounts.finish

    @property
    def bytes(self) -> int:
        """On disk; stages that begin at one cut share what is kept there."""
        kept = {place for place, stage in enumerate(self.stages) if stage.keep}
        return _bytes([stage.facts for stage in self.stages], kept, self.amounts)

    def record(self) -> dict[str, Any]:
        """For `metrics.json`: what was promised."""
        return {
            "seconds": self.seconds,
            "refit_seconds": self.refit,
            "seconds_without_keeping": self.seconds_without,
            "fill_seconds": self.fill,
            "bytes": self.bytes,
            "views": self.amounts.views,
            "stages": [
                {
                    "name": stage.facts.name,
                    "trains": stage.facts.trains,
                    "cut": stage.facts.cut,
                    "kept": stage.keep,
                    "bytes": stage.bytes,
                    "seconds": stage.seconds,
                    "seconds_without_keeping": stage.seconds_without,
                }
                for stage in self.stages
            ],
        }


def decide(facts: Sequence[StageFacts], amounts: Amounts) -> Plan:
    """The cheapest way through the stages that fits.

    Every choice of stages to keep is tried: there are a handful, and one pass fills them all, as deep as the deepest.

    Example:
        >>> head = StageFacts("head", "the head", 10, "pooled", 2560, prefix=0.01, step=1e-5, score=1e-5, epoch=0.1)
        >>> plan = decide([head], Amounts(1000, 100, 100, views=1, missing=1100, disk=1e9, setup=0, finish=1))
        >>> plan.stages[0].keep, round(plan.fill), round(plan.seconds_without)
        (True, 11, 112)
    """
    free = [place for place, stage in enumerate(facts) if stage.cut is not None and stage.keep is None]
    fixed = {place for place, stage in enumerate(facts) if stage.cut is not None and stage.keep}
    sets = [fixed | set(some) for size in range(len(free) + 1) for some in itertools.combinations(free, size)]
    # Without a choice there is one set, and it is taken even if it does not fit: it was decided before.
    fitting = [kept for kept in sets if kept == fixed or _bytes(facts, kept, amounts) <= amounts.disk]
    best = min(fitting, key=lambda kept: (_seconds(facts, kept, amounts), -len(kept)))
    stages = tuple(_stage(each, place in best, amounts) for place, each in enumerate(facts))
    return Plan(stages, amounts, _fill(facts, best, amounts), _notes(facts, best, sets, amounts))


def _stage(facts: StageFacts, keep: bool, amounts: Amounts) -> StagePlan:
    size = round(facts.row_bytes * (amounts.pictures + facts.drawn * facts.epochs)) if facts.cut is not None else 0
    return StagePlan(facts, keep, size, _run(facts, keep, amounts), _run(facts, False, amounts))


def _run(facts: StageFacts, keep: bool, amounts: Amounts) -> float:
    shown = amounts.train * (amounts.views if facts.fit is not None else 1) + amounts.valid
    if keep:
        front = facts.row_bytes * (shown / READ_RATE + facts.drawn / WRITE_RATE) + facts.prefix * facts.drawn
    else:
        front = 0.0 if facts.cut is None else facts.prefix * (amounts.train + amounts.valid)
    train = facts.fit if keep and facts.fit is not None else facts.step * amounts.train
    return facts.epochs * (front + train + facts.score * amounts.valid + facts.epoch)


def _fill(facts: Sequence[StageFacts], kept: set[int], amounts: Amounts) -> float:
    if not kept:
        return 0.0
    written = amounts.missing * sum({facts[place].cut: facts[place].row_bytes for place in kept}.values())
    return amounts.missing * max(facts[place].prefix for place in kept) + written / WRITE_RATE


def _bytes(facts: Sequence[StageFacts], kept: set[int], amounts: Amounts) -> int:
    rows = sum({facts[place].cut: facts[place].row_bytes for place in kept}.values()) * amounts.pictures
    return rows + round(sum(facts[place].row_bytes * facts[place].drawn * facts[place].epochs for place in kept))


def _seconds(facts: Sequence[StageFacts], kept: set[int], amounts: Amounts) -> float:
    stages = sum(_run(each, place in kept, amounts) for place, each in enumerate(facts))
    return stages + _fill(facts, kept, amounts)


def _notes(facts: Sequence[StageFacts], best: set[int], sets: list[set[int]], amounts: Amounts) -> tuple[str, ...]:
    """What would be kept with more room."""
    wished = min(sets, key=lambda kept: (_seconds(facts, kept, amounts), -len(kept)))
    if wished == best:
        return ()
    names = ", ".join(facts[place].name for place in sorted(wished - best))
    need, spared = _bytes(facts, wished, amounts), _seconds(facts, best, amounts) - _seconds(facts, wished, amounts)
    return (
        f"Keeping what comes before {names} as well would take {need / 1e9:.1f} GB and spare {duration(spared)}; there "
        f"is room for {amounts.disk / 1e9:.1f} GB. Set frozen.disk_gb higher, or frozen.dtype=uint8.",
    )


def lines(plan: Plan, *, engine: str, views: str, place: str) -> list[str]:
    """The plan for people, a table.

    Args:
        plan: what to show.
        engine: what runs the frozen part, in words.
        views: which views of an image there are, in words.
        place: where activations are kept, and how to clear them, in words.
    """
    amounts = plan.amounts
    head = ("stage", "trains", "epochs", "frozen up to", "on disk", "time", "without keeping")
    rows = [head] + [
        (
            stage.facts.name,
            stage.facts.trains,
            str(stage.facts.epochs),
            stage.facts.cut or "nothing",
            size(stage.bytes) if stage.keep else "-",
            duration(stage.seconds),
            duration(stage.seconds_without),
        )
        for stage in plan.stages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    table = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    kept = any(stage.keep for stage in plan.stages)
    fill = (
        f"one pass over {amounts.missing:,} pictures first ({duration(plan.fill)})" if amounts.missing else "found kept"
    )
    return [
        f"Plan: {views}. The frozen part runs in {engine}.",
        *(line.rstrip() for line in table),
        f"  In all about {duration(plan.seconds)}"
        + (f", {fill}; {duration(plan.seconds_without)} without keeping." if kept else "."),
        *([f"  At most {duration(plan.refit)} more to train again with the validation images."] if plan.refit else []),
        *([f"  {place}"] if kept else []),
        *plan.notes,
    ]


def duration(seconds: float) -> str:
    """For people: 40 s, 3.5 min, 2.1 h.

    Example:
        >>> duration(0.2), duration(75), duration(9000)
        ('0.2 s', '1.2 min', '2.5 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes for people.

    Example:
        >>> size(3_300_000), size(802_000_000_000)
        ('3.3 MB', '802.0 GB')
    """
    for unit, value in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= value:
            return f"{count / value:.1f} {unit}"
    return f"{count} bytes"
