"""Where and how numbers are computed: device, precision, and seeds that depend on nothing but their arguments."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from layerwise.errors import UsageError, nearest

Precision = Literal["auto", "float32", "bfloat16"]

# Values of pictures a thread, of which EfficientNet-B0's and airbench's largest activations stay in 2 MB of cache:
# two of 224 pixels, a hundred of 32.
_CACHED = 310_000
_CHANNELS = 4  # of a picture, at most


@dataclass(frozen=True)
class Device:
    """A torch device together with the number format of its matrix products.

    Example:
        >>> pick("cpu", "float32").name
        'cpu'
    """

    place: torch.device
    autocast: torch.dtype | None

    @property
    def name(self) -> str:
        """The name that `--device` takes."""
        return str(self.place)

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """Context in which forward passes run."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.place.type, dtype=self.autocast)


def pick(name: str = "auto", precision: Precision = "auto") -> Device:
    """Choose a device, and bfloat16 where the hardware multiplies it natively.

    Raises:
        UsageError: the device is unknown, or this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f'There is no device "{name}".', fix=nearest(name, ["auto", "cpu", "cuda", "mps"])) from None
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, False):
        usable = ", ".join(kind for kind, there in here.items() if there)
        raise UsageError(f'This machine has no "{name}" that PyTorch can use.', expected=f"one of: auto, {usable}")
    wanted = precision == "bfloat16" or (precision == "auto" and _native_bfloat16(device))
    if device.type == "cpu":
        # Values that decay towards zero (dropped units, Adam's moments) become denormals, which a CPU computes in
        # microcode, up to 100 times slower. Zero is as good.
        torch.set_flush_denormal(True)
    return Device(device, torch.bfloat16 if wanted else None)


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return False


def mix(*numbers: int) -> int:
    """One 63-bit number from several, by SplitMix64 (Steele, Lea, Flood 2014); any change in any of them changes all.

    Example:
        >>> mix(1, 2) == mix(1, 2), mix(1, 2) == mix(2, 1)
        (True, False)
    """
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _WORD
        state ^= state >> 31
    return state >> 1


_WORD = (1 << 64) - 1


def seed(*numbers: int) -> None:
    """Set torch's generators from numbers alone, so that what follows depends on no earlier draw."""
    torch.manual_seed(mix(*numbers))


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pieces(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A batch in the pieces that a network in inference takes fastest, whatever the batch is good for in training.

    On a CPU what one layer leaves of a few pictures is still in the caches when the next one reads it.

    Args:
        inputs: (B, ...); pictures (B, C, H, W), C at most 4, come in pieces on a CPU, anything else whole: layers deep
            in a network have more weights than activations, and would read them anew for each piece.

    Example:
        >>> with threads(2):
        ...     [len(each) for each in pieces(torch.zeros(10, 3, 224, 224))]
        [4, 4, 2]
    """
    if inputs.device.type != "cpu" or inputs.ndim != 4 or inputs.shape[1] > _CHANNELS:
        return (inputs,)
    most = _CACHED * torch.get_num_threads() // max(1, math.prod(inputs.shape[1:]))
    # Powers of two: a batch of such a size falls into equal pieces, and kernels may round by the size of theirs.
    return torch.split(inputs, 1 << max(0, most.bit_length() - 1))


def give_back_memory() -> None:
    """Give the system back the memory that this process no longer uses; the C library of Linux may hold half a GB."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # other C libraries than GNU's do it by themselves
            ctypes.CDLL(None).malloc_trim(0)
