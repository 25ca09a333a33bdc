"""Adversarial networks: the tutorial's against Keras, and what both promise to the task."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layerwise.errors import RecipeError
from layerwise.models.by_task import TASK_MODELS, Sizes, build_task_model
from layerwise.nn.spectral import SpectralConv2d

NAMES = list(TASK_MODELS["gan"])


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def made(network: nn.Module, batch: int = 2, labels: Tensor | None = None) -> Tensor:
    latents = torch.randn(batch, network.latent, generator=torch.Generator().manual_seed(0))
    images: Tensor = network.get_submodule("generator")(latents, labels)
    return images


def formula(shape: tuple[int, ...], place: int, scale: float = 0.1) -> np.ndarray:
    """Numbers that Keras was given too, in its own order of axes."""
    values = scale * np.sin(1.7 * np.arange(int(np.prod(shape))) + place)
    return values.astype(np.float32).reshape(shape)


def as_keras(layers: list[nn.Module]) -> None:
    """Give every layer the formula's weights: Keras's kernels are (H, W, in, out), transposed ones (H, W, out, in)."""
    for number, layer in enumerate(layers):
        shape = tuple(layer.weight.shape)
        if isinstance(layer, nn.Linear):
            kernel = formula(shape[::-1], 2 * number).T
        else:  # torch has both the other way round too
            kernel = formula((shape[2], shape[3], shape[1], shape[0]), 2 * number).transpose(3, 2, 0, 1)
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        layer.bias.data = torch.from_numpy(formula(tuple(layer.bias.shape), 2 * number + 1))


def test_the_tutorial_counts_what_keras_counts() -> None:
    network = build_task_model("gan", "gan-tutorial", Sizes(1, 0, 28), {})
    assert network.latent == 100
    assert count(network.get_submodule("generator")) == 1_164_289
    assert count(network.get_submodule("discriminator")) == 40_705


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_tutorials_generator_gives_what_keras_gives(layout: torch.memory_format) -> None:
    # Keras 3.15.1 on TensorFlow 2.21.0, the course's layers with the formula's weights.
    stored = [-0.061946, 0.722323, 0.432768, 0.739355, -0.574934]
    network = build_task_model("gan", "gan-tutorial", Sizes(1, 0, 28), {}).eval()
    generator = network.get_submodule("generator")
    as_keras([generator.dense, generator.up1, generator.up2, generator.out])  # type: ignore[list-item]
    with torch.no_grad():
        images = generator.to(memory_format=layout)(torch.from_numpy(formula((2, 100), 9, 1.0)))[:, 0]
    places = [(0, 0, 0), (0, 13, 14), (0, 27, 27), (1, 5, 20), (1, 0, 27)]
    torch.testing.assert_close([images[place].item() for place in places], stored, atol=1e-5, rtol=0)
    assert images.abs().mean().item() == pytest.approx(0.566641, abs=1e-5)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_tutorials_discriminator_gives_what_keras_gives(layout: torch.memory_format) -> None:
    network = build_task_model("gan", "gan-tutorial", Sizes(1, 0, 28), {}).eval()
    discriminator = network.get_submodule("discriminator")
    as_keras([discriminator.conv1, discriminator.conv2, discriminator.dense])  # type: ignore[list-item]
    images = torch.from_numpy(formula((2, 28, 28, 1), 9, 1.0)).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = discriminator.to(memory_format=layout)(images)
    torch.testing.assert_close(logits.tolist(), [-0.156338, -0.200921], atol=1e-5, rtol=0)


def test_the_tutorial_starts_as_keras_does() -> None:
    network = build_task_model("gan", "gan-tutorial", Sizes(1, 0, 28), {})
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            area = layer.weight[0][0].numel()
            limit = (6 / (area * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5
            assert layer.weight.abs().max() <= limit and layer.weight.std().item() == pytest.approx(
                limit / 3**0.5, rel=0.15
            )
            assert layer.bias is not None and not layer.bias.any()


def test_the_tutorial_refuses_sides_that_it_cannot_double_to() -> None:
    with pytest.raises(RecipeError, match="30 x 30"):
        build_task_model("gan", "gan-tutorial", Sizes(1, 0, 30), {})


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_no_network_knows_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="laten"):
        build_task_model("gan", name, Sizes(1, 0, 28), {"laten": 8})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (1, 64)])
def test_images_have_the_size_of_the_data_and_logits_are_one_an_image(name: str, channels: int, side: int) -> None:
    network = build_task_model("gan", name, Sizes(channels, 0, side), {})
    images = made(network)
    assert images.shape == (2, channels, side, side) and images.abs().max() <= 1
    logits = network.get_submodule("discriminator")(images)
    assert logits.shape == (2,) and torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_is_told_classes_looks_at_them(name: str) -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", name, Sizes(1, 3, 28), {}).eval()
    zero, one = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert not torch.equal(made(network, labels=zero), made(network, labels=one))
    discriminator, images = network.get_submodule("discriminator"), made(network, labels=zero).detach()
    embedding = next(module for module in discriminator.modules() if isinstance(module, nn.Embedding))
    nn.init.normal_(embedding.weight)
    assert not torch.equal(discriminator(images, zero), discriminator(images, one))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [0, 3])
def test_each_players_loss_reaches_all_of_its_own_parameters_and_none_of_the_others(name: str, classes: int) -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", name, Sizes(1, classes, 28), {}).train()
    generator, discriminator = network.get_submodule("generator"), network.get_submodule("discriminator")
    labels = torch.tensor([0, 1, 2, 0]) if classes else None
    fake = made(network, 4, labels)
    discriminator(fake.detach(), labels).square().sum().backward(inputs=list(discriminator.parameters()))
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
    discriminator.zero_grad(set_to_none=True)
    discriminator(fake, labels).sum().backward(inputs=list(generator.parameters()))
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in generator.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_at_images_can_be_penalised(name: str) -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", name, Sizes(1, 0, 28), {}).train()
    discriminator = network.get_submodule("discriminator")
    images = made(network).detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    slope.square().sum().backward(inputs=list(discriminator.parameters()))
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in discriminator.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_repeats_and_an_image_does_not_hang_on_its_neighbours(name: str) -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", name, Sizes(1, 0, 28), {}).eval()
    images = made(network, 6).detach()
    discriminator, state = network.get_submodule("discriminator"), copy.deepcopy(network.state_dict())
    with torch.no_grad():
        together, alone = discriminator(images), torch.cat([discriminator(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("side", [16, 28, 30, 45, 96])
def test_the_residual_network_makes_any_side(side: int) -> None:
    network = build_task_model("gan", "gan", Sizes(1, 0, side), {"width": 4})
    images = made(network)
    assert images.shape == (2, 1, side, side)
    assert network.get_submodule("discriminator")(images).shape == (2,)


def test_the_residual_network_counts_what_the_documents_say() -> None:
    network = build_task_model("gan", "gan", Sizes(1, 0, 28), {})
    counts = [count(network.get_submodule(name)) for name in ("generator", "discriminator")]
    assert counts == [423_913, 124_705]


def test_spectral_norm_holds_the_discriminators_convolutions_as_it_trains() -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", "gan", Sizes(1, 0, 28), {"width": 4}).train()
    discriminator, images = network.get_submodule("discriminator"), made(network, 8).detach()
    assert not any(isinstance(module, SpectralConv2d) for module in network.get_submodule("generator").modules())
    optimizer = torch.optim.Adam(discriminator.parameters(), 0.05)
    bounded = [module for module in discriminator.modules() if isinstance(module, SpectralConv2d)]
    for _ in range(30):
        optimizer.zero_grad()
        discriminator(images).sum().neg().backward()
        optimizer.step()
    for layer in bounded:
        weight = layer.norm.eval()(layer.conv.weight).detach().flatten(1)
        assert float(torch.linalg.matrix_norm(weight, 2)) <= 1.1 * float(layer.norm.bound)


def test_the_latent_numbers_enter_every_block() -> None:
    torch.manual_seed(0)
    generator = build_task_model("gan", "gan", Sizes(1, 0, 28), {"width": 4}).get_submodule("generator")
    x = torch.randn(2, 16, 7, 7)
    block = next(iter(generator.get_submodule("blocks").children()))
    nn.init.normal_(block.modulation.weight)  # type: ignore[arg-type, union-attr]
    assert not torch.equal(block(x, torch.zeros(2, 64)), block(x, torch.ones(2, 64)))


def test_without_spectral_norm_the_network_begins_the_same() -> None:
    networks = []
    for spectral in (True, False):
        torch.manual_seed(0)
        networks.append(build_task_model("gan", "gan", Sizes(1, 0, 28), {"width": 8, "spectral_norm": spectral}))
    images = made(networks[0], 4).detach()
    assert torch.equal(images, made(networks[1], 4).detach())
    held, free = (network.eval().get_submodule("discriminator")(images) for network in networks)
    torch.testing.assert_close(held, free, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_lower_precision_gives_nearly_the_same_images(name: str) -> None:
    torch.manual_seed(0)
    network = build_task_model("gan", name, Sizes(1, 0, 28), {}).train()
    whole = made(network)
    with torch.autocast("cpu", torch.bfloat16):
        rough = made(network)
        network.get_submodule("discriminator")(rough).float().sum().backward()  # type: ignore[no-untyped-call]
    assert (whole - rough.float()).abs().max() < 0.1
