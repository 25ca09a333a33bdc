from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerwise.errors import RecipeError, UsageError
from layerwise.models import build_model
from layerwise.models.cnn import Cnn


def cnn(name: str, channels: int, size: int | tuple[int, int], classes: int = 10, **options: object) -> Cnn:
    net = build_model(name, classes=classes, channels=channels, size=size, pretrained=False, options=options)
    assert isinstance(net, Cnn)
    return net


@pytest.mark.parametrize(("name", "channels", "size", "count"), [("cnn-28", 1, 28, 93_322), ("cnn-32", 3, 32, 122_570)])
def test_has_the_parameters_that_keras_counts(name: str, channels: int, size: int, count: int) -> None:
    assert sum(p.numel() for p in cnn(name, channels, size).parameters()) == count


def test_pooling_before_the_relu_changes_no_number_and_no_gradient() -> None:
    torch.manual_seed(0)
    net = cnn("cnn-28", 1, 28).eval()
    x = torch.randn(4, 1, 28, 28)
    net(x).square().sum().backward()
    ours = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    features = F.max_pool2d(F.relu(net.conv1(x)), 2)
    features = F.max_pool2d(F.relu(net.conv2(features)), 2)
    logits = net.forward_head(F.relu(net.conv3(features)))
    logits.square().sum().backward()
    assert torch.equal(net(x), logits)
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), ours, strict=True) if p.grad is not None)


def test_flattens_with_channels_last_as_keras_and_without_a_copy() -> None:
    net = cnn("cnn-32", 3, 32)
    features = torch.rand(2, 64, 4, 4).to(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    net.hidden.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    net.forward_head(features)
    assert seen[0].data_ptr() == features.data_ptr()
    assert torch.equal(seen[0][0, :64], features[0, :, 0, 0])


def test_starts_as_keras_does() -> None:
    net = cnn("cnn-32", 3, 32)
    limit = math.sqrt(6 / (9 * 32 + 9 * 64))  # Glorot's uniform bound of the second convolution
    assert limit * 0.98 < float(net.conv2.weight.detach().abs().max()) <= limit
    assert float(net.hidden.weight.detach().abs().max()) <= math.sqrt(6 / (1024 + 64))
    assert net.conv1.bias is not None
    assert float(net.conv1.bias.detach().abs().max()) == 0


def test_dropout_is_the_courses_unless_given() -> None:
    assert cnn("cnn-28", 1, 28).dropout.p == 0.5
    assert cnn("cnn-32", 3, 32).dropout.p == 0
    assert cnn("cnn-32", 3, 32, dropout=0.25).dropout.p == 0.25


def test_other_sizes_and_channels() -> None:
    assert cnn("cnn-28", 3, (40, 18), classes=4)(torch.zeros(2, 3, 40, 18)).shape == (2, 4)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 18 x 18"):
        cnn("cnn-28", 1, 17)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match='Did you mean "dropout"'):
        cnn("cnn-28", 1, 28, drop_out=0.5)
    with pytest.raises(RecipeError, match="dropout"):
        cnn("cnn-28", 1, 28, dropout=1.5)
