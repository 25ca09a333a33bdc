"""What surrounds a run: where its data is found again, what is said when that is impossible, what is shown of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from torch import nn

import layerwise
from layerwise import api
from layerwise.console import Silent
from layerwise.errors import Diverged, StoreError, TrainingError, UsageError
from layerwise.store.checkpoint import Checkpoints
from layerwise.store.model_file import load_model, save_model
from layerwise.store.run import RunFolder
from layerwise.tasks import TASKS
from layerwise.tasks.image_classification import ImageClassification
from layerwise_tests import damage, images
from layerwise_tests.runs import stop_after

RECIPE: dict[str, Any] = {"model": "cnn-28", "epochs": 2, "batch_size": 16, "device": "cpu"}


def stopped(data: Any, out: Path, monkeypatch: pytest.MonkeyPatch, **recipe: Any) -> None:
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(TrainingError, match=r"layerwise.resume"):
            api.run_training(data, {**RECIPE, **recipe}, None, out, Silent())


def test_a_stop_that_cannot_be_saved_is_no_stop_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Checkpoints, state: object, position: object) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Checkpoints, "save", full)
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="disk is full"):
        stop_after(1, patch)
        api.run_training(images.arrays(10), RECIPE, None, tmp_path / "run", Silent())


def test_an_error_of_the_caller_still_leaves_a_checkpoint(tmp_path: Path) -> None:
    class Broken(Silent):
        def say(self, line: str) -> None:
            if "1/2" in line:
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        api.run_training(images.arrays(10), RECIPE, None, tmp_path / "run", Broken())
    saved = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert saved is not None and saved.position["epochs_done"] == 1


def test_data_is_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.folder(tmp_path / "home" / "photos", count=10)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    for name, data in [("relative", "photos"), ("user", "~/photos"), ("path", Path("photos"))]:
        monkeypatch.chdir(tmp_path / "home")
        stopped(data, tmp_path / name, monkeypatch)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert layerwise.resume(tmp_path / name).metrics["n"] == 3


def test_arrays_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images.arrays(10)
    stopped((x, y), tmp_path / "run", monkeypatch)
    with pytest.raises(StoreError, match="resume"):
        layerwise.resume(tmp_path / "run")
    with pytest.raises(StoreError, match="1 of 30 examples have changed"):
        other = x.copy()
        other[4, 0, 0, 0] ^= 1
        layerwise.resume(tmp_path / "run", data=(other, y))
    assert layerwise.resume(tmp_path / "run", data=(x, y)).metrics["n"] == 3


def test_labels_that_changed_since_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.folder(tmp_path / "photos", count=10)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    table = pl.DataFrame({"path": [str(file) for file in files], "label": [file.parent.name for file in files]})
    table.write_csv(tmp_path / "photos.csv")
    stopped(str(tmp_path / "photos.csv"), tmp_path / "run", monkeypatch)
    mended = table.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("square")).otherwise("label").alias("label")
    )
    mended.write_csv(tmp_path / "photos.csv")
    with pytest.raises(StoreError, match="1 of 30 examples have changed"):
        layerwise.resume(tmp_path / "run")
    table.write_csv(tmp_path / "photos.csv")
    assert layerwise.resume(tmp_path / "run").metrics["n"] == 3


class Tiny(nn.Module):
    """A user's own network."""

    def __init__(self, logits: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.Flatten(), nn.Linear(4 * 8 * 8, logits))

    def forward(self, x: Any) -> Any:
        return self.layers(x)


def test_a_network_of_ones_own_trains_stops_resumes_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.arrays(10)
    words: dict[str, Any] = {"epochs": 2, "recipe": {"batch_size": 16}, "device": "cpu"}
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(TrainingError, match="resume"):
            layerwise.train(data, model=Tiny(), out=tmp_path / "run", **words)
    with pytest.raises(UsageError, match=r"is your own.*network=MyNet"):
        layerwise.resume(tmp_path / "run", data=data)
    run = layerwise.resume(tmp_path / "run", data=data, network=Tiny())
    with pytest.raises(StoreError, match="network=MyNet"):
        run.model("cpu")
    table = layerwise.load(run.path, network=Tiny(), device="cpu").predict(data[0])
    assert table.height == 30 and table["predicted"].null_count() == 0


@pytest.mark.parametrize(
    ("network", "words"), [(Tiny(5), r"shape \(2, 5\).*\(2, 3\)"), (nn.Linear(7, 3), r"failed on.*\(2, 3, 32, 32\)")]
)
def test_a_network_that_does_not_fit_is_told_before_anything_begins(
    network: nn.Module, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        layerwise.train(images.arrays(10), model=network, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rate_that_is_far_too_high_is_told_and_nothing_is_left_as_a_model(tmp_path: Path) -> None:
    recipe = {**RECIPE, "optimizer": {"name": "sgd", "learning_rate": 1e30}, "batch_size": 64}
    with pytest.raises(Diverged, match="learning_rate"):
        api.run_training(images.arrays(10), recipe, None, tmp_path / "run", Silent())
    with pytest.raises(StoreError, match="no model yet"):
        layerwise.load(tmp_path / "run")


def test_the_model_that_is_kept_is_the_one_whose_figures_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where weights are averaged, the best epoch is an early one, and the file is loaded again."""
    scores = itertools.count()
    monkeypatch.setattr(ImageClassification, "score", lambda self, metrics: [-float(next(scores))])
    data = images.arrays(20)
    recipe = {
        **RECIPE,
        "epochs": 6,
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "schedule": "constant", "ema": 0.9},
        "augment": {"mixup": 1.0, "cutout": 0.5},
        "precision": "float32",
    }
    run = api.run_training(data, recipe, None, tmp_path / "run", Silent())
    examples = pl.read_parquet(run.path / "examples.parquet")
    rows = examples.filter(pl.col("split") == "test")["id"].to_numpy()
    again = run.model("cpu").evaluate((data[0][rows], data[1][rows]))
    assert again["metrics"]["log_loss"]["value"] == pytest.approx(run.metrics["metrics"]["log_loss"]["value"], rel=1e-4)


def thumbnails(run: layerwise.Run) -> Callable[[int], np.ndarray | None]:
    folder = RunFolder.open(run.path)
    return TASKS["image-classification"].thumbnails(folder.read_recipe(), folder.read_examples())


def test_a_later_report_shows_the_images_of_the_run_or_none(tmp_path: Path) -> None:
    photos = images.folder(tmp_path / "photos", count=10)
    run = api.run_training(str(photos), RECIPE, None, tmp_path / "run", Silent())
    before = [thumbnails(run)(row) for row in range(30)]
    assert all(pixels is not None for pixels in before)
    # One more at the front moves every row, one changes, one goes.
    (photos / "disc" / "!first.png").write_bytes((photos / "square" / "003.png").read_bytes())
    (photos / "disc" / "001.png").write_bytes((photos / "square" / "004.png").read_bytes())
    (photos / "disc" / "002.png").unlink()
    after = [thumbnails(run)(row) for row in range(30)]
    assert [row for row in range(30) if after[row] is None] == [1, 2]
    assert all(new is None or np.array_equal(new, old) for new, old in zip(after, before, strict=True))
    for file in photos.rglob("*.png"):
        file.unlink()
    assert thumbnails(run)(0) is None and api.report(run.path).is_file()


def test_inspect_tells_what_is_there_also_where_it_cannot_be_trained_on(tmp_path: Path) -> None:
    damage.folder(tmp_path / "photos", good=5, each=1, classes=1)
    found = api.inspect(tmp_path / "photos", show=Silent())
    assert (found["n"], found["usable"], found["classes"]) == (25, 5, {"class-0": 5})
    assert len(found["problems"]) == 20 and any("two labels or more" in note for note in found["notes"])
    assert "one-class" in [each["kind"] for each in found["findings"]]


def test_evaluate_compares_with_the_majority_of_training_and_not_of_what_is_evaluated(tmp_path: Path) -> None:
    x, kinds = images.arrays(20, 28)
    kept = np.flatnonzero((kinds == "disc") | (np.arange(len(kinds)) < 30))  # 20 discs, 10 of each other kind
    run = api.run_training((x[kept], kinds[kept]), RECIPE, None, tmp_path / "run", Silent())
    other = np.flatnonzero(kinds != "disc")
    verdict = run.model("cpu").evaluate((x[other], kinds[other]))["verdict"]
    assert 'always answering "disc"' in verdict and "against 0.000" in verdict


def test_a_model_file_whose_classes_do_not_agree_is_refused(tmp_path: Path) -> None:
    run = api.run_training(images.arrays(10, 28), RECIPE, None, tmp_path / "run", Silent())
    card, tensors = load_model(run.path / "model.safetensors")
    for change in (
        {"classes": ("a", "b")},
        {"train_counts": (1, 2, 3, 4)},
        {"network": {**card.network, "classes": 4}},
    ):
        save_model(tmp_path / "odd.safetensors", tensors, card.model_copy(update=change))
        with pytest.raises(StoreError, match="Expected: one number for all three"):
            layerwise.load(tmp_path / "odd.safetensors")
