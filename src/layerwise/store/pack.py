"""Nested state to tensors and plain JSON values, and back, exactly.

A state is dictionaries, lists and tuples, as deep as they need be, of tensors, numbers, texts, booleans and None: what
`state_dict()` of a network, an optimizer or a task gives. Its tensors go to a safetensors file, all else to JSON:

    tensor                     {"$tensor": NAME} and {"stride": [...]} where its memory is not in the standard order
    tuple                      {"$tuple": [...]}
    dict with other keys       {"$dict": [[key, value], ...]}       (an optimizer's keys are numbers)
    NaN, infinity              {"$float": "nan" | "inf" | "-inf"}
    all else                   as it is

The memory order (channels-last) is kept, because a convolution chooses its algorithm by it, and a resumed run must add
in the order of the first one to be equal in every bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from layerwise.errors import StoreError

MAX_DEPTH = 24
"""Deepest nest of a state."""

DTYPES = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
        *(torch.int64, torch.int32, torch.int16, torch.int8),
        *(torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    }
)
"""Types of tensors that can be kept."""


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Part a state into tensors by name (contiguous, on the CPU, no two sharing memory) and plain JSON values.

    Tensors that need no change are not copied: they go on sharing the memory of the state.

    Raises:
        StoreError: the state holds something else (named with its place), or is nested too deep.

    Example:
        >>> pack({"step": 3, "betas": (0.9, 0.999), "weight": torch.zeros(2)})[1]
        {'step': 3, 'betas': {'$tuple': [0.9, 0.999]}, 'weight': {'$tensor': '0 weight'}}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _part(state, (), tensors, set())


def unpack(tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """Join what `pack` has parted; every tensor gets memory of its own, in the order it had.

    Raises:
        StoreError: the two do not belong together, or `plain` is not what `pack` makes.

    Example:
        >>> unpack(*pack({0: (True, None)}))
        {0: (True, None)}
    """
    left = dict(tensors)
    state = _join(plain, left)
    if left:
        raise StoreError(f'The state has no place for the tensor "{next(iter(left))}".')
    return state


def plain_tensor(tensor: Tensor) -> Tensor:
    """A tensor without history, on the CPU and contiguous; copied only where it must be.

    Raises:
        StoreError: its type or layout cannot be kept.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise StoreError(
            f"A tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device} cannot be kept.",
            expected="a dense tensor of a common type",
            fix="Convert it in state_dict().",
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def _part(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor], seen: set[int]) -> Any:
    if len(path) > MAX_DEPTH:
        raise StoreError(f"The state is nested more than {MAX_DEPTH} deep at {'/'.join(path[:4])}/…")
    if isinstance(value, Tensor):
        return _part_tensor(value, path, tensors, seen)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str(key): _part(inner, (*path, key), tensors, seen) for key, inner in value.items()}
        pairs = ((key, _part(inner, (*path, str(key)), tensors, seen)) for key, inner in value.items())
        return {"$dict": [[_part(key, path, tensors, seen), inner] for key, inner in pairs]}
    if isinstance(value, (list, tuple)):
        items = [_part(inner, (*path, str(index)), tensors, seen) for index, inner in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    raise StoreError(
        f"The state holds a {type(value).__name__} at {'/'.join(path) or 'its top'}.",
        expected="tensors, numbers, texts, booleans, None, and lists, tuples and dictionaries of them",
        fix="Return one of these from state_dict().",
    )


def _part_tensor(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor], seen: set[int]) -> dict[str, Any]:
    kept = plain_tensor(tensor)
    memory = kept.untyped_storage().data_ptr()
    if memory in seen:
        kept = kept.clone()
        memory = kept.untyped_storage().data_ptr()
    if kept.numel():
        seen.add(memory)
    # The number makes the name unique, the path makes it readable for people with other tools.
    name = f"{len(tensors)} {'/'.join(path)}".encode("utf-8", "replace").decode("utf-8")
    tensors[name] = kept
    stride = tensor.stride()
    if stride != _standard(tensor.shape) and _fills_memory(tensor.shape, stride):
        return {"$tensor": name, "stride": list(stride)}
    return {"$tensor": name}


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_join(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$tensor": str(name), **rest} if name in tensors:
            return _join_tensor(tensors.pop(name), rest)
        case {"$tuple": list(items)} if len(value) == 1:
            return tuple(_join(inner, tensors) for inner in items)
        case {"$float": "nan" | "inf" | "-inf" as text} if len(value) == 1:
            return float(text)
        case {"$dict": list(pairs)} if len(value) == 1:
            return dict(_join_pair(pair, tensors) for pair in pairs)
    strange = [key for key in value if key.startswith("$")]
    if strange:
        raise StoreError(f'The state has an entry "{strange[0]}" that cannot be understood, or its tensor is missing.')
    return {key: _join(inner, tensors) for key, inner in value.items()}


def _join_pair(pair: Any, tensors: dict[str, Tensor]) -> tuple[Any, Any]:
    try:
        key, value = pair
        key = _join(key, tensors)
        hash(key)
    except (TypeError, ValueError):
        raise StoreError("The state has a dictionary that cannot be understood.") from None
    return key, _join(value, tensors)


def _join_tensor(tensor: Tensor, rest: Mapping[str, Any]) -> Tensor:
    if not rest:
        return tensor.clone(memory_format=torch.contiguous_format)
    stride = rest.get("stride")
    if set(rest) != {"stride"} or not isinstance(stride, list) or not _fills_memory(tensor.shape, stride):
        raise StoreError("The state has a tensor whose memory order cannot be understood.")
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def _standard(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, in elements."""
    return torch.empty(shape, device="meta").stride()


def _fills_memory(shape: Sequence[int], stride: Sequence[Any]) -> bool:
    """Whether elements in this order fill their memory without gap or overlap, as all memory formats do."""
    if len(shape) != len(stride) or any(type(step) is not int or not 0 <= step < 2**62 for step in stride):
        return False
    if 0 in shape:
        return False
    expected = 1
    for step, length in sorted((step, length) for length, step in zip(shape, stride, strict=True) if length > 1):
        if step != expected:
            return False
        expected *= length
    return True
