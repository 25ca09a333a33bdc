"""The task: what trains in which stage, what never changes, and what a step that goes wrong leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from layerwise.config import build
from layerwise.data.augment import AugmentRecipe
from layerwise.data.loader import Batch, ImageBatches, Normalise
from layerwise.device import pick
from layerwise.engine import loop
from layerwise.engine.update import parameter_groups
from layerwise.errors import Diverged
from layerwise.models import body_layers, build_model, learn_from_data
from layerwise.store.checkpoint import Checkpoints
from layerwise.tasks import image_classification
from layerwise.tasks.image_classification import ImageClassification
from layerwise.tasks.recipe import ImageRecipe, Stage

CPU = pick("cpu", "float32")
HEAD = Stage(name="head", epochs=1, learning_rate=0.01, share=0.0)
LAST = Stage(name="last", epochs=1, learning_rate=0.01, share=0.2)
ALL = Stage(name="all", epochs=1, learning_rate=0.01)


def batch(count: int = 8, side: int = 64, channels: int = 3, classes: int = 3, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, channels, side, side, generator=draw).contiguous(memory_format=torch.channels_last)
    return Batch(np.arange(count), inputs, torch.arange(count) % classes)


def make(
    name: str,
    *,
    pretrained: bool = False,
    side: int = 28,
    channels: int = 3,
    dropout: float | None = None,
    **values: Any,
) -> ImageClassification:
    torch.manual_seed(0)
    options = {} if dropout is None else {"dropout": dropout}
    network = build_model(name, classes=3, channels=channels, size=side, pretrained=False, options=options)
    learn_from_data(network, lambda: batch(32, side, channels).inputs)
    return ImageClassification(network, build(ImageRecipe, values), CPU, pretrained=pretrained)


def copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def figures(loss: float, accuracy: float = 0.5, macro_f1: float = 0.5) -> dict[str, float]:
    """What `evaluate` gives."""
    return {
        "loss": loss,
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "calibrated_loss": loss,
        "temperature": 1.0,
    }


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def train(task: ImageClassification, stage: Stage, steps: int = 2, **words: Any) -> set[str]:
    """Names of tensors that a stage changes."""
    before = copied(task.network)
    task.begin(stage, steps=steps)
    for step in range(steps):
        torch.manual_seed(step)
        task.train_step(batch(seed=step, **words))
    return changed(task.network, before)


@pytest.fixture(scope="module")
def transfer() -> ImageClassification:
    return make("efficientnet_lite0", pretrained=True, side=64)


def test_in_the_head_stage_only_the_head_changes(transfer: ImageClassification) -> None:
    found = train(transfer, HEAD)
    assert found == {name for name, _ in transfer.network.named_parameters() if name.startswith("head.")}
    assert all(parameter.grad is None for parameter in transfer.network.body.parameters())


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 1.0])
def test_of_the_body_the_last_share_of_layers_changes_and_no_statistic(
    transfer: ImageClassification, share: float
) -> None:
    found = train(transfer, LAST.model_copy(update={"share": share}))
    layers = body_layers(transfer.network)
    thawed = layers[len(layers) - round(share * len(layers)) :]
    wanted = {id(parameter) for layer in thawed for parameter in layer.parameters(recurse=False)}
    wanted |= {id(parameter) for parameter in transfer.network.head.parameters()}
    assert found == {name for name, parameter in transfer.network.named_parameters() if id(parameter) in wanted}
    assert not found & {name for name, _ in transfer.network.named_buffers()}
    assert share < 1 or len(wanted) == len(list(transfer.network.parameters()))


def test_a_later_stage_thaws_and_freezes_anew(transfer: ImageClassification) -> None:
    first = train(transfer, LAST)
    assert train(transfer, HEAD) < first < train(transfer, ALL)
    assert train(transfer, LAST) == first


def test_a_body_that_starts_random_learns_its_statistics(transfer: ImageClassification) -> None:
    task = make("efficientnet_lite0", pretrained=False, side=64)
    found = train(task, HEAD)  # the share speaks of a pretrained body: this one trains whole
    assert {name for name, _ in task.network.named_parameters()} <= found
    assert any(name.endswith("running_mean") for name in found)


def test_what_a_network_keeps_fixed_no_stage_thaws() -> None:
    task = make("airbench-small", channels=1)
    fixed = {name for name, parameter in task.network.named_parameters() if not parameter.requires_grad}
    assert "whitening.weight" in fixed and "group1.norm1.weight" in fixed
    found = train(task, ALL, side=28, channels=1) | train(task, LAST, side=28, channels=1)
    assert not found & fixed
    assert found >= {name for name, _ in task.network.named_parameters()} - fixed


def test_every_trainable_parameter_is_in_one_group_and_only_weights_decay() -> None:
    network = make("airbench-small", channels=1).network
    groups = parameter_groups(network, 64.0)
    listed = [id(parameter) for group in groups for parameter in group.parameters]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert len(listed) == len(set(listed)) and set(listed) == {id(parameter) for parameter in trained}
    for group in groups:
        assert all((parameter.ndim > 1) == group.decays for parameter in group.parameters)
    fast = {id(parameter) for group in groups if group.rate == 64.0 for parameter in group.parameters}
    assert fast == {id(module.bias) for module in network.modules() if isinstance(module, nn.BatchNorm2d)}


def test_a_step_tells_the_means_of_its_batch() -> None:
    task = make("cnn-28", dropout=0.0, label_smoothing=0.1)
    torch.nn.init.zeros_(task.network.linear.weight)
    with torch.no_grad():
        task.network.linear.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    task.begin(ALL, steps=4)
    given = batch(7, 28)  # targets 0 1 2 0 1 2 0, and the answer is always 0
    logits = torch.tensor([[1.0, 0.0, 0.0]]).expand(7, 3)
    loss = nn.functional.cross_entropy(logits, given.targets, label_smoothing=0.1)
    metrics, count = task.train_step(given)
    assert count == 7 and metrics["accuracy"] == pytest.approx(3 / 7) and metrics["loss"] == pytest.approx(float(loss))


def test_mixed_targets_are_rows_of_shares() -> None:
    given, tasks = batch(8, 28), [make("cnn-28", dropout=0.0) for _ in range(2)]
    rows = nn.functional.one_hot(given.targets, 3).float()
    found = []
    for task, targets in zip(tasks, (given.targets, rows), strict=True):
        task.begin(ALL, steps=4)
        found.append(task.train_step(Batch(given.ids, given.inputs, targets))[0])
    assert found[0] == pytest.approx(found[1])


def test_evaluation_changes_nothing_and_leaves_training_as_it_was(transfer: ImageClassification) -> None:
    task = make("resnet-small", optimizer={"ema": 0.9})
    train(task, ALL, side=28)
    before, modes = copied(task.network), [module.training for module in task.network.modules()]
    found = task.evaluate(iter([batch(8, 28), batch(4, 28)]))
    assert set(found) == {"loss", "accuracy", "macro_f1", "calibrated_loss", "temperature", "smoothing"}
    assert not changed(task.network, before) and all(modes)
    assert [module.training for module in task.network.modules()] == modes
    train(transfer, LAST)
    modes = [module.training for module in transfer.network.modules()]
    transfer.evaluate(iter([batch()]))
    assert [module.training for module in transfer.network.modules()] == modes
    assert not any(layer.training for layer in body_layers(transfer.network)) and transfer.network.head.training


def test_a_prediction_does_not_depend_on_the_rest_of_its_batch() -> None:
    task = make("resnet-small")
    train(task, ALL, side=28)
    given = batch(8, 28)
    whole, targets = task.predict(iter([given]))
    halves = [Batch(given.ids[cut], given.inputs[cut], given.targets[cut]) for cut in (slice(0, 4), slice(4, 8))]
    assert np.allclose(task.predict(iter(halves))[0], whole, atol=1e-5) and targets.tolist() == [0, 1, 2] * 2 + [0, 1]
    assert np.allclose(whole.sum(1), 1)


def test_score_compares_by_the_metric_and_then_by_the_loss() -> None:
    good, worse = figures(0.2, 0.9, 0.5), figures(0.1, 0.8, 0.6)
    for metric, better in [("accuracy", good), ("macro_f1", worse), ("loss", worse), ("calibrated_loss", worse)]:
        task = make("cnn-28", stop={"metric": metric})
        assert max([good, worse], key=task.score) is better
    task = make("cnn-28", stop={"metric": "accuracy"})
    assert task.score(good) > task.score(good | {"calibrated_loss": 0.3})


def test_the_metric_auto_is_accuracy_only_where_many_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make("cnn-28")
    good, worse = figures(0.2, 0.9, 0.5), figures(0.1, 0.8, 0.6)
    for count, better in [(999, worse), (1000, good)]:
        found = ([np.full((count, 3), 1 / 3)], np.zeros(count, np.int64))
        monkeypatch.setattr(image_classification, "answers", lambda *given, found=found: found)
        task.begin(ALL, steps=1)
        task.evaluate(iter([]))
        assert max([good, worse], key=task.score) is better


# Whole stages, by the engine.


class Bytes:
    """A store in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape = pixels, pixels.shape

    def read(self, ids: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.pixels[ids])


class Spoilt(ImageBatches):
    """Batches of which one step's input holds a NaN."""

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step, each in enumerate(super().train(epoch, start), start=start):
            if (epoch, step) == (1, 2):
                each.inputs[1, 0, 3, 3] = float("nan")
            yield each


def batches(kind: type[ImageBatches] = ImageBatches) -> ImageBatches:
    draw = np.random.default_rng(0)
    targets = np.arange(48) % 3
    pixels = (draw.integers(0, 120, (48, 28, 28, 3)) + 60 * targets[:, None, None, None]).astype(np.uint8)
    return kind(
        store=Bytes(pixels),
        targets=targets,
        parts={"train": np.arange(32), "valid": np.arange(32, 48), "test": np.arange(0)},
        classes=3,
        batch_size=8,
        augment=AugmentRecipe(),
        normalise=Normalise((0.5,) * 3, (0.25,) * 3),
        seed=0,
        device=torch.device("cpu"),
    )


def run(
    task: ImageClassification, folder: Path, data: ImageBatches, epochs: int, patience: int = 0
) -> tuple[loop.Position, Checkpoints]:
    position, checkpoints = loop.Position(seed=0), Checkpoints(folder)
    task.begin(ALL, steps=epochs * data.steps)
    for _ in loop.train(task, data, loop.Pace("all", epochs, patience), position, checkpoints):
        pass
    return position, checkpoints


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_broken_input_is_told_with_its_place_and_changes_no_parameter(clip: float, tmp_path: Path) -> None:
    task, data = make("cnn-28", optimizer={"clip": clip}), batches(Spoilt)
    before: list[dict[str, torch.Tensor]] = []
    real = task.train_step

    def watched(each: Batch) -> Any:
        before.append(copied(task.network))
        return real(each)

    task.train_step = watched  # type: ignore[method-assign]
    with pytest.raises(Diverged) as caught:
        run(task, tmp_path, data, epochs=3)
    ids = list(data.train(1))[2].ids
    text = str(caught.value)
    assert "stage all, epoch 2, step 3" in text and ", ".join(map(str, ids)) in text and "learning_rate" in text
    assert len(before) == 4 + 3 and not changed(task.network, before[-1])


def test_a_network_that_explodes_is_never_kept_as_the_best(tmp_path: Path) -> None:
    task, data = make("cnn-28", optimizer={"name": "sgd"}), batches()
    task.begin(ALL.model_copy(update={"learning_rate": 1e30}), steps=4)
    position, checkpoints = loop.Position(seed=0), Checkpoints(tmp_path)
    data.parts["train"] = np.arange(8)  # one step: its loss is finite, its result is not
    with pytest.raises(Diverged, match=r"16 of 16 validation examples.*stage all, epoch 1, after.*learning_rate"):
        for _ in loop.train(task, data, loop.Pace("all", 1), position, checkpoints):
            pass
    assert position.best is None and checkpoints.latest() is None


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, seen = make("cnn-28"), []

    def evaluate(found: Iterator[Batch]) -> dict[str, float]:
        seen.append(copied(task.network))
        return figures([0.9, 0.5, 0.7, 0.5, 0.8][len(seen) - 1])

    monkeypatch.setattr(task, "evaluate", evaluate)
    position, checkpoints = run(task, tmp_path, batches(), epochs=5)
    assert [line["best"] for line in position.history] == [True, True, False, False, False]
    assert position.best is not None
    task.load_weights(checkpoints.load_weights(position.best))
    assert not changed(task.network, seen[1]) and changed(task.network, seen[4])
    assert {name: tensor.tolist() for name, tensor in task.weights().items()} == {
        name: tensor.tolist() for name, tensor in seen[1].items()
    }


@pytest.mark.parametrize(("patience", "epochs"), [(0, 9), (1, 3), (2, 6), (3, 9)])
def test_a_stage_ends_when_patience_does(
    patience: int, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, losses = make("cnn-28"), iter([0.9, 0.8, 0.8, 0.7, 0.75, 0.9, 0.6, 0.7, 0.7])
    monkeypatch.setattr(task, "evaluate", lambda found: figures(next(losses)))
    position, _ = run(task, tmp_path, batches(), epochs=9, patience=patience)
    assert len(position.history) == epochs == position.epochs_done


def test_what_is_loaded_is_what_is_given_and_not_an_average_of_the_last_steps(tmp_path: Path) -> None:
    task = make("cnn-28", optimizer={"ema": 0.9})
    run(task, tmp_path, batches(), epochs=1)
    others = {name: torch.full_like(tensor, 0.5) for name, tensor in task.weights().items()}
    task.load_weights(others)
    assert all(torch.equal(others[name], tensor) for name, tensor in task.weights().items())


def test_averages_are_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    task, data = make("cnn-28", optimizer={"ema": 0.9, "schedule": "constant"}), batches()
    position, checkpoints = run(task, tmp_path, data, epochs=4)
    raw = copied(task.network)
    kept = task.weights()
    assert changed(task.network, dict(kept)) == {name for name, _ in task.network.named_parameters()}
    best = position.history[-1]
    assert best["best"] and position.best is not None
    weights = checkpoints.load_weights(position.best)
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept.items())
    assert not changed(task.network, raw)
    task.load_weights(weights)
    probabilities, targets = task.predict(data.part("valid"))
    assert -np.log(probabilities[np.arange(16), targets]).mean() == pytest.approx(best["valid"]["loss"], rel=1e-6)


def test_evaluation_offers_calibration_the_smoothing_that_was_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    share = random.beta(0.3, 0.3, 2000)
    learnt = [np.stack([0.8 * share + 0.1, 0.9 - 0.8 * share], 1)], (random.random(2000) > share).astype(np.int64)
    monkeypatch.setattr("layerwise.tasks.image_classification.answers", lambda *_: learnt)
    found = [make("resnet-small", label_smoothing=each).evaluate(iter([]))["smoothing"] for each in (0.0, 0.2)]
    assert found == [0.0, 0.2]


@pytest.mark.parametrize(
    ("rate", "seed", "better"),
    [(0.001, 0, 1.0), (0.001, 3, 0.5), (0.6, 0, 0.5)],
    ids=["trained weights are better", "trained weights may be better", "half-way weights are better"],
)
def test_half_way_weights_are_told_kept_and_saved_unless_the_trained_ones_are_clearly_better(
    rate: float, seed: int, better: float
) -> None:
    def run(blend: Any) -> ImageClassification:
        task = make("cnn-28", stop={"metric": "loss"}, optimizer={"name": "sgd", "momentum": 0.0}, dropout=0.0)
        task.begin(ALL.model_copy(update={"blend": blend, "learning_rate": rate}), steps=4)
        for _ in range(4):
            task.train_step(batch(side=28))
        return task

    either = {blend: run(blend) for blend in (0.5, 1.0)}
    told = {blend: task.evaluate(iter([batch(side=28, seed=seed)])) for blend, task in either.items()}
    assert min(told, key=lambda blend: told[blend]["loss"]) == (1.0 if rate < 0.1 else 0.5)
    task = run("auto")
    before = copied(task.network)
    assert task.evaluate(iter([batch(side=28, seed=seed)])) == {**told[better], "blend": better}
    assert not changed(task.network, before)  # training goes on from where it was
    wanted = either[better].weights()
    assert all(torch.equal(value, wanted[name]) for name, value in task.weights().items())
    other = run("auto")
    other.load_state_dict(task.state_dict())
    assert all(torch.equal(value, wanted[name]) for name, value in other.weights().items())
