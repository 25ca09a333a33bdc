from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from layerwise.nn.transposed import conv_transpose


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "settings", [{"stride": 2, "padding": 1, "output_padding": 1}, {"stride": 1, "padding": 0}, {"dilation": 2}]
)
def test_a_transposed_convolution_with_its_bias_apart(settings: dict[str, Any], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(6, 4, 3, bias=bias, **settings)
    x = torch.rand(2, 6, 7, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    leaves = (x, *layer.parameters())
    ours, theirs = conv_transpose(layer, x), layer(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    into = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves, into), torch.autograd.grad(theirs, leaves, into), rtol=1e-5, atol=1e-5
    )
