"""Copies that are planted in flowers and ants-bees, and what `inspect` finds of them; with `time`, how long it takes.

    python -m benchmarks inspect-data
    python -m benchmarks inspect-data time [IMAGES ...]

Every image gets two copies of different kinds: one beside it, or in another class, or (ants-bees) in another part. A
pair is found where `inspect` names both in one group, and false where it names two that do not come of one image.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import DATA, scratch, versions
from benchmarks.memory import photographs
from layerwise import api
from layerwise.data.images import find_images

KINDS = ("exact", "half size", "quality 50", "mirrored", "cropped 5 %")
CHILD = """
import resource, sys, time
from layerwise import api
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
imports, start = peak(), time.perf_counter()
found = api.inspect(sys.argv[1], page=sys.argv[2] + "/page.html", exclude=sys.argv[2] + "/exclude.csv")
took = time.perf_counter() - start
print(f"{took:.1f} s, peak {peak():,} MB, imports alone {imports:,} MB", end=", ")
print(sorted(each["kind"] for each in found["findings"]))
"""


def copied(source: Path, target: Path, kind: str, chance: random.Random) -> None:
    """Write one copy."""
    if kind == "exact":
        shutil.copyfile(source, target)
        return
    with Image.open(source) as file:
        image = file.convert("RGB")
    width, height = image.size
    if kind == "half size":
        image = image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    elif kind == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif kind == "cropped 5 %":
        across, down = width // 20, height // 20
        left, top = chance.choice([(across, down), (across // 2, down // 2), (0, 0), (across, 0)])
        right, bottom = (across, down) if (left, top) == (across, down) else (across - left, down - top)
        image = image.crop((left, top, width - right, height - bottom))
    image.save(target, quality=50 if kind == "quality 50" else 90)


def plant(root: Path, chance: random.Random) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Plants copies below `root`; gives path -> its origin, and (original, copy, kind) of each."""
    originals = sorted(root.rglob("*.jpg"))
    folders = sorted({file.parent for file in originals})
    origin = {str(file.relative_to(root)): str(file.relative_to(root)) for file in originals}
    planted = []
    for number, file in enumerate(originals):
        for turn in (0, 2):
            kind = KINDS[(number + turn) % len(KINDS)]
            place = file.parent if chance.random() < 0.5 else chance.choice(folders)
            target = place / f"{chance.getrandbits(48):012x}.jpg"
            copied(file, target, kind, chance)
            name, path = str(file.relative_to(root)), str(target.relative_to(root))
            origin[path] = name
            planted.append((name, path, kind))
    return origin, planted


def pairs_of(findings: list[dict[str, Any]], suffix: str = "") -> set[frozenset[str]]:
    """All pairs that findings on copies name together; of exact copies one stands for all in a group of near ones.

    `suffix` takes only those whose kind ends so.
    """
    same: dict[str, set[str]] = {}
    for each in findings:
        for group in each["groups"] if each["kind"].startswith("copies") else []:
            for path in group:
                same.setdefault(path, set()).update(group)
    pairs = set()
    for each in findings:
        for group in each["groups"] if "copies" in each["kind"] and each["kind"].endswith(suffix) else []:
            whole = set[str]().union(*(same.get(path, {path}) for path in group))
            pairs |= {frozenset(pair) for pair in itertools.combinations(sorted(whole), 2)}
    return pairs


def measured(name: str, place: Path) -> tuple[int, int]:
    """Prints the figures of one set; reported and false pairs."""
    root = place / name
    shutil.copytree(DATA / name, root, copy_function=shutil.copyfile)
    for folder in (root, *root.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    before, classes = pairs_of(api.inspect(root)["findings"]), find_images(root).classes
    origin, planted = plant(root, random.Random(0))
    found = api.inspect(root)
    pairs = pairs_of(found["findings"])
    print(f"{name}: {len(planted):,} planted, {len(pairs):,} pairs reported, {len(before)} of them before planting")
    total = Counter(kind for _, _, kind in planted)
    hit = Counter(kind for first, second, kind in planted if frozenset((first, second)) in pairs)
    for kind in KINDS:
        print(f"  {kind:<12} {hit[kind]:5} of {total[kind]:5}  {hit[kind] / total[kind]:.4f}")
    for suffix, place_of in (
        ("labels", lambda path: Path(path).parts[-2]),
        ("parts", lambda path: Path(path).parts[0]),
    ):
        told = pairs_of(found["findings"], suffix)
        across = [frozenset(each[:2]) for each in planted if place_of(each[0]) != place_of(each[1])]
        if suffix == "labels" or name == "ants-bees":
            print(f"  across {suffix}: {sum(pair in told for pair in across)} of {len(across)} named as such")
    false = [pair for pair in pairs - before if len({origin[path] for path in pair}) > 1]
    for pair in false:
        print(f"  not planted: {' = '.join(sorted(pair))}")
    print(f"  false pairs {len(false)} of {len(pairs)}: {len(false) / max(1, len(pairs)):.4f}")
    after = find_images(root)
    shifted = sum(Path(path).parts[-2] != label for path, label in after.table.select("path", "label").iter_rows())
    print(f"  labels shifted: {shifted + (after.classes != classes)}")
    return len(pairs), len(false)


def named(place: Path) -> None:
    """Whether folders that are at fault are named: of one class, of one image, and empty."""
    for fault, folders in (
        ("one class", {"only": 12}),
        ("one image", {"many": 12, "other": 12, "single": 1}),
        ("an empty folder", {"many": 12, "other": 12, "nothing": 0}),
    ):
        root = place / fault
        files = iter(sorted((DATA / "flowers" / "roses").iterdir()))
        for folder, count in folders.items():
            (root / folder).mkdir(parents=True)
            for file in itertools.islice(files, count):
                shutil.copyfile(file, root / folder / file.name)
        found = api.inspect(root)
        last = list(folders)[-1]
        said = [each for each in found["findings"] if f'"{last}"' in each["message"]]
        print(f"{fault}: {', '.join(each['kind'] for each in said) or 'NOT NAMED'}")


def timed(count: int) -> None:
    """Seconds and memory of the whole, with page and list, in a fresh process and with a fresh cache."""
    with scratch() as place:
        photographs(place / "data", count)
        command = [sys.executable, "-c", CHILD, str(place / "data"), str(place)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"LAYERWISE_CACHE": str(place / "cache")},
        )
    print(f"{count:6,} images of 256 pixels: {done.stdout.strip()}", flush=True)


def main(words: list[str]) -> None:
    print(versions("pillow"))
    if words[:1] == ["time"]:
        for count in map(int, words[1:] or ["2000", "10000"]):
            timed(count)
        return
    with scratch() as place:
        found = [measured(name, place) for name in ("flowers", "ants-bees")]
        reported, false = (sum(column) for column in zip(*found, strict=True))
        print(f"both: {false} false of {reported:,} pairs, {false / reported:.4f}")
        named(place)
