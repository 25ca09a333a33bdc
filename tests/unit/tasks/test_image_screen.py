"""Screening: what it sees, what it keeps, and how it goes on where something fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from layerwise import api
from layerwise.console import Silent
from layerwise.errors import DataError, TrainingError, UsageError
from layerwise.frozen import infer
from layerwise.models import MODELS, build_model, find_model
from layerwise.tasks import image_data, image_sample, image_screen
from layerwise.tasks.image_data import ids_of
from layerwise.tasks.image_screen import COST, Screened, Screening, Skipped, screen
from layerwise_tests import images

SMALL: dict[str, Any] = {"device": "cpu", "precision": "float32", "data": {"size": 64, "resize": "squash"}}
LITE0 = "efficientnet_lite0"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return images.arrays(12, side=32)


def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all batches that any engine in PyTorch is run on."""
    seen: list[int] = []
    real = infer._TorchRun.__call__

    def counted(self: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(infer._TorchRun, "__call__", counted)
    return seen


def result(name: str, accuracy: float, low: float, seconds: float) -> Screened:
    return Screened(name, accuracy, low, 1.0, 0.1, seconds, 1.0, 1, "torch", 0)


def test_a_network_is_judged_and_what_cannot_be_loaded_is_skipped(data: Any) -> None:
    found = screen(data, SMALL, [LITE0, "vgg16", "inception_v3"], Silent())
    assert [each.name for each in found.results] == [LITE0]
    best = found.best
    assert best.accuracy > 0.8 and best.low < best.accuracy <= best.high and 0 < best.log_loss < 0.6
    assert best.seconds_per_image > 0 and best.megabytes == pytest.approx(13.7, abs=0.2)
    assert best.parameters == find_model(LITE0).parameters - 7 * 1281  # three classes, not ten
    assert {each.name: each.reason.split(".")[0] for each in found.skipped} == {
        "vgg16": 'There are no pretrained weights for "vgg16": they are not in the cache, and HF_HUB_OFFLINE forbids '
        "the network",
        "inception_v3": '"inception_v3" was asked for images of 64 x 64 pixels',
    }


def test_a_second_screen_computes_no_features_and_finds_the_same(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = screen(data, SMALL, [LITE0], Silent()).best
    seen = count(monkeypatch)
    second = screen(data, SMALL, [LITE0], Silent()).best
    assert (first.computed, second.computed) == (33, 0)
    assert sum(seen) <= 2 + 32, "more than the one batch that is timed"
    assert (second.accuracy, second.log_loss) == (first.accuracy, first.log_loss)


def test_a_stopped_screen_goes_on_with_what_is_missing(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = image_screen.keep

    def stopped(shelves: Any, hashes: Any, views: Any, ids: Any, numbers: Any, *rest: Any) -> int:
        real(shelves, hashes, views, ids[:20], numbers[:20], *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(image_screen, "keep", stopped)
    with pytest.raises(KeyboardInterrupt):
        screen(data, SMALL, [LITE0], Silent())
    monkeypatch.setattr(image_screen, "keep", real)
    assert screen(data, SMALL, [LITE0], Silent()).best.computed == 13


def test_training_finds_what_screening_has_kept(data: Any, tmp_path: Path) -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    screen(data, SMALL, [LITE0], Silent())
    heard = Heard()
    values = {**SMALL, "model": LITE0, "thaw": "none", "augment": {"flip": False}}
    api.run_training(data, values, None, tmp_path / "run", heard)
    # What will be reported on, which screening never sees.
    assert any("one pass over 3 pictures first" in line for line in heard.lines), heard.lines


@pytest.mark.parametrize("seed", [0, 3])
def test_the_test_part_of_training_is_never_seen(data: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = image_screen.keep

    def heard(shelves: Any, hashes: Any, views: Any, ids: Any, *rest: Any) -> int:
        seen.extend(hashes[row] for row in ids)
        return real(shelves, hashes, views, ids, *rest)

    monkeypatch.setattr(image_screen, "keep", heard)
    found = screen(data, {**SMALL, "seed": seed}, [LITE0], Silent())
    trained = image_data.read(data, {**SMALL, "seed": seed, "model": LITE0}, Silent())
    parts = {
        part: {trained.store.hashes[row] for row in ids_of(trained.examples, part)}
        for part in ("train", "valid", "test")
    }
    assert set(seen) == parts["train"] | parts["valid"] and not set(seen) & parts["test"]
    assert (found.images, found.left_out) == (len(seen), len(parts["test"]))


def table(counts: dict[str, int], repeats: int = 1) -> pl.DataFrame:
    rows = [(label, f"{label}{number}") for label, many in counts.items() for number in range(many)] * repeats
    return pl.DataFrame(
        {
            "id": range(len(rows)),
            "label": [label for label, _ in rows],
            "hash": [content for _, content in rows],
            "split": ["valid" if number % 9 == 0 else "train" for number in range(len(rows))],
        }
    )


def test_a_large_set_is_sampled_by_class_and_by_content() -> None:
    examples = table({"a": 3000, "b": 900, "c": 100})
    pool = image_sample._pool(examples)
    rows = image_sample._spread(pool, seed=0)
    assert len(rows) == 1000 and (np.diff(rows) > 0).all()
    drawn = examples[rows]
    assert dict(drawn.group_by("label").len().iter_rows()) == {"a": 750, "b": 225, "c": 25}
    shuffled = examples.sample(fraction=1.0, shuffle=True, seed=1).with_columns(id=pl.arange(4000))
    again = image_sample._spread(image_sample._pool(shuffled), seed=0)
    assert set(shuffled[again]["hash"]) == set(drawn["hash"])
    assert set(examples[image_sample._spread(pool, seed=1)]["hash"]) != set(drawn["hash"])


def test_byte_identical_images_are_taken_once_and_never_when_one_is_reported_on() -> None:
    examples = table({"a": 10, "b": 10}, repeats=2)
    reported = pl.Series(["test" if content in ("a0", "b0") else None for content in examples["hash"]])
    examples = examples.with_columns(split=pl.when(pl.col("id") < 20).then(reported).otherwise(None).fill_null("train"))
    rows = image_sample._spread(image_sample._pool(examples), seed=0)
    assert sorted(examples[rows]["hash"]) == sorted({*examples["hash"]} - {"a0", "b0"})


def test_of_a_large_set_only_the_sample_is_decoded_for_each_network(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images.arrays(20, side=32)
    monkeypatch.setattr(image_sample, "SAMPLE", 24)
    decoded: list[int] = []
    real = image_screen.build_pixels

    def heard(source: Any, look: Any, **rest: Any) -> Any:
        decoded.append(len(source))
        return real(source, look, **rest)

    monkeypatch.setattr(image_screen, "build_pixels", heard)
    monkeypatch.setattr(image_sample, "build_pixels", heard)
    found = screen((x, y), SMALL, [LITE0], Silent())
    assert decoded == [60, 24] and found.images == 24 and found.usable == 54
    assert found.best.accuracy > 0.6  # images and labels still belong together


def test_cheap_networks_come_first_and_twice_named_ones_once(data: Any) -> None:
    found = screen(data, SMALL, ["vgg16", "resnet50", LITE0, "timm:resnet10t", "mobilenet_v2", "vgg16"], Silent())
    assert [each.name for each in found.skipped] == ["mobilenet_v2", "resnet50", "vgg16", "timm:resnet10t"]


def test_the_cost_of_every_network_of_the_table_is_known() -> None:
    assert list(COST.values()) == sorted(COST.values())
    assert set(COST) == {entry.name for entry in MODELS.values() if entry.transfer}


@pytest.mark.slow
def test_costs_are_those_of_the_networks() -> None:
    for name, cost in COST.items():
        with torch.device("meta"):
            side = find_model(name).size
            network = build_model(name, classes=10, channels=3, size=side, pretrained=False, options={}).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network(torch.zeros(1, 3, side, side))
        assert counter.get_total_flops() / 2e9 == pytest.approx(cost, rel=0.02, abs=0.006), name


def test_best_quick_and_the_front() -> None:
    rows = (
        result("slow", 0.95, 0.92, 0.9),
        result("middle", 0.93, 0.9, 0.2),
        result("wasteful", 0.92, 0.9, 0.4),
        result("cheap", 0.85, 0.8, 0.1),
    )
    found = Screening(rows, (Skipped("gone", "why"),), 100, 100, 2, 10, "test", 0)
    assert (found.best.name, found.quick.name) == ("slow", "middle")
    assert found.front == ("cheap", "middle", "slow")
    record = found.record()
    assert [row["name"] for row in record["results"] if row["front"]] == ["slow", "middle", "cheap"]
    assert record["skipped"] == [{"name": "gone", "reason": "why"}]


def test_a_failure_that_nobody_foresaw_does_not_stop_the_others(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = image_screen.build_model

    def failing(name: str, **rest: Any) -> Any:
        if name == "mobilenet_v2":
            raise RuntimeError("out of memory\nand more")
        return real(name, **rest)

    monkeypatch.setattr(image_screen, "build_model", failing)
    found = screen(data, SMALL, [LITE0, "mobilenet_v2"], Silent())
    assert found.skipped == (Skipped("mobilenet_v2", "RuntimeError: out of memory"),) and found.best.name == LITE0


def test_mistakes_are_told_before_anything_is_read(data: Any) -> None:
    for models, values, word in (
        (["efficientnet_lite"], {}, "efficientnet_lite"),
        (["cnn-28"], {}, "no pretrained weights"),
        ([], {}, "no network"),
        ([LITE0], {"model": LITE0}, "--models"),
        ([LITE0], {"pretrained": False}, "pretrained"),
        ([LITE0], {"data": {"normalise": "data"}}, "data.normalise"),
    ):
        with pytest.raises(UsageError, match=word):
            screen("no such place", values, models, Silent())


def test_nothing_to_screen_with_or_on_is_an_error(data: Any) -> None:
    with pytest.raises(TrainingError, match=r"None of the 2 networks can be screened. mobilenet_v2: .*resnet50"):
        screen(data, SMALL, ["resnet50", "mobilenet_v2"], Silent())
    x, _ = data
    with pytest.raises(DataError, match="No class has two images"):
        screen((x[:4], np.arange(4)), {**SMALL, "split": {"valid": 0.0, "test": 0.0}}, [LITE0], Silent())
