"""Networks that compete: each stage trains its own, and the one that validated best is what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.data.ragged import Ragged, SequenceBatches
from layerwise.device import pick
from layerwise.engine import loop
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import Diverged
from layerwise.store.checkpoint import Checkpoints
from layerwise.tasks.classification import Classification
from layerwise.tasks.run_recipe import Candidate


class Mean(nn.Module):
    """Sees the mean of a sequence, or with `blind` nothing."""

    def __init__(self, blind: bool) -> None:
        super().__init__()
        self.linear, self._blind = nn.Linear(1, 2), blind

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mean = x.sum(1) / lengths[:, None]  # (B, 1)
        logits: Tensor = self.linear(mean * (0 if self._blind else 1))
        return logits


def task(**changes: object) -> Classification:
    torch.manual_seed(0)
    networks = {"blind": Mean(True), "seeing": Mean(False)}
    return Classification(networks, OptimizerRecipe(learning_rate=0.1), "auto", pick("cpu"), **changes)  # type: ignore[arg-type]


def batches() -> SequenceBatches:
    random = np.random.default_rng(0)
    targets = np.arange(80) % 2
    rows = [random.normal(target * 2.0, 0.5, (random.integers(2, 9), 1)) for target in targets]
    parts = {"train": np.arange(60), "valid": np.arange(60, 80)}
    return SequenceBatches(Ragged.of(rows), targets, parts, 10, 0, torch.device("cpu"))


def run(trained: Classification, order: list[str], folder: Path) -> loop.Position:
    position, checkpoints = loop.Position(seed=0), Checkpoints(folder)
    for number, name in enumerate(order):
        trained.begin(Candidate(name=name, epochs=3, learning_rate=0.1), steps=18)
        position.begin_stage(number)
        list(loop.train(trained, batches(), loop.Pace(name, 3), position, checkpoints))
        assert position.best is not None
        trained.load_weights(checkpoints.load_weights(position.best))
    return position


@pytest.mark.parametrize("order", [["blind", "seeing"], ["seeing", "blind"]])
def test_the_better_network_is_kept_whichever_came_first(order: list[str], tmp_path: Path) -> None:
    trained = task()
    position = run(trained, order, tmp_path)
    assert trained.name == "seeing"
    probabilities, targets = trained.predict(batches().part("valid"))
    assert (probabilities.argmax(1) == targets).mean() > 0.9
    kept = next(line["valid"] for line in reversed(position.history) if line["best"])
    assert kept["accuracy"] == (probabilities.argmax(1) == targets).mean()


def test_predictions_come_in_the_order_of_the_examples() -> None:
    probabilities, targets = task().predict(batches().part("train"))
    assert targets.tolist() == [row % 2 for row in range(60)] and probabilities.shape == (60, 2)


def test_class_weights_move_the_answers_towards_the_heavy_class() -> None:
    plain, weighted = task(), task(class_weights=torch.tensor([1.0, 50.0]))
    for each in (plain, weighted):
        each.begin(Candidate(name="blind", epochs=1, learning_rate=0.1), steps=40)
        for epoch in range(5):
            for batch in batches().train(epoch):
                each.train_step(batch)
    mean = [float(each.predict(batches().part("valid"))[0][:, 1].mean()) for each in (plain, weighted)]
    assert mean[1] > mean[0] + 0.2


def test_state_goes_back_bit_for_bit(tmp_path: Path) -> None:
    one, other = task(), task()
    for each in (one, other):
        each.begin(Candidate(name="seeing", epochs=1, learning_rate=0.1), steps=6)
    steps = list(batches().train(0))
    for batch in steps[:3]:
        one.train_step(batch)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(one.state_dict(), {})
    saved = checkpoints.latest()
    assert saved is not None
    other.load_state_dict(saved.state)
    for batch in steps[3:]:
        one.train_step(batch), other.train_step(batch)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))


def test_an_answer_that_is_no_number_is_refused() -> None:
    broken = task()
    with torch.no_grad():
        broken.network.linear.bias[0] = float("nan")  # type: ignore[union-attr, operator]
    with pytest.raises(Diverged, match="20 of 20 validation examples"):
        broken.evaluate(batches().part("valid"))


def test_smoothing_is_taken_back_but_of_members_of_an_average(monkeypatch: pytest.MonkeyPatch) -> None:
    def smoothing(undone: bool) -> float:
        made = task(label_smoothing=0.3, smoothing_undone=undone)
        made.begin(Candidate(name="seeing", epochs=1, learning_rate=0.1), steps=1)
        random = np.random.default_rng(0)
        share = random.beta(0.3, 0.3, 2000)
        answers = np.stack([0.7 * share + 0.15, 0.85 - 0.7 * share], 1), (random.random(2000) > share).astype(np.int64)
        monkeypatch.setattr(made, "predict", lambda _: answers)
        return made.evaluate(iter([]))["smoothing"]

    assert (smoothing(True), smoothing(False)) == (0.3, 0.0)
