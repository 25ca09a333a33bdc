"""What counts as the same picture: copies are found, look-alikes and blank images are not."""

from __future__ import annotations

import contextlib
import gc
import io
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerwise.data import likeness, near_search, scratch
from layerwise.data.alignment import fit
from layerwise.data.likeness import bursts, near_copies
from layerwise_tests import images

Read = Callable[[np.ndarray], torch.Tensor]


def reader(pixels: np.ndarray) -> Read:
    return lambda rows: torch.from_numpy(pixels[rows])


def photograph(seed: int, side: int = 256) -> Image.Image:
    """Blobs of all sizes, as in a photograph: strong large ones, weak small ones."""
    draw = np.random.default_rng(seed)
    total = np.zeros((side, side, 3), np.float64)
    for cells, strength in ((4, 60.0), (8, 40.0), (16, 25.0), (32, 15.0), (64, 8.0)):
        small = draw.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        layers = [
            Image.fromarray(small[:, :, each]).resize((side, side), Image.Resampling.BICUBIC) for each in range(3)
        ]
        total += np.stack([np.asarray(layer) for layer in layers], -1)
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))


def look(image: Image.Image, side: int = 64) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact": lambda image: image,
    "half size": lambda image: image.resize((128, 128), Image.Resampling.BICUBIC),
    "quality 50": lambda image: compressed(image, 50),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped on all sides": lambda image: image.crop((13, 13, 243, 243)),
    "cropped at a corner": lambda image: image.crop((0, 0, 243, 243)),
}


@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_kind_of_copy_is_found_and_nothing_else(change: Callable[[Image.Image], Image.Image], side: int) -> None:
    originals = [photograph(seed) for seed in range(12)]
    pixels = np.stack([look(image, side) for image in [*originals, *map(change, originals)]])
    assert near_copies(reader(pixels), np.arange(24)) == tuple((row, row + 12) for row in range(12))


def test_only_the_given_rows_are_compared() -> None:
    pixels = np.stack([look(photograph(seed)) for seed in (0, 1, 0, 1, 2)])
    assert near_copies(reader(pixels), np.array([0, 1, 3])) == ((1, 3),)
    assert near_copies(reader(pixels), np.array([4])) == ()


def test_grey_images_are_compared_too() -> None:
    grey = np.stack([look(photograph(seed)).mean(-1).astype(np.uint8) for seed in range(6)])[..., None]
    pixels = np.concatenate((grey, grey[:, :, ::-1]))
    assert near_copies(reader(pixels), np.arange(12)) == tuple((row, row + 6) for row in range(6))


def test_blank_images_are_never_copies_of_each_other() -> None:
    pixels = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (0, 0, 200, 200, 201)])
    assert near_copies(reader(pixels), np.arange(5)) == ()


@pytest.mark.parametrize("side", [24, 32, 64])
def test_drawings_of_one_kind_are_not_copies(side: int) -> None:
    pixels, _ = images.arrays(40, side)
    assert near_copies(reader(pixels), np.arange(len(pixels))) == ()


def test_the_same_shape_in_another_colour_is_no_copy() -> None:
    shape = look(photograph(3)).astype(np.float64)
    red, blue = shape * (1.0, 0.3, 0.3), shape * (0.3, 0.3, 1.0)
    pixels = np.stack([red, blue]).astype(np.uint8)
    assert near_copies(reader(pixels), np.arange(2)) == ()


def test_a_picture_that_differs_in_one_place_is_no_copy() -> None:
    one = look(photograph(4))
    other = one.copy()
    other[20:32, 20:32] = 255 - other[20:32, 20:32]
    assert near_copies(reader(np.stack([one, other])), np.arange(2)) == ()


def test_a_slow_pan_does_not_become_one_group() -> None:
    wide = photograph(5, 512)
    pixels = np.stack([look(wide.crop((left, 0, left + 256, 256))) for left in range(0, 160, 8)])
    groups = near_copies(reader(pixels), np.arange(len(pixels)))
    assert groups and max(group[-1] - group[0] for group in groups) <= 8
    assert len({row for group in groups for row in group}) == sum(map(len, groups))


def test_many_exact_copies_are_one_group_and_bring_their_near_ones() -> None:
    one, other = photograph(6), photograph(7)
    pixels = np.stack([look(one)] * 30 + [look(CHANGES["mirrored"](one)), look(other)])
    assert near_copies(reader(pixels), np.arange(32)) == (tuple(range(31)),)


def test_beyond_the_cap_only_exact_copies_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "MOST", 3)
    image = photograph(8)
    pixels = np.stack([look(image), look(CHANGES["mirrored"](image)), look(image), look(photograph(9))])
    assert near_copies(reader(pixels), np.arange(4)) == ((0, 2),)


def tensor_bytes() -> int:
    """Bytes of all tensors that live."""
    found: dict[int, int] = {}
    for each in gc.get_objects():
        if type(each) is torch.Tensor:
            with contextlib.suppress(RuntimeError):  # those that tracing leaves behind hold nothing
                found[each.data_ptr()] = each.untyped_storage().nbytes()
    return sum(found.values())


def most_held(pixels: np.ndarray, count: int) -> int:
    """Bytes of tensors and of Python's and NumPy's own that live whenever pixels are read, at most."""
    held = [0]

    def read(rows: np.ndarray) -> torch.Tensor:
        held.append(tensor_bytes() + tracemalloc.get_traced_memory()[0])
        return torch.from_numpy(pixels[rows])

    gc.collect()
    tracemalloc.start()
    try:
        near_copies(read, np.arange(count))
    finally:
        tracemalloc.stop()
    return max(held)


def test_memory_hardly_grows_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_HELD", 1)
    monkeypatch.setattr(near_search, "_BYTES", 2**21)
    low = np.random.default_rng(0).integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    pixels = np.stack([look(Image.fromarray(each)) for each in low])
    pixels[1::50] = pixels[::50, :, ::-1]  # some pairs to check, at the end
    few, many = most_held(pixels, 60), most_held(pixels, 240)
    assert (many - few) / 180 < 700  # bytes an image; a small picture in four forms alone takes 4,096


@pytest.mark.parametrize("most", [0, 10**6])
def test_the_best_candidates_do_not_depend_on_how_many_are_gathered(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(near_search, "_WAITING", most)
    monkeypatch.setattr(near_search, "_ROWS", 8)
    monkeypatch.setattr(near_search, "_COLUMNS", 16)
    monkeypatch.setattr(near_search, "_SIEVE", {True: 0.9})
    pixels, _ = images.arrays(30, 32)
    with ExitStack() as stack:
        small = near_search.shrink(reader(pixels), np.arange(30), stack)
        found = near_search.candidates(small)
        every = list(near_search._search(small))
    best: dict[tuple[int, int], tuple[float, int, int, int]] = {}
    flat = [each for pairs in every for each in zip(*(column.tolist() for column in vars(pairs).values()), strict=True)]
    for first, second, form, mirrored, left in sorted(flat, key=lambda each: each[-1]):
        best.setdefault((min(first, second), max(first, second)), (left, first, second, form, mirrored))
    wanted = list(best.values())[: 2 * len(small.rows)]
    columns = (found.left, found.first, found.second, found.form, found.mirrored)
    assert len(flat) > len(wanted) > 20
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == wanted


def test_bursts_follow_running_numbers_in_order_and_not_content_alone() -> None:
    wide = photograph(10, 512)
    frames = [look(wide.crop((left, 0, left + 256, 256))) for left in (0, 8, 16)]
    pixels = np.stack([frames[2], frames[0], frames[1], look(photograph(11)), frames[0]])
    paths = ["a/img_12.jpg", "a/img_10.jpg", "a/img_11.jpg", "a/img_13.jpg", "b/img_9.jpg"]
    assert bursts(paths, reader(pixels), np.arange(5)) == ((1, 2, 0),)
    assert bursts(["x", "y", "z", "v", "w"], reader(pixels), np.arange(5)) == ()


def test_alignment_finds_a_crop_and_tells_a_stranger() -> None:
    image = photograph(12)
    views = [
        torch.from_numpy(look(each).copy()).permute(2, 0, 1).float() for each in (image, image.crop((13, 13, 243, 243)))
    ]
    stranger = torch.from_numpy(look(photograph(13)).copy()).permute(2, 0, 1).float()
    found = fit(torch.stack([views[0]] * 2), torch.stack([views[1], stranger]), torch.zeros(2), slack=0.2)
    assert found.worst[0] < 1.5 and found.worst[1] > 5 and found.share[0] < 0.1 and not found.plain.any()


@pytest.mark.slow
def test_fashion_is_hardly_ever_taken_for_copies(shared_data: Path) -> None:
    from layerwise.data.images import find_images

    source = find_images(shared_data / "fashion-mnist")
    assert source.arrays is not None
    groups = near_copies(reader(source.arrays), np.arange(3000))
    assert sum(map(len, groups)) <= 15
