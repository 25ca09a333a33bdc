"""Convolution to very few channels, such as the last one of a network that makes images.

B images, C channels, F filters, H x W pixels, k the side of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvToFew(nn.Module):
    """What `nn.Conv2d(C, F, k, padding="same")` computes, in a form that is fast where F is 1 to 4.

    A convolution's routine is built for many filters: of a vector register's lanes, one for each filter, nearly all
    stay empty here. As a product of all pixels with a (C, F * k * k) matrix, whose answers are then summed where they
    belong (`F.fold`), the same multiplications fill the registers. Parameters have the names and shapes of `nn.Conv2d`,
    so weights are interchangeable. Sums are taken in another order: answers differ by rounding.

    On other devices than the CPU, and in lower precision, it is the convolution itself.

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
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, weight, bias, padding=k // 2)
    y: Tensor = _ConvToFew.apply(x, weight)
    return y if bias is None else y + bias[:, None, None]


class _ConvToFew(torch.autograd.Function):
    """The products one image at a time, and in the order that leaves no transposed copies in either direction.

    Derived by torch alone, the gradient of a product of all pixels at once takes a quarter longer. The backward pass is
    made of operations that can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        B, _, H, W = x.shape
        k = weight.shape[-1]
        spread = torch.bmm(_matrix(weight).expand(B, -1, -1), _pixels(x).transpose(1, 2))  # (B, F * k * k, H * W)
        return F.fold(spread, (H, W), k, padding=k // 2)  # (B, F, H, W)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (B, C, H, W), k = x.shape, weight.shape[-1]
        gathered = F.unfold(gradients[0], k, padding=k // 2)  # (B, F * k * k, H * W)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_pixels = torch.bmm(gathered.transpose(1, 2), _matrix(weight).expand(B, -1, -1))  # (B, H * W, C)
            of_x = of_pixels.view(B, H, W, C).permute(0, 3, 1, 2)  # (B, C, H, W), channels last
        if ctx.needs_input_grad[1]:
            of_matrix = torch.bmm(gathered, _pixels(x)).sum(0)  # (F * k * k, C)
            of_weight = of_matrix.view(-1, k, k, C).flip(1, 2).permute(0, 3, 1, 2)  # (F, C, k, k)
        return of_x, of_weight


def _matrix(weight: Tensor) -> Tensor:
    """(F, C, k, k) -> (F * k * k, C), turned round: a fold scatters what a convolution gathers."""
    return weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C): a view of channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
