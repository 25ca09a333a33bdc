"""Reading the times of a table: dates, times with and without a zone, and whole numbers.

Polars reads them, by the formats listed here and no others; the format that reads most rows counts for the column. What
could be the 3rd of April or the 4th of March is refused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from layerwise.errors import DataError

Kind = Literal["integer", "time"]
Numbers = NDArray[np.int64]

UNREAD = 0.05  # share of a column that may be unreadable; each such row is reported
_SAMPLE = 2000  # distinct texts by which formats are preferred
_DAY = 86_400_000_000  # microseconds
_CLOCKS = ("", " %H:%M", " %H:%M:%S%.f", "T%H:%M", "T%H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
_ZONE = r"(?i)^(.*\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s?(Z|[+-]\d{2}(?::?\d{2})?)$"
_ISO = tuple(f"%Y{mark}%m{mark}%d{clock}" for mark in "-/" for clock in _CLOCKS)
_FAMILIES: dict[str, tuple[str, ...]] = {
    # A month alone is read with its first day added behind it: " 01".
    "year first": (*_ISO, "%Y-%m %d", "%Y/%m %d", "%YQ%q", "%Y-Q%q", "%Y Q%q"),
    "day first": tuple(f"%d{mark}%m{mark}%Y{clock}" for mark in "/-." for clock in _CLOCKS),
    "month first": tuple(f"%m{mark}%d{mark}%Y{clock}" for mark in "/-" for clock in _CLOCKS),
    "names of months": (
        *(f"{date}{clock}" for date in ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y") for clock in _CLOCKS),
        *("%B %d, %Y", "%b %d %Y", "%b %Y %d", "%B %Y %d", "%Y %b %d", "%Y-%b %d", "%b-%Y %d"),
    ),
    "eight digits": ("%Y%m%d",),
}
# The formats to which a first day was added, as a month alone is written.
_MONTHS = {
    form: form.removesuffix(" %d")
    for form in ("%Y-%m %d", "%Y/%m %d", "%b %Y %d", "%B %Y %d", "%Y %b %d", "%Y-%b %d", "%b-%Y %d")
}


@dataclass(frozen=True)
class Stamps:
    """The times of all rows of a column.

    Args:
        kind: "integer" for whole numbers, else "time".
        numbers: (N,) the numbers, or microseconds since 1970 on the clock of the rows; 0 where unknown.
        known: (N,) bool.
        offsets: (N,) microseconds by which that clock is ahead of UTC; none where times were written without a zone.
        form: how a time is written, for `strftime`; `%q` is the quarter.
        notes: what a person should know.
    """

    kind: Kind
    numbers: Numbers
    known: NDArray[np.bool_]
    offsets: Numbers | None = None
    form: str = ""
    notes: tuple[str, ...] = ()


def read_stamps(column: pl.Series) -> Stamps:
    """The times of a column of texts, dates, times or whole numbers.

    Raises:
        DataError: more than 5 % of the rows cannot be read, or day and month cannot be told apart.

    Example:
        >>> read_stamps(pl.Series(["1949-01", "1949-02"])).form
        '%Y-%m'
        >>> read_stamps(pl.Series([7, 8])).kind
        'integer'
    """
    match column.dtype:
        case pl.Date:
            return _of_times(column.cast(pl.Datetime("us")), "%Y-%m-%d")
        case pl.Datetime():
            return _of_datetimes(column)
        case dtype if dtype.is_integer():
            return _of_integers(column.cast(pl.Int64, strict=False))
        case dtype if dtype.is_float():
            return _of_integers(_whole(column))
        case pl.String | pl.Categorical | pl.Enum:
            return _of_texts(column.cast(pl.String).str.strip_chars().replace("", None))
    raise DataError(
        f'The times in "{column.name}" are of type {column.dtype}.', expected="dates, times or whole numbers"
    )


def counted_stamps(steps: int) -> Stamps:
    """Whole numbers from 0 on, where rows are steps in order."""
    return Stamps("integer", np.arange(steps), np.ones(steps, dtype=bool))


def seems_time(column: pl.Series) -> bool:
    """Whether a column surely holds dates or times: nearly all of it reads as such, and numbers do not count."""
    if column.dtype in (pl.Date, pl.Datetime):
        return True
    if column.dtype != pl.String or _integers(column.head(_SAMPLE)).null_count() < column.head(_SAMPLE).len():
        return False
    try:
        stamps = read_stamps(column)
    except DataError as error:  # a date of which only day and month are unsure is a date
        return "day and month" in error.came
    return bool(stamps.known.any())


def on_one_clock(stamps: Stamps, zone: str | None = None) -> tuple[Numbers, str, tuple[str, ...]]:
    """Put times that were written with zones on one clock.

    One zone is kept. Days (one time of day in all rows) stay the days that were written. All else goes to UTC.

    Args:
        stamps: as read.
        zone: the clock to use, as an earlier call gave it.

    Returns:
        numbers (N,), the zone ("" for none, else such as "+01:00"), and notes.

    Raises:
        DataError: `zone` asks for another kind of times.
    """
    if stamps.offsets is None:
        if zone:
            raise DataError(f"Times without a zone came after times at {zone}.", expected="times with a zone")
        return stamps.numbers, "", ()
    distinct = np.unique(stamps.offsets[stamps.known])
    if zone == "":
        return stamps.numbers, "", ()
    if zone is not None:
        return stamps.numbers - stamps.offsets + _offset(zone), zone, ()
    if len(distinct) <= 1:
        return stamps.numbers, _zone(int(distinct[0]) if len(distinct) else 0), ()
    zones = ", ".join(_zone(int(each)) for each in distinct[:5])
    if len(np.unique(stamps.numbers[stamps.known] % _DAY)) == 1:
        return stamps.numbers, "", (f"The times have {len(distinct)} zones ({zones}); days are taken as written.",)
    return stamps.numbers - stamps.offsets, "+00:00", (f"The times have {len(distinct)} zones ({zones}): put to UTC.",)


def _zone(offset: int) -> str:
    minutes = abs(offset) // 60_000_000
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _offset(zone: str) -> int:
    return (-1 if zone[0] == "-" else 1) * (int(zone[1:3]) * 60 + int(zone[4:6])) * 60_000_000


def _of_integers(numbers: pl.Series) -> Stamps:
    known = numbers.is_not_null().to_numpy()
    _require_most(known, numbers, "whole numbers")
    return Stamps("integer", numbers.fill_null(0).to_numpy(), known)


def _whole(column: pl.Series) -> pl.Series:
    """Floats that are whole numbers, as pandas writes integers beside missing ones; the others are refused."""
    values = column.to_frame("x")
    broken = values.filter(pl.col("x").is_finite() & (pl.col("x") != pl.col("x").round()))["x"]
    if len(broken):
        raise DataError(
            f'The time {broken[0]} in "{column.name}" is neither a date nor a whole number.',
            expected="dates such as 2020-01-31, or whole numbers",
        )
    return column.cast(pl.Int64, strict=False)


def _of_times(times: pl.Series, form: str, notes: tuple[str, ...] = ()) -> Stamps:
    known = times.is_not_null().to_numpy()
    _require_most(known, times, "dates")
    return Stamps("time", times.cast(pl.Int64).fill_null(0).to_numpy(), known, None, form, notes)


def _of_datetimes(column: pl.Series) -> Stamps:
    dtype = column.dtype
    assert isinstance(dtype, pl.Datetime)
    local = column.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    stamps = _of_times(local, _with_fraction("%Y-%m-%d %H:%M:%S%.f", local))
    if dtype.time_zone is None:
        return stamps
    utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    offsets = stamps.numbers - utc.cast(pl.Int64).fill_null(0).to_numpy()
    return Stamps(stamps.kind, stamps.numbers, stamps.known, offsets, stamps.form, stamps.notes)


def _integers(texts: pl.Series) -> pl.Series:
    return texts.str.extract(r"^([+-]?\d{1,18})(?:\.0+)?$").cast(pl.Int64, strict=False)


def _of_texts(texts: pl.Series) -> Stamps:
    numbers = _integers(texts)
    if numbers.null_count() == texts.null_count() or numbers.null_count() < UNREAD * len(texts):
        days = _best(texts, {"eight digits": _FAMILIES["eight digits"]})
        if days is not None and days[0].null_count() == texts.null_count():
            return _of_times(days[0], "%Y%m%d", ('The times are read as days, as in "20200131".',))
        return _of_integers(numbers)
    parts = texts.to_frame("text").select(
        clock=pl.col("text").str.extract(_ZONE, 1), zone=pl.col("text").str.extract(_ZONE, 2)
    )
    zoned = len(texts) - parts["zone"].null_count()
    if zoned > (len(texts) - texts.null_count()) / 2:
        return _of_zoned(parts["clock"], parts["zone"])
    found = _best(texts, _FAMILIES)
    if found is None:
        _require_most(np.zeros(len(texts), dtype=bool), texts, "dates")
    assert found is not None
    times, form, notes = found
    _require_most(times.is_not_null().to_numpy(), texts, f"dates as the others, {_shown(form)}")
    return _of_times(times, form, notes)


def _of_zoned(clock: pl.Series, zone: pl.Series) -> Stamps:
    """Times with an offset from UTC behind them."""
    found = _best(clock, _FAMILIES)
    known = np.zeros(len(clock), dtype=bool) if found is None else found[0].is_not_null().to_numpy()
    _require_most(known, clock, "times with a zone")
    assert found is not None
    plain = zone.str.to_uppercase().str.replace("Z", "+0000", literal=True).str.replace(":", "", literal=True)
    signs = plain.str.starts_with("-").to_frame("minus").select(pl.when("minus").then(-1).otherwise(1)).to_series()
    hours, minutes = (plain.str.slice(at, 2).cast(pl.Int64, strict=False).fill_null(0) for at in (1, 3))
    offsets = (signs * (hours * 60 + minutes) * 60_000_000).fill_null(0).to_numpy()
    numbers = found[0].cast(pl.Int64).fill_null(0).to_numpy()
    return Stamps("time", numbers, known, offsets, found[1], found[2])


def _best(texts: pl.Series, families: dict[str, tuple[str, ...]]) -> tuple[pl.Series, str, tuple[str, ...]] | None:
    """The family that reads most rows: its times, the format of most of them, and what to tell; none if none does."""
    distinct = texts.drop_nulls().unique(maintain_order=True)
    sample = distinct.gather_every(max(1, len(distinct) // _SAMPLE))
    read: dict[str, tuple[pl.Series, str]] = {}
    for family, forms in families.items():
        fitting = [form for form in forms if _read(sample, form).null_count() < len(sample)]
        if fitting:
            columns = {form: _read(texts, form) for form in fitting}
            most = min(fitting, key=lambda form: columns[form].null_count())
            joined = pl.DataFrame(list(columns.values())).select(pl.coalesce(pl.all())).to_series()
            read[family] = (joined, _with_fraction(most, joined))
    if not read:
        return None
    best = min(read, key=lambda family: read[family][0].null_count())  # the first of equals
    _refuse_unsure(texts, read, best)
    times, form = read[best]
    notes = (f"The times are read {best}, as in {_shown(form)}.",) if best in ("day first", "month first") else ()
    return times, form, notes


def _read(texts: pl.Series, form: str) -> pl.Series:
    """Times of one format, null where it does not fit. A year of two digits fits none."""
    if "%q" in form:
        pattern = "^" + form.replace("%Y", r"(\d{4})").replace("%q", r"([1-4])").replace("Q", "[Qq]") + "$"
        table = texts.to_frame("x").select(y=pl.col("x").str.extract(pattern, 1), q=pl.col("x").str.extract(pattern, 2))
        month = (table["q"].cast(pl.Int64, strict=False) * 3 - 2).cast(pl.String).str.zfill(2)
        texts, form = table["y"] + "-" + month + "-01", "%Y-%m-%d"
    elif form in _MONTHS:
        texts = texts + " 01"
    times = texts.alias("").str.to_datetime(form, strict=False, time_unit="us")
    return times.to_frame("x").select(pl.when(pl.col("x").dt.year() >= 1000).then(pl.col("x"))).to_series().alias(form)


def _refuse_unsure(texts: pl.Series, read: dict[str, tuple[pl.Series, str]], best: str) -> None:
    pair = ("day first", "month first")
    if best not in pair or not all(family in read for family in pair):
        return
    one, other = (read[family][0] for family in pair)
    if one.null_count() != other.null_count():
        return
    differs = (one.is_not_null() & (one != other)).arg_max()
    if differs is not None and one[differs] != other[differs]:
        raise DataError(
            f'In the column "{texts.name}", day and month cannot be told apart: "{texts[differs]}" is '
            f"{one[differs]:%-d %B} or {other[differs]:%-d %B}.",
            expected="dates such as 2020-01-31 (year, month, day)",
        )


def _with_fraction(form: str, times: pl.Series) -> str:
    """The format that writes what was read: fractions of a second only where there are some."""
    whole = bool((times.dt.microsecond().fill_null(0) == 0).all())
    return _MONTHS.get(form, form).replace("%.f", "" if whole else ".%f")


def _shown(form: str) -> str:
    parts = {"%Y": "2020", "%m": "01", "%d": "31", "%H": "23", "%M": "59", "%S": "00", "%b": "Jan", "%B": "January"}
    for token, text in itertools.chain(parts.items(), (("%I", "11"), ("%p", "PM"), ("%q", "1"), ("%f", "5"))):
        form = form.replace(token, text)
    return f'"{form}"'


def _require_most(known: NDArray[np.bool_], values: Any, what: str) -> None:
    """Stop where more than a few rows cannot be read; the few are reported row by row."""
    bad = np.flatnonzero(~known)
    if len(bad) and len(bad) > UNREAD * len(known):
        first = values[int(bad[0])]
        came = "empty" if first is None else f'"{first}"'
        raise DataError(
            f'{len(bad):,} of {len(known):,} times in "{values.name}" cannot be read; the first is {came}.',
            expected=what,
            fix="Dates are best written as 2020-01-31, times as 2020-01-31 23:59:00.",
        )
