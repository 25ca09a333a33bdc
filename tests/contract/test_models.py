"""What every network of the table promises, with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from layerwise.models import MODELS, build_model

CLASSES = 10
BATCH = 2
# Small images, so that the large networks take a second; with two positions left, so that normalisation has variance.
SMALL = 64

pytestmark = pytest.mark.slow


def size_for(name: str) -> int:
    entry = MODELS[name]
    return max(entry.smallest, SMALL) if entry.transfer else entry.size


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    entry = MODELS[name]
    return build_model(
        name, classes=CLASSES, channels=entry.channels, size=size_for(name), pretrained=False, options={}
    )


def images(name: str, batch: int = BATCH) -> torch.Tensor:
    size = size_for(name)
    return torch.randn(batch, MODELS[name].channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def net(name: str) -> Iterator[nn.Module]:
    """One network for all the tests of its name: building the large ones takes longer than running them."""
    torch.set_num_threads(1)
    yield build(name)


def test_counts_as_many_parameters_as_the_table_says(name: str, net: nn.Module) -> None:
    if MODELS[name].transfer or size_for(name) == MODELS[name].size:  # a backbone's do not depend on the image's size
        assert sum(p.numel() for p in net.parameters()) == MODELS[name].parameters


def test_forward_is_the_head_of_the_features(name: str, net: nn.Module) -> None:
    net.eval()
    x = images(name)
    with torch.no_grad():
        features = net.forward_features(x)
        logits = net(x)
        assert features.ndim == 4
        assert features.shape[0] == BATCH
        assert logits.shape == (BATCH, CLASSES)
        assert logits.dtype == torch.float32
        assert torch.equal(net.forward_head(features), logits)
        assert torch.equal(net(x), logits)


def test_memory_format_changes_no_answer(name: str, net: nn.Module) -> None:
    net.eval()
    x = images(name)
    with torch.no_grad():
        plain = net(x)
        net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), plain, atol=1e-4, rtol=1e-4)
        net.to(memory_format=torch.contiguous_format)


def test_state_goes_around(name: str, net: nn.Module) -> None:
    net.eval()
    x = images(name, batch=1)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with torch.no_grad():
        before = net(x)
        for parameter in net.parameters():
            parameter.zero_()
        assert not torch.equal(net(x), before)
        net.load_state_dict(state)
        assert torch.equal(net(x), before)


def test_gradient_reaches_every_trainable_parameter(name: str, net: nn.Module) -> None:
    net.train()
    net.zero_grad()
    for module in net.modules():  # timm's ResNets start each block as the identity, which lets no gradient into it
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)
    loss = nn.functional.cross_entropy(net(images(name)), torch.arange(BATCH))
    loss.backward()
    trained = {key: p for key, p in net.named_parameters() if p.requires_grad}
    assert [key for key, p in trained.items() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    moved = [key for key, p in trained.items() if p.grad is not None and bool(p.grad.any())]
    assert next(iter(trained)) in moved
    assert len(moved) > 0.9 * len(trained)
    net.zero_grad()


def test_works_with_the_smallest_images_it_claims(name: str, net: nn.Module) -> None:
    entry = MODELS[name]
    if name.startswith("cnn"):  # the size is part of this one
        net = build_model(
            name, classes=CLASSES, channels=entry.channels, size=entry.smallest, pretrained=False, options={}
        )
    net.eval()
    with torch.no_grad():
        out = net(torch.zeros(1, entry.channels, entry.smallest, entry.smallest))
    assert out.shape == (1, CLASSES)


@pytest.mark.parametrize("own", [name for name, entry in MODELS.items() if not entry.transfer])
def test_own_networks_can_be_traced(own: str) -> None:
    net = build(own).eval()
    x = images(own)
    with torch.no_grad():
        torch.testing.assert_close(torch.fx.symbolic_trace(net)(x), net(x))
