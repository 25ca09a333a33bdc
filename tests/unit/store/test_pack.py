from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from layerwise.errors import StoreError
from layerwise.store import strict_json
from layerwise.store.pack import DTYPES, MAX_DEPTH, pack, unpack

SCALARS = [
    None,
    True,
    False,
    0,
    -7,
    2**64,
    2**200,
    0.1,
    -0.0,
    1e300,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "ö\udcff",
    "$x",
]


def through_files(state: Any) -> Any:
    tensors, plain = pack(state)
    return unpack(load(save(tensors)), strict_json.parse(strict_json.seal({"x": plain}), 100)["x"])


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return (
            isinstance(right, torch.Tensor)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and left.contiguous().view(-1).view(torch.uint8).equal(right.contiguous().view(-1).view(torch.uint8))
            if left.numel()
            else left.shape == right.shape and left.dtype == right.dtype
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right)


def random_tensor(draw: random.Random, dtypes: list[torch.dtype]) -> torch.Tensor:
    shape = [draw.choice([0, 1, 1, 2, 3, 5]) for _ in range(draw.randrange(5))]
    dtype = draw.choice(dtypes)
    size = math.prod(shape)
    raw = torch.tensor([draw.randrange(256) for _ in range(size * dtype.itemsize)], dtype=torch.uint8)
    made = raw % 2 == 1 if dtype is torch.bool else raw.view(dtype)
    made = made[:size].reshape(shape)
    if made.dim() == 4 and draw.random() < 0.6:
        made = made.contiguous(memory_format=torch.channels_last)
    elif draw.random() < 0.3:
        made = made.permute(draw.sample(range(made.dim()), made.dim()))
    return made


def random_state(draw: random.Random, dtypes: list[torch.dtype], depth: int = 0) -> Any:
    kind = draw.randrange(6 if depth < 4 else 2)
    if kind == 0:
        return draw.choice(SCALARS)
    if kind == 1:
        return random_tensor(draw, dtypes)
    inner = [random_state(draw, dtypes, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 2:
        return inner
    if kind == 3:
        return tuple(inner)
    keys: list[Any] = draw.sample(["a", "b/c", "$tensor", "", 0, 17, None, -1.5, "ö"], len(inner))
    return dict(zip(keys, inner, strict=True))


@pytest.mark.parametrize("seed", range(200))
def test_any_state_comes_back_exactly_through_the_files(seed: int) -> None:
    state = random_state(random.Random(seed), sorted(DTYPES, key=str))
    assert same(through_files(state), state)


def test_the_state_of_an_optimizer_comes_back() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    back = through_files(state)
    assert same(back["optimizer"], optimizer.state_dict())
    assert same(back["network"], dict(network.state_dict()))
    assert back["optimizer"]["state"][0]["exp_avg"].stride() == optimizer.state_dict()["state"][0]["exp_avg"].stride()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 1, 1), (4, 3, 1, 1)])
def test_the_memory_order_is_kept_even_where_shapes_leave_it_open(shape: tuple[int, ...]) -> None:
    order = torch.channels_last
    tensor = torch.randn(shape).contiguous(memory_format=order)
    assert through_files({"x": tensor})["x"].stride() == tensor.stride()
    video = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    assert through_files([video])[0].stride() == video.stride()


def test_shared_expanded_and_sliced_tensors_come_back_by_value() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {
        "whole": whole,
        "again": whole,
        "row": whole[1],
        "column": whole[:, 1],
        "transposed": whole.T,
        "expanded": torch.ones(1, 3).expand(4, 3),
        "conjugate": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(whole.clone()),
    }
    back = through_files(state)
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor.detach()), name
    back["whole"].zero_()
    assert back["again"].sum() > 0, "each has memory of its own"
    assert whole.sum() > 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "set at a/0"),
        (b"bytes", "bytes"),
        (print, "builtin_function"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_cannot_be_kept_is_named_with_its_place(value: Any, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        pack({"a": [value]})


def test_a_nest_without_end_is_refused_and_a_deep_one_is_kept() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(StoreError, match="deep"):
        pack(endless)
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = {0: deep}
    assert same(through_files(deep), deep)


@pytest.mark.parametrize(
    "plain",
    [
        {"$tensor": "no such"},
        {"$tensor": 3},
        {"$tensor": "0 x", "stride": [7, 7]},
        {"$tensor": "0 x", "stride": [2**62, 1]},
        {"$tensor": "0 x", "stride": [-1, 1]},
        {"$tensor": "0 x", "stride": [2.0, 1]},
        {"$tensor": "0 x", "stride": "21"},
        {"$tensor": "0 x", "other": 1},
        {"$tensor": "0 x", "stride": [2, 1], "other": 1},
        [{"$tensor": "0 x"}, {"$tensor": "0 x"}],
        {"$tuple": 3},
        {"$tuple": [], "more": 1},
        {"$float": "1e5"},
        {"$dict": [[[], 1]]},
        {"$dict": [[1]]},
        {"$dict": [5]},
        {"$dict": 5},
        {"$import": "os"},
        {"nothing": "for the tensor"},
    ],
)
def test_plain_values_that_pack_never_makes_are_refused(plain: Any) -> None:
    with pytest.raises(StoreError):
        unpack({"0 x": torch.zeros(3, 2)}, plain)
