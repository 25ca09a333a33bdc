from __future__ import annotations

import torch
import torch.nn.functional as F

from layerwise.nn import SeparableConv2d


def test_is_a_filter_per_channel_then_a_mix_of_channels() -> None:
    torch.manual_seed(0)
    conv = SeparableConv2d(3, 8)
    assert conv.pointwise.bias is not None
    x = torch.rand(2, 3, 9, 7)
    filtered = torch.cat([F.conv2d(x[:, c : c + 1], conv.depthwise.weight[c : c + 1]) for c in range(3)], dim=1)
    mixed = torch.einsum("bchw,fc->bfhw", filtered, conv.pointwise.weight[:, :, 0, 0])
    torch.testing.assert_close(conv(x), mixed + conv.pointwise.bias[:, None, None])


def test_has_the_parameters_that_keras_counts() -> None:
    # SeparableConv2D(32, (3, 3)) on 16 channels: 3 * 3 * 16 + 16 * 32 + 32.
    assert sum(p.numel() for p in SeparableConv2d(16, 32).parameters()) == 688


def test_depth_multiplier_stride_and_padding() -> None:
    conv = SeparableConv2d(4, 6, 5, stride=2, padding=2, depth_multiplier=3, bias=False)
    assert conv.depthwise.weight.shape == (12, 1, 5, 5)
    assert conv(torch.zeros(1, 4, 10, 10)).shape == (1, 6, 5, 5)
    assert SeparableConv2d(4, 6, padding="same")(torch.zeros(1, 4, 10, 10)).shape == (1, 6, 10, 10)
