from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from layerwise.errors import RecipeError, UsageError
from layerwise.models import vae, vae_tutorial
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model

NAMES = list(TASK_MODELS["vae"])
SMALL: dict[str, dict[str, Any]] = {"vae": {"width": 8, "latent": 5}, "vae-tutorial": {}}


def network(name: str, *, channels: int = 1, classes: int = 0, side: int = 28, **options: Any) -> Any:
    torch.manual_seed(0)
    sizes = Sizes(inputs=channels, outputs=classes, length=side)
    net = build_task_model("vae", name, sizes, {**SMALL[name], **options}).to(memory_format=torch.channels_last)
    for module in net.modules():  # as after training: layers that start at zero do not hide what is before them
        if isinstance(module, vae.PreactivatedBlock):
            nn.init.normal_(module.conv2.weight, std=0.05)
    return net


def images(count: int = 3, channels: int = 1, side: int = 28) -> Tensor:
    return torch.rand(count, side, side, channels).permute(0, 3, 1, 2)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_tutorial_has_the_parameters_of_the_course() -> None:
    net = network("vae-tutorial")
    assert parameters(net.encoder) == 69_076
    assert parameters(net.decoder) == 65_089
    assert parameters(net) == 69_076 + 65_089


def test_vae_has_the_stated_parameters() -> None:
    assert parameters(vae.build(Sizes(1, 0, 28), {})) == 459_044


# --- the course's own numbers ----------------------------------------------------------------------------------------

ENCODER = [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3136, 16), (16,), (16, 2), (2,), (16, 2), (2,)]
DECODER = [(2, 3136), (3136,), (3, 3, 64, 64), (64,), (3, 3, 32, 64), (32,), (3, 3, 1, 32), (1,)]


def wave(shape: tuple[int, ...], place: int, scale: float) -> NDArray[np.float32]:
    """Weights by formula, the same on both sides."""
    count = int(np.prod(shape))
    fan = count / shape[-1] if len(shape) > 1 else 100
    values = np.sin(np.arange(count) * (0.7 + 0.013 * place) + place).reshape(shape) / np.sqrt(fan)
    return np.asarray(values.astype(np.float32) * scale)


def as_keras() -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    return (
        [wave(shape, place, 3) for place, shape in enumerate(ENCODER)],
        [wave(shape, 10 + place, 2) for place, shape in enumerate(DECODER)],
    )


def test_weights_of_a_keras_model_give_its_answers() -> None:
    """The figures are those of the course's models in Keras 3.15 on TensorFlow, with `wave` set as their weights."""
    net = network("vae-tutorial")
    vae_tutorial.load_keras(net, *as_keras())
    x = (0.5 + 0.5 * np.sin(np.arange(2 * 784) * 0.11)).reshape(2, 1, 28, 28).astype(np.float32)
    with torch.no_grad():
        mean, log_variance = net.encode(torch.from_numpy(x))
        logits = net.decode(torch.tensor([[1.5, -0.5], [-1.0, 2.0]]))[:, 0]
    keras = torch.tensor([[-0.0157226026, 0.3550819159], [0.0125000477, 0.4026254416]])
    torch.testing.assert_close(mean, keras, rtol=1e-5, atol=1e-5)
    keras = torch.tensor([[0.4333373308, 0.0458904356], [0.4403730631, 0.0214181095]])
    torch.testing.assert_close(log_variance, keras, rtol=1e-5, atol=1e-5)
    pixels = {
        (0, 0, 0): -0.1653218865,
        (0, 0, 27): -0.3463738263,
        (0, 27, 0): -0.1799921692,
        (0, 27, 27): -0.1855111271,
        (0, 13, 6): 0.0580137223,
        (1, 0, 0): 0.5598226786,
        (1, 26, 27): -2.0756812096,
        (1, 14, 15): -1.0809817314,
    }
    found = torch.stack([logits[place] for place in pixels])
    torch.testing.assert_close(found, torch.tensor(list(pixels.values())), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.abs().sum((1, 2)), torch.tensor([475.442078, 468.306091]), rtol=1e-5, atol=0)


def by_padding(encoder: list[Tensor], decoder: list[Tensor], x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The course's model written plainly, with Keras's arrays: zeros below and on the right, answers cut there."""
    h = F.relu(F.conv2d(F.pad(x, (0, 1, 0, 1)), encoder[0].permute(3, 2, 0, 1), encoder[1], 2))
    h = F.relu(F.conv2d(F.pad(h, (0, 1, 0, 1)), encoder[2].permute(3, 2, 0, 1), encoder[3], 2))
    h = F.relu(h.permute(0, 2, 3, 1).flatten(1) @ encoder[4] + encoder[5])
    y = F.relu(z @ decoder[0] + decoder[1]).view(-1, 7, 7, 64).permute(0, 3, 1, 2)
    for kernel, bias in (decoder[2:4], decoder[4:6]):
        y = F.relu(F.conv_transpose2d(y, kernel.permute(3, 2, 0, 1), bias, 2)[:, :, :-1, :-1])
    y = F.conv_transpose2d(y, decoder[6].permute(3, 2, 0, 1), decoder[7], padding=1)
    return h @ encoder[6] + encoder[7], h @ encoder[8] + encoder[9], y


def test_the_tutorial_is_the_plain_network_with_its_gradients() -> None:
    net = network("vae-tutorial")
    encoder, decoder = as_keras()
    vae_tutorial.load_keras(net, encoder, decoder)
    plain = [torch.from_numpy(array).clone().requires_grad_() for array in (*encoder, *decoder)]
    torch.manual_seed(1)
    x, z = images(), torch.randn(3, 2)
    ours = (*net.encode(x), net.decode(z))
    theirs = by_padding(plain[:10], plain[10:], x, z)
    weights = [torch.randn_like(each) / each[0].numel() for each in ours]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for answers in (ours, theirs):
        sum((answer * weight).sum() for answer, weight in zip(answers, weights, strict=True)).backward()
    gradients = network("vae-tutorial")  # carries the plain gradients through the same change of axes
    found = [each.grad.numpy() for each in plain if each.grad is not None]
    vae_tutorial.load_keras(gradients, found[:10], found[10:])
    for (name, mine), (_, other) in zip(net.named_parameters(), gradients.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.detach(), rtol=1e-4, atol=1e-5, msg=f"the gradient of {name}")


def test_weights_of_another_keras_model_are_an_error() -> None:
    encoder, decoder = as_keras()
    net = network("vae-tutorial")
    with pytest.raises(UsageError, match="get_weights"):
        vae_tutorial.load_keras(net, encoder[:-1], decoder)
    with pytest.raises(UsageError, match="10 arrays"):
        vae_tutorial.load_keras(net, encoder, [*decoder[:-1], np.zeros(3)])


def test_the_tutorial_starts_as_keras_does() -> None:
    net = network("vae-tutorial")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.bias is not None
            assert not module.bias.any()
    bound = (6 / (9 * 32 + 9 * 64)) ** 0.5  # Glorot's, of 32 to 64 channels
    largest = float(net.encoder.conv2.weight.detach().abs().max())
    assert 0.99 * bound < largest <= bound


@pytest.mark.parametrize("side", [26, 30, 45])
def test_the_tutorial_refuses_sides_that_two_strides_do_not_divide(side: int) -> None:
    with pytest.raises(RecipeError, match="divisible by 4"):
        network("vae-tutorial", side=side)


# --- both networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (3, 64), (1, 8)])
@pytest.mark.parametrize("classes", [0, 4])
def test_shapes_and_a_gradient_for_every_parameter(name: str, channels: int, side: int, classes: int) -> None:
    net = network(name, channels=channels, side=side, classes=classes)
    labels = torch.tensor([0, 3, -1]) if classes else None
    mean, log_variance = net.encode(images(3, channels, side), labels)
    assert mean.shape == log_variance.shape == (3, net.latent)
    decoded = net.decode(mean + log_variance, labels)
    assert decoded.shape == (3, channels, side, side)
    decoded.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("side", [9, 29, 45, 50, 128])
def test_vae_takes_any_side(side: int) -> None:
    net = network("vae", side=side)
    assert net(images(1, 1, side)).shape == (1, 1, side, side)


def test_vae_refuses_images_below_8_pixels() -> None:
    with pytest.raises(RecipeError, match="at least 8"):
        network("vae", side=7)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_without_noise_is_the_decoded_mean(name: str) -> None:
    net = network(name)
    x = images()
    torch.testing.assert_close(net(x), net.decode(net.encode(x)[0]))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_not_depend_on_its_batch(name: str) -> None:
    net = network(name, classes=3)
    x, labels = images(), torch.tensor([2, 0, 1])
    together = net(x, labels)
    alone = torch.cat([net(x[row : row + 1], labels[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_labels_reach_encoder_and_decoder(name: str) -> None:
    net = network(name, classes=3)
    x, z = images(1).expand(2, -1, -1, -1), torch.zeros(2, net.latent)
    labels = torch.tensor([0, 2])
    mean, _ = net.encode(x, labels)
    decoded = net.decode(z, labels)
    assert not torch.allclose(mean[0], mean[1])
    assert not torch.allclose(decoded[0], decoded[1])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_class_is_the_same_as_no_labels(name: str) -> None:
    net = network(name, classes=3)
    x = images(2)
    torch.testing.assert_close(net(x, torch.tensor([-1, -1])), net(x, None))


@pytest.mark.parametrize("name", NAMES)
def test_only_a_gaussian_learns_a_deviation(name: str) -> None:
    plain, gaussian = network(name), network(name, likelihood="gaussian")
    assert (plain.likelihood, plain.log_scale) == ("bernoulli", None)
    assert gaussian.likelihood == "gaussian"
    assert isinstance(gaussian.log_scale, nn.Parameter)
    assert gaussian.log_scale.shape == ()
    assert parameters(gaussian) == parameters(plain) + 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"latent": 0}, {"likelihood": "poisson"}, {"latnt": 3}])
def test_unusable_options_are_errors(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        network(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_near(name: str) -> None:
    net = network(name, classes=3)
    x, labels = images(), torch.tensor([2, 0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(x, labels)
    whole = net(x, labels)
    assert (half.float() - whole).abs().max() < 0.1 * whole.abs().max()


def test_vae_starts_with_the_prior_as_posterior_variance() -> None:
    _, log_variance = vae.build(Sizes(3, 0, 32), {}).encode(images(2, 3, 32))
    assert not log_variance.any()


def test_features_stay_in_channels_last_memory() -> None:
    seen: list[bool] = []
    net = network("vae")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, __, y: seen.append(y.is_contiguous(memory_format=torch.channels_last))
            )
    net(images())
    assert len(seen) > 8
    assert all(seen)
