"""The grid of steps that series lie on: how far apart steps are, its name, and the season that is natural."""

from __future__ import annotations

import calendar as months
import datetime
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from layerwise.config import Section, build
from layerwise.data.stamps import Kind, Numbers
from layerwise.errors import DataError

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_EPOCH = datetime.datetime(1970, 1, 1)
OFF_GRID = 0.05  # share of the stamps that may lie between the steps; each such row is reported
_REGULAR = 0.95  # share of equal distances above which stamps 28 days and more apart are no months


class Calendar(Section):
    """Steps of equal length; position 0 is the first of the data, and positions before it are negative.

    Fields:
        kind: "integer" numbers; "time" steps of fixed length; "months"; "business" days.
        frequency: for people: "hourly", "monthly", "every 10 minutes", "integer", ...
        season: steps of the season that is natural for the frequency; 1 where none is.
        step: numbers, microseconds or months from step to step; 1 for business days.
        origin: position 0: the number, microseconds since 1970, months since year 0, or business days since 1970.
        form: how a stamp is written, for `strftime`; `%q` is the quarter.
        zone: behind a stamp, such as "+01:00".
        day: months: day of the month; 31 is the last one.
        clock: months and business days: microseconds since midnight.

    Example:
        >>> airline = Calendar(kind="months", frequency="monthly", season=12, step=1, origin=1949 * 12, form="%Y-%m")
        >>> airline.stamp(0), airline.stamp(144)
        ('1949-01', '1961-01')
    """

    kind: Literal["integer", "time", "months", "business"]
    frequency: str
    season: int
    step: int
    origin: int
    form: str = ""
    zone: str = ""
    day: int = 1
    clock: int = 0

    def stamp(self, position: int) -> str:
        """The stamp of a step, written as the data's own were.

        Raises:
            DataError: it lies beyond the year 9999.
        """
        number = self.origin + position * self.step
        if self.kind == "integer":
            return str(number)
        try:
            time = self._time(number)
        except (OverflowError, ValueError):
            raise DataError(f"Step {position:,} lies beyond the year 9999.", fix="Ask for fewer steps.") from None
        form = self.form.replace("%q", str((time.month + 2) // 3))
        return time.strftime(form) + self.zone

    def stamps(self, first: int, count: int) -> list[str]:
        """The stamps of `count` steps from position `first` on."""
        return [self.stamp(position) for position in range(first, first + count)]

    def _time(self, number: int) -> datetime.datetime:
        if self.kind == "months":
            year, month = divmod(number, 12)
            day = min(self.day, months.monthrange(year, month + 1)[1])
            return datetime.datetime(year, month + 1, day) + datetime.timedelta(microseconds=self.clock)
        if self.kind == "business":
            number = _from_business(number) * _DAY + self.clock
        return _EPOCH + datetime.timedelta(microseconds=number)

    def positions(self, numbers: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
        """Positions (N,) of the times or numbers (N,), and whether each lies on the grid.

        Months count by year and month alone: a day within them says no more.
        """
        if self.kind == "months":
            counts, clock = _months(numbers), None
        elif self.kind == "business":
            days = numbers // _DAY
            counts, clock = _business(days), (numbers % _DAY != self.clock) | ((days + 3) % 7 > 4)
        else:
            counts, clock = numbers, None
        positions, rest = np.divmod(counts - self.origin, self.step)
        return positions, (rest == 0) if clock is None else (rest == 0) & ~clock

    def matches(self, other: Calendar) -> bool:
        """Whether both have steps of one kind and length."""
        return (self.kind, self.step) == (other.kind, other.step)

    def record(self) -> dict[str, Any]:
        """Plain values for a model file."""
        return self.model_dump()

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Calendar:
        """What `record` gave.

        Raises:
            RecipeError: a value is missing, unknown or of another kind.
        """
        return build(Calendar, record)


def find_calendar(
    kind: Kind, numbers: Numbers, series: Numbers, *, form: str = "", zone: str = "", years: bool = False
) -> tuple[Calendar, tuple[str, ...]]:
    """The calendar on which most stamps lie, from the most common distance between neighbours of a series.

    Args:
        kind: of the numbers.
        numbers: (N,) whole numbers, or microseconds since 1970.
        series: (N,) which series each belongs to.
        form, zone: how a stamp is written.
        years: whole numbers are years.

    Returns:
        the calendar, and notes for people.

    Raises:
        DataError: no series has two stamps, or the stamps follow no regular step.
    """
    order = np.lexsort((numbers, series))
    numbers, series = numbers[order], series[order]
    new = np.ones(len(numbers), dtype=bool)
    new[1:] = (np.diff(numbers) != 0) | (np.diff(series) != 0)
    numbers, series = numbers[new], series[new]  # each stamp of a series once
    steps = np.diff(numbers)[np.diff(series) == 0]
    if not len(steps):
        raise DataError(
            "No series has more than one stamp.",
            expected="a row for each step of each series",
            fix="If the column of the series is not the right one, name it with --series COLUMN.",
        )
    step = _most_common(steps)
    if kind == "integer":
        frequency = "yearly" if years and step == 1 else "integer"
        return _anchored(Calendar(kind=kind, frequency=frequency, season=1, step=step, origin=0), numbers, steps)
    if step >= 28 * _DAY and (found := _monthly(numbers, series, steps, form, zone)):
        return found
    if step == _DAY and (business := _business_days(numbers, steps, form, zone)):
        return business, ()
    frequency, season = _name(step)
    made = Calendar(kind="time", frequency=frequency, season=season, step=step, origin=0, form=form, zone=zone)
    return _anchored(made, numbers, steps)


def _most_common(numbers: Numbers) -> int:
    distinct, counts = np.unique(numbers, return_counts=True)
    return int(distinct[counts.argmax()])  # the smallest of equals


def _anchored(made: Calendar, numbers: Numbers, steps: Numbers) -> tuple[Calendar, tuple[str, ...]]:
    """With its first step at the first stamp that has the most common phase."""
    phases = numbers % made.step
    phase = _most_common(phases)
    off = float(np.mean(phases != phase))
    if off > OFF_GRID:
        distinct, counts = np.unique(steps, return_counts=True)
        ranked = np.argsort(-counts, kind="stable")[:3]
        names = [f"{_distance(made.kind, int(distinct[rank]))} ({counts[rank] / len(steps):.0%})" for rank in ranked]
        raise DataError(
            f"The stamps follow no regular step: the most common distances are {', '.join(names)}, and {off:.0%} of "
            f"the stamps lie between the steps of the grid that would be {made.frequency}.",
            expected="stamps at equal distances, with gaps where needed",
            fix="Bring the series to equal steps first, for instance by means of each hour.",
        )
    return made.model_copy(update={"origin": int(numbers[phases == phase].min())}), ()


def _distance(kind: str, step: int) -> str:
    return str(step) if kind == "integer" else str(datetime.timedelta(microseconds=step))


def _months(numbers: Numbers) -> Numbers:
    """Months since year 0 of microseconds since 1970."""
    counts: Numbers = numbers.astype("M8[us]").astype("M8[M]").astype(np.int64) + 1970 * 12
    return counts


def _month_days(numbers: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """The day of the month, and whether it is its last."""
    days = numbers.astype("M8[us]").astype("M8[D]")
    firsts = days.astype("M8[M]").astype("M8[D]")
    last = (days + 1).astype("M8[M]") != days.astype("M8[M]")
    return (days - firsts).astype(np.int64) + 1, last


def _monthly(
    numbers: Numbers, series: Numbers, steps: Numbers, form: str, zone: str
) -> tuple[Calendar, tuple[str, ...]] | None:
    """Steps of whole months: on one day of the month, on its last, or once a month whatever the day."""
    counts, clocks = _months(numbers), numbers % _DAY
    days, last = _month_days(numbers)
    fixed = len(np.unique(days)) == 1 or bool(last.all())
    distances = np.diff(counts)[np.diff(series) == 0]
    if not fixed and (np.mean(steps == _most_common(steps)) >= _REGULAR or distances.min() == 0):
        return None
    step = _most_common(distances)
    frequency, season = {1: ("monthly", 12), 3: ("quarterly", 4), 12: ("yearly", 1)}.get(
        step, (f"every {step} months", 12 // step if 12 % step == 0 else 1)
    )
    day = 31 if last.all() else _most_common(days)
    made = Calendar(
        kind="months", frequency=frequency, season=season, step=step, origin=0, form=form, zone=zone, day=day,
        clock=_most_common(clocks),
    )  # fmt: skip
    found, _ = _anchored(made, counts, distances)
    return found, () if fixed else (f"The day of the month varies; steps are {frequency}.",)


def _business(days: Numbers) -> Numbers:
    """Days since 1970 (a Thursday) as business days, Saturday and Sunday as the Friday before."""
    weeks, weekday = np.divmod(days + 3, 7)
    counts: Numbers = weeks * 5 + np.minimum(weekday, 4)
    return counts


def _from_business(count: int) -> int:
    weeks, weekday = divmod(count, 5)
    return weeks * 7 + weekday - 3


def _business_days(numbers: Numbers, steps: Numbers, form: str, zone: str) -> Calendar | None:
    """Monday to Friday: no stamp at a weekend, and Friday next to Monday at least once."""
    days, clocks = numbers // _DAY, numbers % _DAY
    weekdays = (days + 3) % 7
    if (weekdays > 4).any() or not (steps == 3 * _DAY).any() or len(np.unique(clocks)) > 1:
        return None
    origin = int(_business(days).min())
    return Calendar(
        kind="business", frequency="business days", season=5, step=1, origin=origin, form=form, zone=zone,
        clock=int(clocks[0]),
    )  # fmt: skip


def _name(step: int) -> tuple[str, int]:
    """The name of a fixed step in microseconds, and its natural season: a week of days, a day of what is shorter."""
    if step % (7 * _DAY) == 0:
        weeks = step // (7 * _DAY)
        return ("weekly", 52) if weeks == 1 else (f"every {weeks} weeks", 52 // weeks if 52 % weeks == 0 else 1)
    season = _DAY // step if step >= 60 * _SECOND and _DAY % step == 0 else 1
    if step % _DAY == 0:
        days = step // _DAY
        return ("daily", 7) if days == 1 else (f"every {days} days", 1)
    for unit, length in (("hour", 3600 * _SECOND), ("minute", 60 * _SECOND), ("second", _SECOND)):
        if step % length == 0:
            count = step // length
            single = "hourly" if unit == "hour" else f"every {unit}"
            return (single if count == 1 else f"every {count} {unit}s"), season
    return f"every {step / _SECOND:g} seconds", season
