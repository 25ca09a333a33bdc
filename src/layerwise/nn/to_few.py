"""Convolution to very few channels, such as the last one of a network that makes images.

B images, C channels, F filters, H x W pixels, k the side of the kernel.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvToFew(nn.Module):
    """What `nn.Conv2d(C, F, k, padding="same")` computes, in a form that is fast where F is 1 to 4.

    A convolution's kernels are built for many filters: of a vector register's lanes, one for each filter, nearly all stay
    empty here. As a product of all pixels with a (C, F * k * k) matrix, whose answers are then summed where they belong
    (`F.fold`), the same multiplications fill the registers. Parameters have the names and shapes of `nn.Conv2d`, so
    weights are interchangeable. Sums are taken in another order: answers differ by rounding.

    On other devices than the CPU it is the convolution itself.

    Args:
        in_channels: C.
        out_channels: F, best at most 4.
        kernel_size: k, odd.
        bias: whether a number is added to each filter's answers.

    Shapes:
        (B, C, H, W) -> (B, F, H, W). Fastest for channels-last memory.

    Example:
        >>> import torch
        >>> layer, plain, x = ConvToFew(8, 1, 7), nn.Conv2d(8, 1, 7, padding="same"), torch.rand(2, 8, 9, 9)
        >>> _ = plain.load_state_dict(layer.state_dict())
        >>> torch.allclose(layer(x), plain(x), atol=1e-5)
        True
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, "an even kernel has no middle"
        like = nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias)
        self.weight, self.bias = like.weight, like.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H, W)."""
        return conv_to_few(x, self.weight, self.bias)


def conv_to_few(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding="same")` by a product and a fold; see `ConvToFew`.

    Args:
        x: (B, C, H, W).
        weight: (F, C, k, k), k odd.
        bias: (F,) or none.

    Returns:
        (B, F, H, W).
    """
    k = weight.shape[-1]
    if x.device.type != "cpu":
        return F.conv2d(x, weight, bias, padding=k // 2)
    B, _, H, W = x.shape
    # Fold scatters what a convolution gathers, so the kernel is turned round.
    matrix = weight.flip(2, 3).permute(1, 0, 2, 3).flatten(1)  # (C, F * k * k)
    pixels = x.permute(0, 2, 3, 1).reshape(B, H * W, -1)  # (B, H * W, C): a view of channels-last memory
    spread = (pixels @ matrix).transpose(1, 2)  # (B, F * k * k, H * W)
    y = F.fold(spread, (H, W), k, padding=k // 2)  # (B, F, H, W)
    return y if bias is None else y + bias[:, None, None]
