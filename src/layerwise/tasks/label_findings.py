"""What `inspect` says of labels, of parts and of rows that cannot be used: the same for all kinds of examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from layerwise.data.rows import alike_names, counted, quoted
from layerwise.tasks.inspection import Finding

_TINY = 10  # distinct examples of a class, below which a figure of it says next to nothing
_UNEVEN = 3.0  # times as many examples in one class as in another, from which on accuracy hides the rare one
_SHOWN = 5  # names in a message
_WEIGHTS = ("wrong", "doubt", "note")
_USABLE = pl.col("problem").is_null()


def label_findings(table: pl.DataFrame, classes: Sequence[str], what: str) -> list[Finding]:
    """What is odd about the classes: only one, none of its own, in one part only, tiny, uneven, or named alike.

    Args:
        table: a row an example, row = id: path, label or null, split as given ("train", "valid", "test") or null, hash,
            problem or null.
        classes: all names, also those without an example.
        what: people call an example, in the plural.

    Example:
        >>> rows = [(n, f"{n}.txt", "only", None, f"hash{n}", None) for n in range(20)]
        >>> table = pl.DataFrame(rows, schema=["id", "path", "label", "split", "hash", "problem"], orient="row")
        >>> [(each.kind, each.weight) for each in label_findings(table, ["only"], "texts")]
        [('one-class', 'wrong')]
    """
    usable = table.filter(_USABLE & pl.col("label").is_not_null())
    if usable.is_empty():
        return []
    counts = class_counts(table, classes)
    found = _one_class(usable, what)
    found += _empty(counts, what)
    found += _untrained(usable, what)
    found += _unjudged(usable, what)
    found += _alike(usable, classes)
    found += _tiny(usable, what)
    return found + _uneven(usable, what)


def class_counts(table: pl.DataFrame, classes: Sequence[str]) -> dict[str, int]:
    """Name -> usable examples, in the order of `classes`."""
    counts = dict(table.filter(_USABLE).group_by("label").len().iter_rows())
    return {name: counts.get(name, 0) for name in classes}


def part_counts(table: pl.DataFrame, held_out: str) -> dict[str, int]:
    """The user's own parts, name -> examples.

    Args:
        table: with the column split.
        held_out: what the test part is called.
    """
    counts = dict(table.filter(pl.col("split").is_not_null()).group_by("split").len().iter_rows())
    return {held_out if part == "test" else part: counts[part] for part in ("train", "valid", "test") if part in counts}


def unusable(table: pl.DataFrame, what: str) -> list[Finding]:
    """Rows that cannot be used, with their reasons; `train` leaves them out by itself."""
    bad = table.filter(~_USABLE)
    if bad.is_empty():
        return []
    first = f"{bad['path'][0]}: {bad['problem'][0]}"
    message = (
        f"{bad.height:,} of {table.height:,} {what} cannot be used and are left out: {counted(bad['problem'])} "
        f"(the first is {first}). Mend them if they matter."
    )
    return [Finding("unusable", "doubt", message, singles(bad["id"]))]


def singles(rows: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    """Rows that do not belong together: groups of one."""
    return tuple((int(row),) for row in rows)


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by their weight; those of one weight stay in their order."""
    return tuple(sorted(findings, key=lambda each: _WEIGHTS.index(each.weight)))


def named(names: Sequence[str]) -> str:
    """Names in quotes, the first five of them.

    Example:
        >>> named(["a", "b"])
        '"a", "b"'
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f'"{name}"' for name in names[:_SHOWN]) + more


def _one_class(usable: pl.DataFrame, what: str) -> list[Finding]:
    trained = usable.filter(pl.col("split") == "train")
    for some, where in ((usable, ""), (trained, " of the train part")):
        labels = some["label"].unique().to_list()
        if len(labels) == 1:
            message = (
                f'All {some.height:,} usable {what}{where} have the label "{labels[0]}": there is nothing to tell '
                "apart. Add another class, or name the right column of labels."
            )
            return [Finding("one-class", "wrong", message)]
    return []


def _empty(counts: Mapping[str, int], what: str) -> list[Finding]:
    names = [name for name, count in counts.items() if not count]
    if not names:
        return []
    message = f"{_classes(names)} {_has(names)} no usable {what}: fill or remove {_it(names)}."
    return [Finding("empty-class", "wrong", message)]


def _untrained(usable: pl.DataFrame, what: str) -> list[Finding]:
    """Labels that are only in a held-out part."""
    if "train" not in usable["split"]:
        return []
    free = usable.filter(pl.col("split").fill_null("train") == "train")
    lost = usable.join(free.select("label").unique(), on="label", how="anti").sort("id")
    if lost.is_empty():
        return []
    names = lost["label"].unique(maintain_order=True).to_list()
    message = (
        f"{_classes(names)} {_has(names)} {lost.height:,} held-out {what} (such as {lost['path'][0]}) and none in "
        f"train: {_it(names)} can never be predicted. Move some to train, or leave {_it(names)} out."
    )
    return [Finding("label-only-held-out", "wrong", message, singles(lost["id"]), tuple(lost["id"].to_list()))]


def _unjudged(usable: pl.DataFrame, what: str) -> list[Finding]:
    """Labels that the reported part does not have."""
    held = usable.filter(pl.col("split") == "test")
    if held.is_empty():
        return []
    trained = usable.filter(pl.col("split").fill_null("train") == "train")
    names = trained.join(held, on="label", how="anti")["label"].unique().sort().to_list()
    if not names:
        return []
    message = f"{_classes(names)} {_has(names)} no {what} in the held-out part: figures say nothing of {_it(names)}."
    return [Finding("label-not-held-out", "note", message)]


def _alike(usable: pl.DataFrame, classes: Sequence[str]) -> list[Finding]:
    groups = alike_names(classes)
    if not groups:
        return []
    first = dict(usable.group_by("label").agg(pl.col("id").min()).iter_rows())
    rows = tuple(tuple(sorted(first[name] for name in names if name in first)) for names in groups)
    shown = "; ".join(", ".join(quoted(name) for name in names) for names in groups[:_SHOWN])
    message = (
        f"Names of classes differ only by case, outer spaces or Unicode form: {shown}. They are kept apart as if they "
        "meant different things; give them one name if they do not."
    )
    return [Finding("labels-alike", "doubt", message, tuple(group for group in rows if group))]


def _tiny(usable: pl.DataFrame, what: str) -> list[Finding]:
    """Classes of few distinct examples, in train where a train part is given."""
    parted = "train" in usable["split"]
    some = usable.filter(pl.col("split").fill_null("train") == "train") if parted else usable
    counts = some.group_by("label").agg(count=pl.col("hash").n_unique(), rows=pl.col("id").sort())
    small = counts.filter(pl.col("count") < _TINY).sort("count", "label")
    if small.is_empty() or counts.height < 2:
        return []
    shown = ", ".join(
        f'"{label}" ({count})' for label, count in small.head(_SHOWN).select("label", "count").iter_rows()
    )
    more = f" and {small.height - _SHOWN} more" if small.height > _SHOWN else ""
    where = " in train" if parted else ""
    least = int(small["count"].min())  # type: ignore[arg-type]  # of integers
    message = (
        f"{small.height:,} of {counts.height:,} classes have fewer than {_TINY} distinct {what}{where}: {shown}{more}. "
        f"Little can be learnt of them{'' if least >= 3 or parted else ', and fewer than 3 cannot be in all parts'}; "
        "add examples, or join classes."
    )
    return [Finding("tiny-class", "doubt", message, tuple(tuple(rows) for rows in small["rows"].to_list()))]


def _uneven(usable: pl.DataFrame, what: str) -> list[Finding]:
    some = usable.filter(pl.col("split") == "train")
    counts = (some if some.height else usable).group_by("label").len().sort("len", "label")
    if counts.height < 2 or counts["len"][-1] <= _UNEVEN * counts["len"][0]:
        return []
    (least, few), (most, many) = counts.row(0), counts.row(-1)
    message = (
        f'"{most}" has {many / few:.1f} times as many {what} as "{least}" ({many:,} and {few:,}): accuracy hides how '
        "the rare class fares. Look at macro F1, and try balance=true."
    )
    return [Finding("imbalance", "note", message)]


def _classes(names: Sequence[str]) -> str:
    return f"The class{'es' if len(names) > 1 else ''} {named(names)}"


def _has(names: Sequence[str]) -> str:
    return "have" if len(names) > 1 else "has"


def _it(names: Sequence[str]) -> str:
    return "them" if len(names) > 1 else "it"
