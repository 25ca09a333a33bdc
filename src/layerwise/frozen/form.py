"""The form of kept activations: how an example's activation becomes the bytes of a row, and comes back."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerwise.errors import RecipeError, TrainingError

KEY_BYTES = 16
_TORCH = {"float16": torch.float16, "float32": torch.float32}

Dtype = Literal["float16", "float32", "uint8"]
Rows = NDArray[np.uint8]  # (n, row_bytes): records as they lie on disk


@dataclass(frozen=True)
class Form:
    """What the rows of one boundary are.

    `float16` keeps a value to 0.05 % of itself (2^-11), or to 3e-8 where it is below 6e-5. `uint8` keeps a minimum
    and a step in float32 for each example and channel; a value comes back within half a step, (max - min) / 510 of
    its channel, plus float32's own rounding. The channel is the first axis of three, (C, H, W), and otherwise the
    last, such as (tokens, C); a wrong guess (H, W, C) costs accuracy, within the same bound. A vector has one value a
    channel, so `uint8` keeps it as `float16`.

    Args:
        shape: of an example's activation.
        dtype: of a value on disk.
        key: hex SHA-256 of all that decides a row's value besides image and view, the dtype included.

    Example:
        >>> Form((8, 4, 4), "float16", "0" * 64).row_bytes, Form((8, 4, 4), "uint8", "0" * 64).row_bytes
        (256, 192)
    """

    shape: tuple[int, ...]
    dtype: Dtype
    key: str

    def __post_init__(self) -> None:
        assert self.shape and min(self.shape) >= 1, self.shape
        assert self.dtype in get_args(Dtype), self.dtype
        assert re.fullmatch("[0-9a-f]{64}", self.key), self.key

    @property
    def stored(self) -> Dtype:
        """The dtype on disk: `float16` where `uint8` makes no sense."""
        return "float16" if self.dtype == "uint8" and len(self.shape) == 1 else self.dtype

    @property
    def channels(self) -> int:
        """Length of the axis that has a scale of its own under `uint8`."""
        return self.shape[0] if len(self.shape) == 3 else self.shape[-1]

    @property
    def row_bytes(self) -> int:
        """Bytes of an example on disk, without its key."""
        values = math.prod(self.shape)
        return values + 8 * self.channels if self.stored == "uint8" else values * np.dtype(self.stored).itemsize


def row_key(image_hash: str, view: str) -> bytes:
    """The 16 bytes that name one view of one image, whatever the file is called and wherever it lies.

    Args:
        image_hash: of the image's content, as of `PixelStore.hashes`.
        view: what was done to the image, in words that name it completely.

    Example:
        >>> row_key("ab", "plain").hex()
        '9a8823c34b59d7af8535e50d125c8578'
    """
    assert image_hash, "an image that could not be read has no activations"
    return hashlib.blake2b(f"{image_hash}\0{view}".encode(), digest_size=KEY_BYTES).digest()


def encode(form: Form, values: Tensor, names: NDArray[np.int64]) -> Rows:
    """(B, *shape) -> (B, row_bytes), in memory of its own; `names` are the rows' numbers in an error."""
    assert values.shape[1:] == form.shape, (values.shape, form.shape)
    values = values.detach()
    if form.stored == "uint8":
        return _encode_uint8(form, values.to("cpu", torch.float32), names)
    kept = torch.empty(values.shape, dtype=_TORCH[form.stored]).copy_(values)
    _require_finite(form, values, kept, names)
    return kept.flatten(1).numpy().view(np.uint8)


def _encode_uint8(form: Form, values: Tensor, names: NDArray[np.int64]) -> Rows:
    axes = _within_channel(form)
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)  # (B, C, 1, 1) or (B, 1, C)
    step = (high - low) / 255
    _require_finite(form, values, step, names)
    count = math.prod(form.shape)
    records = np.empty((len(values), form.row_bytes), np.uint8)
    levels = ((values - low) / torch.where(step > 0, step, 1.0)).round_().clamp_(0, 255)
    records[:, :count] = levels.to(torch.uint8).reshape(len(values), count).numpy()
    scales = torch.stack([low.flatten(1), step.flatten(1)], 1).numpy()  # (B, 2, C)
    records[:, count:] = scales.reshape(len(values), -1).view(np.uint8)
    return records


def decode(form: Form, records: Rows) -> Tensor:
    """(B, row_bytes) -> (B, *shape) float32; memory of `records` may be given on."""
    shape = (len(records), *form.shape)
    if form.stored != "uint8":
        return torch.from_numpy(records.view(form.stored).reshape(shape)).float()
    count = math.prod(form.shape)
    values = torch.from_numpy(records[:, :count]).float().view(shape)
    scales = np.ascontiguousarray(records[:, count:]).view(np.float32).reshape(-1, 2, form.channels)
    spread = [1 if axis in _within_channel(form) else size for axis, size in enumerate(shape)]
    low, step = (torch.from_numpy(scales[:, part]).reshape(spread) for part in (0, 1))  # (B, C, 1, 1) or (B, 1, C)
    return values.mul_(step).add_(low)


def _within_channel(form: Form) -> tuple[int, ...]:
    """Axes of a batch over which the values of one channel lie."""
    return (2, 3) if len(form.shape) == 3 else tuple(range(1, len(form.shape)))


def _require_finite(form: Form, values: Tensor, kept: Tensor, names: NDArray[np.int64]) -> None:
    if torch.isfinite(kept).all():
        return
    wrong = names[~torch.isfinite(values.float().flatten(1)).all(1).cpu().numpy()].tolist()
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TrainingError(
            f"The frozen part of the network gave values that are not finite for row {', '.join(map(str, wrong[:5]))}"
            f"{more}.",
            expected="finite activations",
            fix="Look at these images, and at the weights that the run starts from.",
        )
    largest = values.abs().max().item()
    raise RecipeError(
        f"The frozen part of the network gave values up to {largest:.3g}, too large for {form.stored}.",
        expected="values within ±65504" if form.stored == "float16" else "a smaller range",
        fix="Run again with `--set frozen.dtype=float32`.",
    )
