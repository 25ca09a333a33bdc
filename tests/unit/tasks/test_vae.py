from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from layerwise.data.loader import Batch
from layerwise.device import pick, seed
from layerwise.engine.update import OptimizerRecipe
from layerwise.errors import Diverged, RecipeError, UsageError
from layerwise.tasks import vae_bound
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.vae import Vae
from layerwise.tasks.vae_bound import counted_kl, keyed_normals, kl_nats, measured, reconstruction_nats
from layerwise.tasks.vae_recipe import KlRecipe, complete, recipe_of
from layerwise_tests.shapes import shapes
from layerwise_tests.vaes import Tiny

CPU = pick("cpu", "float32")


def images(count: int) -> Tensor:
    pixels, _ = shapes(count, side=8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def batches(count: int, size: int) -> Iterator[Batch]:
    whole = images(count)
    for first in range(0, count, size):
        part = slice(first, first + size)
        yield Batch(np.arange(count)[part], whole[part], torch.arange(count)[part] % 2)


def task_of(network: nn.Module, *, kl: KlRecipe = KlRecipe(), conditional: bool = False, **values: Any) -> Vae:  # noqa: B008
    recipe = OptimizerRecipe(**{"name": "adam", "schedule": "constant", **values})
    task = Vae({"tiny": network}, {"tiny": (recipe, kl)}, CPU, conditional=conditional)
    task.begin(Candidate(name="tiny", epochs=4, learning_rate=1e-2), steps=40)
    return task


# The bound


def test_the_reconstruction_of_probabilities_is_their_cross_entropy() -> None:
    x, logits = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    p = logits.double().sigmoid()
    wanted = -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(reconstruction_nats(Tiny(), x, logits).double(), wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 0.0, 2.0])
def test_the_bins_of_a_gaussian_hold_all_probability_and_are_exact_in_the_tails(log_scale: float) -> None:
    network = Tiny(likelihood="gaussian")
    assert network.log_scale is not None
    network.log_scale.data.fill_(log_scale)
    x = (torch.arange(256) / 255).view(256, 1, 1, 1)
    mean = torch.full((256, 1, 1, 1), 0.3, requires_grad=True)
    nats = reconstruction_nats(network, x, mean)
    assert float(nats.detach().double().neg().exp().sum()) == pytest.approx(1.0, abs=1e-4)
    nats.sum().backward()
    assert mean.grad is not None and mean.grad.isfinite().all()
    assert network.log_scale.grad is not None and network.log_scale.grad.isfinite()
    scale, half = np.exp(log_scale), 0.5 / 255
    above = np.arange(100, 255) / 255 - 0.3  # where the logarithm of what lies beyond is exact
    upper, lower = norm.logsf((above - half) / scale), norm.logsf((above + half) / scale)
    wanted = -(upper + np.log(-np.expm1(lower - upper)))
    np.testing.assert_allclose(nats.detach().numpy()[100:255], wanted, rtol=1e-4)


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_nats(mean, log_variance), wanted)


def test_free_bits_leave_a_latent_that_is_hardly_used_without_gradient() -> None:
    mean = torch.tensor([[0.1, 2.0], [0.2, -2.0]], requires_grad=True)
    counted_kl(kl_nats(mean, torch.zeros(2, 2)), 0.5).backward()
    assert mean.grad is not None
    assert mean.grad[:, 0].abs().sum() == 0 and mean.grad[:, 1].abs().min() > 0


def test_importance_sampling_finds_the_likelihood_where_it_is_known() -> None:
    # One latent that all 64 logits follow: the integral over it is a sum over a grid.
    network = Tiny(latent=1)
    with torch.no_grad():
        network.decoder.weight.fill_(0.1)
        network.decoder.bias.fill_(0.2)
        network.encoder.weight.fill_(0.003)
        network.encoder.bias.copy_(torch.tensor([0.0, 0.0]))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    grid = np.linspace(-8, 8, 4001)
    logits = 0.1 * grid + 0.2
    x = pixels.reshape(4, -1) / 255
    log_likelihood = x.sum(1)[:, None] * logits - 64 * np.logaddexp(0, logits)
    exact = -np.log(np.trapezoid(np.exp(log_likelihood) * norm.pdf(grid), grid, axis=1))
    found = vae_bound.importance_nats(network, CPU, pixels, None, 2000)
    np.testing.assert_allclose(found, exact, atol=0.02)
    assert (measured(network, CPU, pixels, None, 400).negative_elbo > exact).all()  # a bound, and this one is not tight


def test_many_draws_are_the_same_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, network = shapes(5, side=8)[0], Tiny()
    whole = vae_bound.importance_nats(network, CPU, pixels, None, 60)
    monkeypatch.setattr(vae_bound, "_BATCH", 16)
    np.testing.assert_allclose(vae_bound.importance_nats(network, CPU, pixels, None, 60), whole, rtol=1e-5)


def test_an_image_has_its_score_wherever_it_lies() -> None:
    pixels, network = shapes(9, side=8)[0], Tiny()
    whole = measured(network, CPU, pixels, None, 3)
    turned = measured(network, CPU, pixels[::-1], None, 3)
    np.testing.assert_allclose(turned.negative_elbo[::-1], whole.negative_elbo, rtol=1e-6)
    np.testing.assert_allclose(measured(network, CPU, pixels[4:5], None, 3).kl, whole.kl[4:5], rtol=1e-4)


def test_noise_is_normal_and_follows_from_the_key_alone() -> None:
    noise = keyed_normals(np.arange(4000), 3)
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    np.testing.assert_array_equal(keyed_normals([17], 3)[0], noise[17])
    assert (keyed_normals([17], 3, seed=1)[0] != noise[17]).all()


def test_an_image_of_unknown_class_is_bound_over_all_of_them() -> None:
    pixels, network = shapes(6, side=8)[0], Tiny(classes=2)
    each = [measured(network, CPU, pixels, np.full(6, label), 2).negative_elbo for label in (0, 1)]
    scores, likeliest, labels = vae_bound.measured_untold(network, CPU, pixels, [0.25, 0.75], 2)
    wanted = -np.log(0.25 * np.exp(-(each[0] - each[0])) + 0.75 * np.exp(-(each[1] - each[0]))) + each[0]
    np.testing.assert_allclose(scores, wanted)
    np.testing.assert_allclose(likeliest.negative_elbo, np.choose(labels, each))


# The task


def test_a_step_reports_what_it_minimises_and_learns() -> None:
    seed(0)
    task = task_of(Tiny(), kl=KlRecipe(beta=2.0))
    means, count = task.train_step(next(batches(16, 16)))
    assert count == 16
    assert means["negative_elbo"] == pytest.approx(means["reconstruction"] + means["kl"], rel=1e-5)
    assert means["loss"] == pytest.approx(means["reconstruction"] + 2 * means["kl"], rel=1e-5)
    before = task.evaluate(batches(32, 16))["negative_elbo"]
    for _ in range(8):
        for batch in batches(32, 16):
            task.train_step(batch)
    assert task.evaluate(batches(32, 16))["negative_elbo"] < before - 2


def test_the_weight_of_the_divergence_rises_with_the_steps() -> None:
    task = task_of(Tiny(), kl=KlRecipe(beta=3.0, warmup=0.1))
    weights = []
    for _ in range(6):
        weights.append(task.kl_weight)
        task.train_step(next(batches(8, 8)))
    assert weights == pytest.approx([0.75, 1.5, 2.25, 3.0, 3.0, 3.0])
    assert task_of(Tiny()).kl_weight == 1.0


def test_evaluation_hangs_on_neither_batches_nor_what_ran_before() -> None:
    task = task_of(Tiny())
    torch.manual_seed(1)
    whole = task.evaluate(batches(30, 30))
    state = torch.get_rng_state()
    parts = task.evaluate(batches(30, 7))
    assert torch.equal(state, torch.get_rng_state())
    assert parts == pytest.approx(whole, rel=1e-6)
    assert set(whole) == {"negative_elbo", "reconstruction", "kl", "active_units"}


def test_a_resumed_task_goes_on_as_it_would_have() -> None:
    def step(task: Vae, number: int) -> dict[str, float]:
        seed(5, 0, number)
        return task.train_step(next(batches(16, 16)))[0]

    network = Tiny()
    task = task_of(copy.deepcopy(network), kl=KlRecipe(warmup=0.5), ema=0.9)
    for number in range(3):
        step(task, number)
    task.evaluate(batches(8, 8))
    state = copy.deepcopy(task.state_dict())
    straight = [step(task, number) for number in range(3, 6)]
    again = task_of(network, kl=KlRecipe(warmup=0.5), ema=0.9)
    again.load_state_dict(state)
    assert [step(again, number) for number in range(3, 6)] == straight
    assert again.bests.keys() == {"tiny"}
    for name, tensor in task.weights().items():
        assert torch.equal(tensor, again.weights()[name])


def test_a_bound_that_is_no_number_is_diverged() -> None:
    network = Tiny()
    task = task_of(network)
    network.decoder.bias.data.fill_(torch.nan)
    with pytest.raises(Diverged, match="nan"):
        task.train_step(next(batches(8, 8)))
    with pytest.raises(Diverged, match="negative ELBO"):
        task.evaluate(batches(8, 8))


def test_the_best_validation_of_each_network_is_remembered_and_the_lower_one_kept() -> None:
    recipe = OptimizerRecipe(name="adam")
    names = ("one", "two")
    task = Vae({name: Tiny() for name in names}, {name: (recipe, KlRecipe()) for name in names}, CPU)
    found = {}
    for name in names:
        task.begin(Candidate(name=name, epochs=1, learning_rate=1e-2), steps=4)
        found[name] = task.evaluate(batches(8, 8))
    assert task.bests == found
    better = min(found, key=lambda name: found[name]["negative_elbo"])
    assert max(found, key=lambda name: task.score(found[name])) == better
    task.load_weights({f"one.{name}": tensor for name, tensor in Tiny().state_dict().items()})
    assert task.name == "one"


def test_a_conditional_network_is_told_the_class() -> None:
    task = task_of(Tiny(classes=2), conditional=True)
    assert task.train_step(next(batches(8, 8)))[1] == 8
    assert np.isfinite(task.evaluate(batches(8, 4))["negative_elbo"])


# The recipe


def test_a_rival_has_its_own_settings_and_the_same_likelihood() -> None:
    recipe = complete({"model": "vae", "network": {"likelihood": "gaussian", "latent": 3}, "kl": {"beta": 4.0}})
    assert recipe_of("vae", recipe) is recipe
    other = recipe_of("vae-tutorial", recipe)
    assert other.network == {"likelihood": "gaussian"} and other.kl.beta == 1.0


def test_what_is_written_out_wins_and_contradictions_are_refused() -> None:
    stages = [{"name": "vae-tutorial", "epochs": 2, "learning_rate": 0.01}]
    recipe = complete({"stages": stages})
    assert (recipe.model, recipe.stages[0].epochs, recipe.epochs) == ("vae-tutorial", 2, None)
    assert complete(recipe.model_dump(exclude_none=True)) == recipe  # as a resumed run reads it
    assert complete({"epochs": 7, "optimizer": {"learning_rate": 0.5}}).stages[0].learning_rate == 0.5
    with pytest.raises(RecipeError, match="beside stages"):
        complete({"stages": stages, "epochs": 3})
    with pytest.raises(RecipeError, match="one name"):
        complete({"stages": stages * 2})
    with pytest.raises(RecipeError, match="free_bits"):
        complete({"kl": {"free_bit": 1.0}})
    with pytest.raises(UsageError, match="vae-tutorial"):
        complete({"model": "vae-tutorail"})
