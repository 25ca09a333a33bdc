from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from layerwise.nn import InceptionModule


def test_joins_the_four_branches_in_order() -> None:
    torch.manual_seed(0)
    module = InceptionModule(3, (2, 3, 4, 5, 6, 7))
    assert module.out_channels == 2 + 4 + 6 + 7
    x = torch.randn(2, 3, 6, 6)
    out = module(x)
    assert out.shape == (2, 19, 6, 6)
    one, three, five, pooled = out.split([2, 4, 6, 7], dim=1)
    torch.testing.assert_close(one, module.branch1(x))
    torch.testing.assert_close(three, module.branch2(x))
    torch.testing.assert_close(five, module.branch3(x))
    torch.testing.assert_close(pooled, module.branch4(F.max_pool2d(x, 3, stride=1, padding=1)))


def test_has_the_parameters_that_keras_counts() -> None:
    filters = (64, 96, 128, 16, 32, 32)  # the first module of GoogLeNet, on 192 channels
    assert sum(p.numel() for p in InceptionModule(192, filters).parameters()) == 163_696


def test_every_convolution_ends_in_a_relu() -> None:
    module = InceptionModule(3, (2, 3, 4, 5, 6, 7), norm=True)
    assert bool((module(torch.randn(2, 3, 6, 6)) >= 0).all())
    kinds = [type(layer) for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.ReLU)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 6
