"""What `inspect` says of single images: blank ones, odd shapes, and forms that give the class away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from layerwise.data.headers import Header
from layerwise.data.images import ImageSource
from layerwise.data.pixels import PixelStore
from layerwise.data.rows import counted
from layerwise.tasks.inspection import Finding
from layerwise.tasks.label_findings import singles

_BLANK = 2.0  # deviation of every channel in grey levels, up to which an image shows nothing
_PORTION = 128  # images looked at together
_LONG = 3.0  # times as long as wide, from which on a square of it leaves most out
_TINY = 32  # pixels of the shorter side, from which a photograph can be told
_SHOWN = 10  # sizes that are listed
_TELLS, _OTHERS, _LEAST = 0.99, 0.01, 20  # share of a class, of all others, and images of it at least


def blank_images(table: pl.DataFrame, store: PixelStore) -> list[Finding]:
    """Images of a single colour."""
    usable = table.filter(pl.col("problem").is_null())["id"].to_numpy().astype(np.int64)
    blank: list[int] = []
    for start in range(0, len(usable), _PORTION):
        rows = usable[start : start + _PORTION]
        spread = store.read(rows).flatten(1, 2).float().std(1).amax(1)  # (B,)
        blank += rows[(spread <= _BLANK).numpy()].tolist()
    if not blank:
        return []
    one = len(blank) == 1
    message = (
        f"{len(blank):,} image{' shows' if one else 's show'} a single colour (such as {table['path'][blank[0]]}): "
        f"nothing can be learnt of {'it' if one else 'them'}. Leave {'it' if one else 'them'} out."
    )
    return [Finding("blank", "doubt", message, singles(blank), tuple(blank))]


def converted(table: pl.DataFrame, store: PixelStore) -> list[Finding]:
    """Images of which something was left out or turned as they were read, such as all frames but the first."""
    if not store.notes:
        return []
    rows = sorted(store.notes)
    texts = counted(text for row in rows for text in store.notes[row])
    first = f"{table['path'][rows[0]]}: {'; '.join(store.notes[rows[0]])}"
    message = f"{len(rows):,} images could not be taken as they are: {texts} (such as {first})."
    return [Finding("converted", "note", message, singles(rows))]


def form_findings(table: pl.DataFrame, headers: Sequence[Header | None]) -> list[Finding]:
    """Odd shapes and sizes, and forms that tell the class.

    Args:
        table: a row an image, row = id.
        headers: of its files; empty for arrays.
    """
    good = table["problem"].is_null().to_list()
    known = {row: header for row, header in enumerate(headers) if header is not None and good[row]}
    long = [row for row, each in known.items() if max(each.width, each.height) >= _LONG * min(each.width, each.height)]
    tiny = [row for row, each in known.items() if min(each.width, each.height) < _TINY]
    found = []
    if long and len(long) < len(known):
        message = (
            f"{len(long):,} of {len(known):,} images are {_LONG:g} times as long as wide or more (such as "
            f'{_sized(table, known, long[0])}): a square from the middle leaves most out. Try data.resize="pad".'
        )
        found.append(Finding("long", "doubt", message, singles(long)))
    if tiny and len(tiny) <= len(known) // 2:
        message = (
            f"{len(tiny):,} of {len(known):,} images are smaller than {_TINY} pixels (such as "
            f"{_sized(table, known, tiny[0])}), and the others are not: they are blown up, and may be thumbnails."
        )
        found.append(Finding("tiny-images", "doubt", message, singles(tiny)))
    return found + _telling(table, known)


def _sized(table: pl.DataFrame, known: dict[int, Header], row: int) -> str:
    return f"{table['path'][row]}, {known[row].width} x {known[row].height}"


def _telling(table: pl.DataFrame, known: dict[int, Header]) -> list[Finding]:
    """Sizes, colours and formats that nearly all images of a class have, and nearly none of the others."""
    labels = table["label"].to_list()
    totals = Counter(labels[row] for row in known)
    found = []
    for name, values in (
        ("size", {row: f"{each.width} x {each.height} pixels" for row, each in known.items()}),
        ("colours", {row: each.colours for row, each in known.items()}),
        ("format", {row: each.form for row, each in known.items()}),
    ):
        both = Counter((labels[row], value) for row, value in values.items())
        every = Counter(values.values())
        told = [
            f'"{label}" ({value})'
            for (label, value), count in sorted(both.items(), key=lambda pair: (-pair[1], str(pair[0])))
            if label is not None
            and _LEAST <= totals[label] < len(known)
            and count >= _TELLS * totals[label]
            and every[value] - count <= _OTHERS * (len(known) - totals[label])
        ]
        if told:
            message = (
                f"The {name} of an image tells its class: {', '.join(told[:5])}{' and more' if len(told) > 5 else ''}. "
                f"A network may learn the {name} instead of what is shown; bring all images to one form."
            )
            found.append(Finding(f"{name}-tells-class", "doubt", message))
    return found


def facts(headers: Sequence[Header | None], source: ImageSource, store: PixelStore) -> dict[str, dict[str, float]]:
    """Sizes, colours, formats and shapes, counted; of arrays their one size."""
    if source.arrays is not None:
        _, height, width, channels = source.arrays.shape
        return {
            "sizes": {f"{width} x {height}": len(source)},
            "colours": {"grey" if channels == 1 else "colour": len(source)},
        }
    known = [each for row, each in enumerate(headers) if each is not None and row not in store.problems]
    sizes = Counter(f"{each.width} x {each.height}" for each in known)
    listed: dict[str, float] = dict(sizes.most_common(_SHOWN))
    others = {f"{len(sizes) - _SHOWN:,} other sizes": sum(sizes.values()) - sum(listed.values())}
    return {
        "sizes": listed | (others if len(sizes) > _SHOWN else {}),
        "colours": dict(Counter(each.colours for each in known).most_common()),
        "formats": dict(Counter(each.form for each in known).most_common()),
        "shorter side in pixels": _spread([min(each.width, each.height) for each in known]),
        "width by height": _spread([each.width / each.height for each in known]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "smallest": round(min(values), 2),
        "median": round(float(np.median(values)), 2),
        "largest": round(max(values), 2),
    }
