"""One step with two updates, alarms and what is done about them, samples, and coming back from a stop."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from layerwise.config import build
from layerwise.data.loader import Batch
from layerwise.device import pick
from layerwise.device import seed as set_seed
from layerwise.engine import loop
from layerwise.errors import Diverged
from layerwise.store.checkpoint import Checkpoints
from layerwise.store.pack import pack, unpack
from layerwise.tasks import gan_players
from layerwise.tasks.gan import Gan
from layerwise.tasks.gan_batches import Passes
from layerwise.tasks.gan_loss import slope
from layerwise.tasks.gan_recipe import GanStage
from layerwise.tasks.gan_watch import IN_SUCCESSION, RETURNS
from layerwise_tests.tiny_gan import PixelJudge, TinyGan, batches

STEPS = 24
ADAM = {"name": "adam", "learning_rate": 5e-3, "schedule": "constant", "momentum": 0.5}


def stage(name: str = "tiny", optimizer: dict[str, Any] | None = None, **rules: Any) -> GanStage:
    values = {"name": name, "epochs": 3, "batch_size": 16, "optimizer": {**ADAM, **(optimizer or {})}}
    return build(GanStage, {**values, "adversarial": {"loss": "non-saturating", **rules}})


def task(**networks: nn.Module) -> Gan:
    return Gan(networks or {"tiny": TinyGan()}, pick("cpu", "float32"), judge=PixelJudge())


def begun(gan: Gan, *, optimizer: dict[str, Any] | None = None, **rules: Any) -> Gan:
    gan.begin(stage(gan.name, optimizer, **rules), steps=STEPS)
    return gan


def trained(gan: Gan, steps: range, epoch_steps: int = 4) -> Gan:
    """Steps as the engine takes them: seeded by their number, judged after every epoch."""
    of = batches()
    for step in steps:
        epoch, place = divmod(step, epoch_steps)
        set_seed(0, epoch, place)
        gan.train_step(next(of.train(epoch, place)))
        if place == epoch_steps - 1:
            gan.evaluate(iter(()))
    return gan


def one() -> Batch:
    return next(batches().train(0))


def poisoned(batch: Batch) -> Batch:
    inputs = batch.inputs.clone()
    inputs[0, 0, 0, 0] = float("nan")
    return Batch(batch.ids, inputs, batch.targets)


def test_a_step_changes_both_networks_and_leaves_no_gradient() -> None:
    gan = begun(task(), r1=1.0, r1_every=1, diff_augment=["colour", "translation", "cutout"])
    before = gan.tensors()
    means, examples = gan.train_step(one())
    assert set(means) == {"generator_loss", "discriminator_loss", "real_logit", "fake_logit"} and examples == 16
    assert all(np.isfinite(value) for value in means.values())
    assert all((tensor != before[name]).any() for name, tensor in gan.tensors().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in gan.network.parameters())


def test_each_update_changes_its_own_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from layerwise.engine.update import Update

    gan = begun(task())
    call, changed = Update.__call__, []

    def watched(update: Update, loss: torch.Tensor) -> None:
        before = gan.tensors()
        call(update, loss)
        changed.append({name.split(".")[0] for name, tensor in gan.tensors().items() if (tensor != before[name]).any()})
        left = {name.split(".")[0] for name, each in gan.network.named_parameters() if each.grad is not None}
        assert not left

    monkeypatch.setattr(Update, "__call__", watched)
    gan.train_step(one())
    assert changed == [{"discriminator"}, {"generator"}]


def test_the_generators_gradient_is_that_of_its_loss_through_the_updated_discriminator() -> None:
    gan = begun(task(), optimizer={"name": "sgd", "momentum": 0.0, "learning_rate": 0.1}, discriminator_rate=2.0)
    plain = copy.deepcopy(gan.network)
    batch = one()
    set_seed(1)
    gan.train_step(batch)
    set_seed(1)
    plain.train()
    fake = plain.get_submodule("generator")(torch.randn(16, 4))
    discriminator: nn.Module = plain.get_submodule("discriminator")
    loss = (
        nn.functional.softplus(-discriminator(batch.inputs)).mean()
        + nn.functional.softplus(discriminator(fake.detach())).mean()
    )
    _descend(discriminator, loss, 0.2)
    own = nn.functional.softplus(-discriminator(fake)).mean()
    _descend(plain.get_submodule("generator"), own, 0.1)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(gan.tensors()[name], tensor)


def _descend(network: nn.Module, loss: torch.Tensor, rate: float) -> None:
    parameters = list(network.parameters())
    with torch.no_grad():
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
        ):
            parameter.sub_(rate * gradient)


def test_several_steps_of_the_discriminator_share_the_images_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    gan = begun(task(), discriminator_steps=3)
    seen: list[torch.Tensor] = []
    gan.network.get_submodule("discriminator").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = one()
    gan.train_step(batch)
    assert [len(images) for images in seen] == [6, 6, 5, 5, 5, 5, 5]
    torch.testing.assert_close(torch.cat([seen[0], seen[2], seen[4]]), batch.inputs)
    gan.train_step(Batch(batch.ids[:2], batch.inputs[:2], batch.targets[:2]))  # fewer images than steps


def test_the_penalty_comes_every_so_many_steps_and_goes_on_counting_after_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at: list[int] = []
    step = 0

    def counted(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        at.append(step)
        return slope(images, logits)

    monkeypatch.setattr(gan_players, "slope", counted)
    gan = begun(task(), r1=1.0, r1_every=3)
    for step in range(10):
        if step == 5:
            state, gan = unpack(*pack(gan.state_dict())), begun(task(), r1=1.0, r1_every=3)
            gan.load_state_dict(state)
        gan.train_step(one())
    assert at == [0, 3, 6, 9]


def test_the_penalty_is_not_in_the_loss_that_is_told_and_flattens_the_discriminator() -> None:
    told, slopes = [], []
    for r1 in (0.0, 20.0):
        gan = begun(task(), r1=r1, r1_every=2)
        for step in range(40):
            set_seed(step)
            means, _ = gan.train_step(one())
            told += [means["discriminator_loss"]] * (step == 0)
        images = one().inputs.requires_grad_()
        slopes.append(slope(images, gan.network.eval().get_submodule("discriminator")(images)).item())
    assert told[0] == told[1] and slopes[1] < slopes[0] / 4


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize("collapses", [False, True])
def test_a_stop_at_any_step_changes_no_bit(stop: int, collapses: bool) -> None:
    rules: dict[str, Any] = {"optimizer": {"ema": 0.9}, "r1": 1.0, "r1_every": 3, "diff_augment": ["translation"]}

    def fresh() -> Gan:
        gan = begun(task(), **rules)
        if collapses:
            gan._judge.collapsed = lambda metrics: "alike"  # type: ignore[union-attr,method-assign]
        return gan

    straight = trained(fresh(), range(10))
    first = trained(fresh(), range(stop))
    second = fresh()
    second.load_state_dict(unpack(*pack(first.state_dict())))
    trained(second, range(stop, 10))
    same(straight.state_dict(), second.state_dict())
    same(dict(straight.weights()), dict(second.weights()))
    assert len(straight.watch.alarms) == (2 if collapses else 0)


def same(one: Any, other: Any) -> None:
    (tensors, plain), (others, plain_too) = pack(one), pack(other)
    assert plain == plain_too
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize("how", ["last layer", "latents"])
def test_a_generator_forced_to_collapse_raises_the_alarm_within_an_epoch(how: str, tmp_path: Path) -> None:
    network = TinyGan()
    if how == "last layer":
        for parameter in network.generator.last.parameters():
            nn.init.zeros_(parameter).requires_grad_(False)
    else:
        network.generator.first.register_forward_pre_hook(lambda _, given: (given[0] * 0,))
    gan = begun(task(tiny=network))
    rate = gan.learning_rate
    position, pace = loop.Position(seed=0), loop.Pace("tiny", 2)
    reports = loop.train(gan, Passes.of(batches(), 4), pace, position, Checkpoints(tmp_path))
    for report in reports:
        if isinstance(report, loop.Epoch):
            break
    (alarm,) = gan.watch.alarms
    assert (alarm["stage"], alarm["epoch"], alarm["step"], alarm["kind"]) == ("tiny", 1, 4, "collapse")
    assert "diversity" in alarm["what"] and alarm["done"].startswith("nothing yet")
    assert gan.watch.of_last_epoch() == [alarm]
    next(reports)
    assert "halved" in gan.watch.alarms[0]["done"] and gan.learning_rate == rate / 2
    list(reports)
    assert [each["epoch"] for each in gan.watch.alarms] == [1, 2]


def test_after_a_collapse_both_networks_are_what_they_were_when_samples_were_best() -> None:
    gan = trained(begun(task(), optimizer={"ema": 0.5}), range(4))
    good = gan.tensors()
    averages = dict(gan.weights())
    trained(gan, range(4, 7))
    gan._judge.collapsed = lambda metrics: "alike"  # type: ignore[union-attr,method-assign]
    gan.evaluate(iter(()))
    done = gan.state_dict()["players"]["updates"][0]["done"]
    state = gan.watch.due()
    assert state is not None and gan._players is not None
    gan._players.go_back(state, 0.5)
    same(dict(gan.tensors()), dict(good))
    same(dict(gan.weights()), averages)
    updates = gan.state_dict()["players"]["updates"]
    assert [each["done"] for each in updates] == [done, done]  # the schedule does not begin anew
    assert [each["learning_rate"] for each in updates] == [2.5e-3, 2.5e-3]
    assert gan.watch.alarms[-1]["done"] == "went back to the weights of epoch 1 and halved both rates"


def test_rates_are_not_halved_without_end() -> None:
    gan = begun(task())
    gan._judge.collapsed = lambda metrics: "alike"  # type: ignore[union-attr,method-assign]
    rate = gan.learning_rate
    for _ in range(RETURNS + 2):
        gan.evaluate(iter(()))
        gan.train_step(one())
    assert gan.learning_rate == rate / 2**RETURNS
    assert gan.watch.alarms[-1]["done"].startswith("nothing: rates were halved")


def test_a_collapse_is_only_told_where_nothing_is_to_be_done_about_it() -> None:
    gan = begun(task(), recover=False)
    gan._judge.collapsed = lambda metrics: "alike"  # type: ignore[union-attr,method-assign]
    rate = gan.learning_rate
    gan.evaluate(iter(()))
    gan.train_step(one())
    assert gan.learning_rate == rate and "recover is off" in gan.watch.alarms[0]["done"]


def test_a_poisoned_batch_is_left_out_and_training_goes_on() -> None:
    clean, gan = begun(task()), begun(task())
    before = gan.tensors()
    assert gan.train_step(poisoned(one()))[1] == 0
    same(dict(gan.tensors()), dict(before))
    set_seed(5)
    gan.train_step(one())
    set_seed(5)
    clean.train_step(one())
    same(dict(gan.tensors()), dict(clean.tensors()))  # nothing of the bad step was left behind
    gan.train_step(poisoned(one()))
    gan.evaluate(iter(()))
    gan.train_step(poisoned(one()))
    first, second = gan.watch.alarms
    assert (first["kind"], first["epoch"], first["step"], first["steps"]) == ("non-finite", 1, 1, 2)
    assert "nan" in first["what"] and "left out 2 steps" in first["done"] and second["epoch"] == 2
    other = begun(task())
    other.load_state_dict(unpack(*pack(gan.state_dict())))
    assert other.watch.alarms == gan.watch.alarms


def test_many_bad_steps_in_succession_end_the_run() -> None:
    gan, bad = begun(task()), poisoned(one())
    for _ in range(IN_SUCCESSION - 1):
        gan.train_step(bad)
    with pytest.raises(Diverged, match=f"{IN_SUCCESSION} steps"):
        gan.train_step(bad)
    gan = begun(task())
    for _ in range(2 * IN_SUCCESSION):
        gan.train_step(bad)
        gan.train_step(one())


def test_samples_that_are_no_numbers_raise_an_alarm_and_are_grey() -> None:
    gan = trained(begun(task()), range(4))
    with torch.no_grad():
        gan.network.get_parameter("generator.last.bias")[0] = float("nan")
    metrics = gan.evaluate(iter(()))
    assert np.isfinite(list(metrics.values())).all()
    assert gan.watch.alarms[-1]["kind"] == "non-finite" and "100 of 100" in gan.watch.alarms[-1]["what"]
    gan.train_step(one())
    assert torch.isfinite(gan.tensors()["generator.last.bias"]).all()


@pytest.mark.slow
def test_samples_come_nearer_to_the_images_in_few_steps() -> None:
    gan = begun(task(), optimizer={"ema": 0.9}, r1=0.1, r1_every=4)
    gan.begin(stage(optimizer={"ema": 0.9}, r1=0.1, r1_every=4), steps=600)
    before = gan.evaluate(iter(()))["distance"]
    of = Passes.of(batches(256, 32), 600)
    for step, batch in enumerate(of.train(0)):
        set_seed(0, step)
        gan.train_step(batch)
    after = gan.evaluate(iter(()))
    assert after["distance"] < 0.35 * before and after["diversity"] > 0.3


def test_the_first_samples_do_not_depend_on_how_many_are_drawn() -> None:
    gan = task()
    few, many = gan.draw(3, seed=7).pixels, gan.draw(150, seed=7).pixels
    assert few.shape == (3, 8, 8, 1) and few.dtype == np.uint8
    np.testing.assert_array_equal(few, many[:3])
    assert (gan.draw(3, seed=8).pixels != few).any()
    tight = gan.draw(150, seed=7, truncation=0.1).pixels
    assert tight.astype(float).std(0).mean() < many.astype(float).std(0).mean() / 2


def test_drawing_and_judging_leave_the_global_generator_alone() -> None:
    gan = begun(task())
    torch.manual_seed(3)
    gan.evaluate(iter(()))
    gan.draw(5, seed=1)
    gan.logits(batches().part("test"))
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


@pytest.mark.slow
def test_a_conditional_network_draws_the_class_that_it_is_told() -> None:
    gan = Gan({"tiny": TinyGan(classes=2)}, pick("cpu", "float32"), judge=PixelJudge(), shares=[3, 1])
    gan.begin(stage(r1=0.1, r1_every=4), steps=500)
    for step, batch in enumerate(Passes.of(batches(256, 32), 500).train(0)):
        set_seed(0, step)
        gan.train_step(batch)
    left, right = (gan.draw(50, seed=1, classes=np.full(50, number)).pixels for number in range(2))
    assert left[:, :, :4].mean() > 1.5 * left[:, :, 4:].mean() and right[:, :, 4:].mean() > 1.5 * right[:, :, :4].mean()
    scores = gan.logits(batches().part("test"))
    assert scores.shape == (4,) and np.isfinite(scores).all()


def test_logits_do_not_depend_on_what_else_is_in_the_batch() -> None:
    gan = task()
    whole = gan.logits(batches().part("train"))
    np.testing.assert_allclose(whole[:4], gan.logits(batches(batch_size=1).part("test")), rtol=1e-5, atol=1e-6)


def test_the_best_of_each_network_is_remembered_and_can_be_drawn_from() -> None:
    gan = Gan({"a": TinyGan(), "b": TinyGan(seed=1)}, pick("cpu", "float32"), judge=PixelJudge())
    trained(begun(gan), range(4))
    of_a = gan.draw(4, seed=1).pixels
    gan.begin(stage("b"), steps=4)
    trained(gan, range(4))
    assert set(gan.bests) == {"a", "b"} and gan.name == "b"
    other = Gan({"a": TinyGan(seed=5), "b": TinyGan(seed=6)}, pick("cpu", "float32"), judge=PixelJudge())
    other.begin(stage("b"), steps=4)
    other.load_state_dict(unpack(*pack(gan.state_dict())))
    np.testing.assert_array_equal(other.draw(4, seed=1, name="a").pixels, of_a)
    np.testing.assert_array_equal(other.draw(4, seed=1).pixels, gan.draw(4, seed=1).pixels)


def test_the_lower_distance_is_kept_and_comes_back_as_a_model() -> None:
    gan = begun(task(), optimizer={"ema": 0.9})
    assert gan.score({"distance": 1.0}) > gan.score({"distance": 2.0})
    trained(gan, range(4))
    kept = gan.weights()
    judged = gan.evaluate(iter(()))
    trained(gan, range(4, 8))
    gan.load_weights(kept)
    assert gan.learning_rate == 0.0
    drawn = gan.draw(PixelJudge.epoch_samples, seed=7_031).pixels
    assert PixelJudge().validate(drawn)["distance"] == judged["distance"]
    assert any(name.startswith("discriminator.") for name in gan.tensors())


def test_few_images_are_passed_over_until_an_epoch_has_its_steps() -> None:
    few = Passes.of(batches(40, 16), 10)  # three steps a pass
    assert few.steps == 12 and Passes.of(batches(40, 16), 2).steps == 3
    whole = [batch.ids.tolist() for batch in few.train(1)]
    assert len(whole) == 12 and whole[:3] != whole[3:6]
    assert all(sorted(itertools.chain(*whole[first : first + 3])) == list(range(40)) for first in (0, 3, 6, 9))
    for start in range(13):
        assert [batch.ids.tolist() for batch in few.train(1, start)] == whole[start:]
    assert [batch.ids.tolist() for batch in few.train(0)] != whole


@pytest.mark.parametrize("count", [1, 3])
def test_very_few_images_train(count: int) -> None:
    gan = begun(task(), diff_augment=["colour", "translation", "cutout"], r1=1.0)
    for batch in Passes.of(batches(count, 16), 4).train(0):
        assert gan.train_step(batch)[1] == count
