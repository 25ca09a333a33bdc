"""Images in folders: a folder per class, with or without train/, val/ and test/ above."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from layerwise.data.files import OTHER_SUFFIXES, READ, SUFFIXES
from layerwise.data.rows import Rows, part_of, printable
from layerwise.errors import DataError

_IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
_LAYOUT = "a folder per class with images in it, alone or below train/, val/ and test/"


@dataclass
class Listing:
    """One folder: its folders and images by name, and what was passed over."""

    folders: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unreadable: str | None = None


def list_folder(folder: str) -> Listing:
    """List one folder; hidden files and what operating systems leave behind do not count.

    A file is an image by its suffix: whether it can be read is found out by decoding it.
    """
    listing = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith(".") and entry.name.casefold() not in _IGNORED:
                    _place(entry, listing)
    except OSError as error:
        listing.unreadable = error.strerror or str(error)
    return listing


def _place(entry: os.DirEntry[str], listing: Listing) -> None:
    suffix = os.path.splitext(entry.name)[1].lower()
    try:
        is_folder = entry.is_dir()
    except OSError:  # a symlink that leads in a circle
        is_folder = False
    if is_folder:
        listing.folders.append(entry.path)
    elif suffix in SUFFIXES or suffix in OTHER_SUFFIXES:
        listing.images.append(entry.path)
    else:
        listing.others.append(suffix or "no suffix")


def read_folder(root: Path, *, labelled: bool) -> Rows:
    """All images below a folder.

    Raises:
        DataError: the folder cannot be listed, or its layout gives no labels where labels are needed.
    """
    top = list_folder(str(root))
    if top.unreadable:
        raise DataError(f"{root} cannot be listed: {top.unreadable}.", fix="Check its permissions.")
    rows = Rows(root=root)
    others: Counter[str] = Counter(top.others)
    loose: list[tuple[str, str | None]] = [(file, None) for file in top.images]
    if parts := _parts(top):
        _read_parts(rows, top, parts, others)
    elif parts := _parts_without_classes(top):
        if labelled:
            raise DataError(
                f"{root} has images in {', '.join(map(_base, parts))} but no class folders.", expected=_LAYOUT
            )
        loose += [(file, part) for folder, part in parts.items() for file in list_folder(folder).images]
    elif any(_holds_images(folder) for folder in top.folders):
        _read_classes(rows, top, None, others)
        if labelled and top.images:
            rows.notes.append(_loose(top.images, "beside the class folders"))
    if not labelled:
        for file, part in loose:
            rows.add(file, label=None, part=part)
    if not rows.files:
        raise DataError(f"{root} has {_found(top)}.", expected=_LAYOUT, fix=_advice(top))
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        rows.notes.append(f"{sum(others.values())} files that are not images were passed over ({listed}).")
    return rows


def _parts(top: Listing) -> dict[str, str]:
    """Folder -> part, where the folders are train/, val/, test/ rather than classes that happen to bear such names."""
    parts = {folder: part for folder in top.folders if (part := part_of(os.path.basename(folder)))}
    inner = {folder: list_folder(folder) for folder in parts}
    with_classes = {part for folder, part in parts.items() if any(_holds_images(sub) for sub in inner[folder].folders)}
    if "train" in with_classes or (with_classes and len(parts) == len(top.folders)):
        return parts
    return {}


def _parts_without_classes(top: Listing) -> dict[str, str]:
    """Folder -> part where every folder is called train, val or test and holds images itself: no labels anywhere."""
    parts = {folder: part for folder in top.folders if (part := part_of(_base(folder)))}
    return parts if len(parts) == len(top.folders) and any(map(_holds_images, parts)) else {}


def _base(folder: str) -> str:
    return printable(os.path.basename(folder))


def _holds_images(folder: str) -> bool:
    return any(images for images in _walk(folder, Counter(), []))


def _walk(folder: str, others: Counter[str], notes: list[str]) -> Iterator[list[str]]:
    """The images of a folder and of all below it; a folder is entered once, links or not."""
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop(0)
        try:
            facts = os.stat(here)
        except OSError as error:
            notes.append(f"{printable(here)} cannot be read ({error.strerror}): its images are missing here.")
            continue
        inside = os.path.realpath(os.path.dirname(here)) + os.sep
        circle = os.path.islink(here) and inside.startswith(os.path.realpath(here) + os.sep)
        if circle or (facts.st_dev, facts.st_ino) in entered:
            notes.append(f"{printable(here)} leads to a folder that was read already; it is passed over.")
            continue
        entered.add((facts.st_dev, facts.st_ino))
        listing = list_folder(here)
        if listing.unreadable:
            notes.append(f"{printable(here)} cannot be read ({listing.unreadable}): its images are missing here.")
        others.update(listing.others)
        waiting += listing.folders
        yield listing.images


def _read_parts(rows: Rows, top: Listing, parts: dict[str, str], others: Counter[str]) -> None:
    for folder, part in parts.items():
        listing = list_folder(folder)
        others.update(listing.others)
        _read_classes(rows, listing, part, others)
        if listing.images:  # an unlabelled test part, as in many competitions
            rows.notes.append(_loose(listing.images, f"in {_base(folder)}/, outside any class folder"))
    if extra := [_base(folder) for folder in top.folders if folder not in parts]:
        rows.notes.append(f"Beside the given parts, these folders were passed over: {', '.join(extra[:5])}.")
    if top.images:
        rows.notes.append(_loose(top.images, "beside the given parts"))


def _read_classes(rows: Rows, listing: Listing, part: str | None, others: Counter[str]) -> None:
    for folder in listing.folders:
        label = _base(folder)
        before = len(rows.files)
        for images in _walk(folder, others, rows.notes):
            for file in images:
                rows.add(file, label=label, part=part)
        if len(rows.files) == before:
            rows.empty.append(label)
            rows.notes.append(f'The class folder "{label}"{f" of {part}" if part else ""} has no image in it.')


def _loose(images: list[str], where: str) -> str:
    example = _base(images[0])
    return f"{len(images)} images {where} have no label and were passed over (the first: {example})."


def _found(top: Listing) -> str:
    if top.images:
        return f"{len(top.images)} images but no folder of images in it, so none has a label"
    if top.folders:
        names = ", ".join(_base(folder) for folder in top.folders[:5])
        return f"{len(top.folders)} folders ({names}{', ...' if len(top.folders) > 5 else ''}) and no image in them"
    if top.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in Counter(top.others).most_common(5))
        return f"no image in it, but other files ({kinds})"
    return "nothing in it"


def _advice(top: Listing) -> str:
    if top.images:
        return (
            "Sort the images into a folder per class, or give a table of paths and labels (CSV); or train a network "
            "that needs no labels, with --task vae or --task gan."
        )
    return f"Check the path; read are {READ}."
