"""A frozen prefix as inference: folded, exported, checked; and never the user's network changed."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame, ConvNormAct, StdConv2d
from torch import Tensor, fx, nn

from layerwise.errors import UsageError
from layerwise.frozen import exports as export_file
from layerwise.frozen import infer
from layerwise.frozen.cuts import trace
from layerwise.frozen.exports import IR, WRITERS, exported, is_kept
from layerwise.frozen.infer import Run, agreement, checked_batch, choose, folded, torch_run
from layerwise.frozen.runtimes import RUNTIMES, Runtime, runtime_run
from layerwise.models import build_model

CPU = torch.device("cpu")
EACH = pytest.mark.parametrize("runtime", RUNTIMES)


class Tracer(fx.Tracer):
    """Layers of torch and timm are leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("timm.layers") or super().is_leaf_module(m, module_qualified_name)


def with_statistics(net: nn.Module) -> nn.Module:
    """Norms that do something: random statistics, scales and shifts."""
    generator = torch.Generator().manual_seed(0)

    def draw(like: Tensor, low: float, high: float) -> None:
        like.copy_(torch.rand(like.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
                draw(layer.running_mean, -1, 1)
                draw(layer.running_var, 0.3, 3)
                if layer.affine:
                    draw(layer.weight, -2, 2)
                    draw(layer.bias, -1, 1)
    return net


def traced(net: nn.Module) -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.GraphModule(net, Tracer().trace(with_statistics(net))).eval()


class Small(nn.Module):
    """Norms of both kinds, a grouped convolution, a shortcut, and activations in place; three boundaries."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)  # always the same weights
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = BatchNormAct2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm2 = nn.BatchNorm2d(8)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        stem = self.norm1(self.stem(x))
        block = stem + self.act(self.norm2(self.depthwise(stem)))
        return stem, block, block.mean((2, 3))


def images(count: int = 4, size: int = 16) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def norms(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


@pytest.fixture(scope="module")
def models() -> dict[IR, bytes]:
    """`Small`, exported once for all tests of this file that are about something else."""
    return {ir: export_file._export(ir, traced(Small()), images()) for ir in WRITERS}


@pytest.fixture
def exports(models: dict[IR, bytes], monkeypatch: pytest.MonkeyPatch) -> list[IR]:
    """Tells of exports, and makes them quick: whatever the prefix, it is `Small` that comes out."""
    made: list[IR] = []
    monkeypatch.setattr(export_file, "_export", lambda ir, prefix, example: made.append(ir) or models[ir])
    return made


FOLDED: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
    "bias": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8)),
    "no affine": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "timm norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), BatchNormAct2d(8)),
    "timm norm, no activation": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormAct2d(8, apply_act=False)),
    "timm norm, other activation": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormAct2d(8, act_layer=nn.SiLU)),
    "same padding": lambda: nn.Sequential(Conv2dSame(3, 8, 3, stride=2), BatchNormAct2d(8)),
    "timm leaf": lambda: nn.Sequential(ConvNormAct(3, 8, 3), ConvNormAct(8, 8, 1, apply_act=False)),
    "strided, dilated": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, dilation=2), nn.BatchNorm2d(8)),
}


@pytest.mark.parametrize("make", FOLDED.values(), ids=FOLDED.keys())
def test_a_norm_behind_its_convolution_is_folded_and_nothing_else_changes(make: Callable[[], nn.Module]) -> None:
    net = traced(make())
    quick = folded(net)
    assert norms(net) > 0
    assert norms(quick) == 0
    with torch.no_grad():
        assert agreement([net(images())], [quick(images())]) < 1e-5


def test_folding_leaves_the_network_as_it_was() -> None:
    net = traced(Small())
    net.train()
    net.norm1.eval()  # type: ignore[operator,union-attr]
    modes = {name: layer.training for name, layer in net.named_modules()}
    state = copy.deepcopy(net.state_dict())
    quick = folded(net)
    quick(images())
    assert {name: layer.training for name, layer in net.named_modules()} == modes
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(layer.training for layer in quick.modules())
    assert not any(parameter.requires_grad for parameter in quick.parameters())
    ours = {parameter.data_ptr() for parameter in net.parameters()}
    assert not any(parameter.data_ptr() in ours for parameter in quick.parameters())


class UsedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        value = self.conv(x)
        return value + self.norm(value)


class CalledTwice(nn.Module):
    """One convolution with a norm of its own each time, and one norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm1, self.norm2 = nn.BatchNorm2d(3), BatchNormAct2d(3)

    def forward(self, x: Tensor) -> Tensor:
        value = self.norm2(self.conv(self.norm1(self.conv(x))))
        return self.norm2(self.other(value)) + self.conv(value)


class Boundary(nn.Module):
    """The convolution's own value is asked for as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), BatchNormAct2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value = self.conv(x)
        return value.clone(), self.norm(value)


def test_a_convolution_whose_value_is_used_twice_is_not_folded() -> None:
    for net in (traced(UsedTwice()), traced(Boundary())):
        quick = folded(net)
        assert norms(quick) == 1
        ours, theirs = net(images()), quick(images())
        assert agreement([*ours], [*theirs]) == 0


def test_layers_that_are_called_twice_keep_what_each_call_needs() -> None:
    net = traced(CalledTwice())
    quick = folded(net)
    assert norms(quick) == 0
    assert agreement([net(images())], [quick(images())]) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(StdConv2d(3, 8, 3), nn.BatchNorm2d(8)),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8)),
    ],
    ids=["standardised weights", "no stored statistics", "activation between", "parametrised"],
)
def test_what_only_looks_like_a_pair_is_not_folded(make: Callable[[], nn.Module]) -> None:
    net = traced(make())
    quick = folded(net)
    assert norms(quick) == 1
    with torch.no_grad():
        assert torch.equal(net(images()), quick(images()))


def test_a_hook_on_a_layer_is_not_folded_away() -> None:
    net = traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    net.get_submodule("0").register_forward_hook(lambda layer, given, value: value * 2)
    assert torch.equal(folded(net)(images()), net(images()))


def test_what_is_no_graph_comes_back_as_a_copy_in_eval_mode() -> None:
    net = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    quick = folded(net)
    assert norms(quick) == 1
    assert net.training and not quick.training
    assert torch.equal(quick(images()), copy.deepcopy(net).eval()(images()))


def test_torch_gives_what_the_prefix_gives_also_to_layers_that_train() -> None:
    net, x = traced(Small()), images()
    values = torch_run(net, CPU)(x)
    assert agreement(net(x), values) < 1e-5
    assert torch.equal(x, images())
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in values)
    layer = nn.Linear(8, 2)
    layer(values[2]).sum().backward()
    assert layer.weight.grad is not None


def test_a_prefix_that_gives_one_tensor_runs_too() -> None:
    net = traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    assert [value.shape for value in torch_run(net, CPU)(images())] == [(4, 8, 14, 14)]


def test_agreement_is_a_share_of_the_scale_at_the_worst_boundary() -> None:
    a, b = torch.tensor([2.0, -10.0]), torch.tensor([2.0, -9.0])
    assert agreement([a], [a]) == 0
    assert agreement([a, a], [a, b]) == pytest.approx(0.1)
    assert agreement([torch.zeros(2)], [torch.zeros(2)]) == 0
    for wrong in (torch.tensor([2.0, torch.nan]), torch.tensor([torch.inf, 1.0]), torch.zeros(3)):
        assert agreement([a], [wrong]) == torch.inf
    assert agreement([torch.tensor([torch.nan])], [torch.tensor([torch.nan])]) == torch.inf
    assert agreement([torch.zeros(2)], [a]) == torch.inf
    assert agreement([a, a], [a]) == torch.inf


def run_of(prefix: nn.Module, example: Tensor, *, key: str, cache: Path, runtime: Runtime = "openvino") -> Run:
    """An exported prefix, ready to run."""
    return runtime_run(runtime, exported(RUNTIMES[runtime].ir, prefix, example, key=key, cache=cache), example)


@EACH
def test_a_runtime_gives_every_boundary_for_any_batch(tmp_path: Path, runtime: Runtime) -> None:
    net = traced(Small())
    run = run_of(net, images(), key="small", cache=tmp_path, runtime=runtime)
    for count in (32, 5, 1):
        values = run(images(count))
        assert agreement(net(images(count)), values) < 1e-5
        assert [len(value) for value in values] == [count] * 3
        assert all(value.dtype == torch.float32 for value in values)
    last = run(images(1))[2]
    last += 1  # memory of its own


@EACH
@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_gives_the_same_bits_in_any_batch(
    tmp_path: Path, exports: list[IR], runtime: Runtime, threads: int
) -> None:
    before, x = torch.get_num_threads(), images(32)
    one = run_of(traced(Small()), images(), key="small", cache=tmp_path, runtime=runtime)(x)
    torch.set_num_threads(threads)
    try:
        run = run_of(traced(Small()), images(), key="small", cache=tmp_path, runtime=runtime)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, run(x), strict=True))
    whole, order = run(x), torch.randperm(32)
    for boundary, permuted in zip(whole, run(x[order]), strict=True):
        assert torch.equal(boundary[order], permuted)
    for count in (1, 2, 7, 31):
        assert all(torch.equal(a[:count], b) for a, b in zip(whole, run(x[:count]), strict=True))


def test_an_export_is_made_once_for_a_key_and_size(tmp_path: Path, exports: list[IR]) -> None:
    net = traced(Small())
    assert not is_kept("openvino", images(), key="a", cache=tmp_path)
    first = run_of(net, images(), key="a", cache=tmp_path)(images())
    assert is_kept("openvino", images(), key="a", cache=tmp_path)
    again = run_of(net, images(9), key="a", cache=tmp_path)(images())
    assert len(exports) == 1
    assert agreement(first, again) == 0
    run_of(net, images(), key="b", cache=tmp_path)
    run_of(net, images(size=20), key="a", cache=tmp_path)
    assert len(exports) == 3


def test_another_version_makes_another_export(
    tmp_path: Path, exports: list[IR], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(traced(Small()), images(), key="a", cache=tmp_path)
    monkeypatch.setattr(export_file, "_version", lambda package: "99.0")
    run_of(traced(Small()), images(), key="a", cache=tmp_path)
    assert len(exports) == 2


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "no digest"])
def test_a_damaged_export_is_made_again(tmp_path: Path, exports: list[IR], harm: str) -> None:
    net = traced(Small())
    run_of(net, images(), key="a", cache=tmp_path)
    (file,) = tmp_path.rglob("*.model")
    content = bytearray(file.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[:-100])
    else:
        (file if harm == "gone" else file.with_name("sha256")).unlink()
    assert agreement(net(images()), run_of(net, images(), key="a", cache=tmp_path)(images())) < 1e-5
    assert len(exports) == 2
    run_of(net, images(), key="a", cache=tmp_path)
    assert len(exports) == 2


@pytest.mark.slow
def test_exporting_and_running_says_nothing_and_opens_no_connection(tmp_path: Path) -> None:
    code = (
        "import sys; sys.addaudithook(lambda event, args: event.startswith('socket.') and print(event, args))\n"
        "import torch; from pathlib import Path; from layerwise.frozen.exports import exported\n"
        "from layerwise.frozen.runtimes import RUNTIMES, runtime_run\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU6(inplace=True))\n"
        "example = torch.zeros(2, 3, 8, 8)\n"
        "for runtime, kind in RUNTIMES.items():\n"
        "    model = exported(kind.ir, net, example, key='k', cache=Path(sys.argv[1]))\n"
        "    runtime_run(runtime, model, example)(example)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


_BESIDE_TELEMETRY = """
import logging, sys, types
from pathlib import Path

calls = []


class Telemetry:
    def __init__(self, *args, **more):
        pass

    def __getattr__(self, name):
        if name == "backend":
            raise AttributeError(name)
        return lambda *args, **more: calls.append(name)


fake, backend = types.ModuleType("openvino_telemetry"), types.ModuleType("openvino_telemetry.backend")
fake.Telemetry, backend.backend_ga4 = Telemetry, None
sys.modules |= {"openvino_telemetry": fake, "openvino_telemetry.backend": backend}
import openvino  # as a user's own program may, telemetry and all

told = len(calls)
import torch
from layerwise.frozen.exports import exported
from torch import nn

net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
exported("openvino", net, torch.zeros(2, 3, 8, 8), key="k", cache=Path(sys.argv[1]))
print(told > 0, calls[told:], logging.root.handlers, logging.root.filters, logging.root.level)
"""


@pytest.mark.slow
def test_an_export_tells_nobody_and_leaves_the_programs_logging_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BESIDE_TELEMETRY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True [] [] [] 30\n", "")


class Stubborn(nn.Module):
    """Cannot be exported: what it does depends on values."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x * 2 if float(x.sum()) > 0 else x,)


@EACH
def test_a_prefix_that_cannot_be_exported_is_an_error_that_says_what_to_do(
    tmp_path: Path, runtime: Runtime, capfd: pytest.CaptureFixture[str]
) -> None:
    name = WRITERS[RUNTIMES[runtime].ir].name
    with pytest.raises(UsageError, match=f"exported to {name}: .+data-dependent.+frozen.engine=torch"):
        run_of(Stubborn(), images(), key="a", cache=tmp_path, runtime=runtime)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.rglob("*.model"))


def chosen(prefix: nn.Module, engine: Any, cache: Path, *, count: int = 10**9) -> infer.Chosen:
    return choose(prefix, images(), engine=engine, images=count, key="a", cache=cache, device=CPU)


def test_torch_when_asked_for_and_where_an_export_would_not_pay(tmp_path: Path, exports: list[IR]) -> None:
    for engine, count in (("torch", 10**9), ("auto", 40)):
        choice = chosen(traced(Small()), engine, tmp_path, count=count)
        assert (choice.engine, choice.note) == ("torch", None)
        assert 0 < choice.seconds_per_image < choice.setup_seconds
    assert not exports


def test_auto_takes_the_faster_engine(tmp_path: Path, exports: list[IR], monkeypatch: pytest.MonkeyPatch) -> None:
    real, slow = infer._measured, set[str]()

    def measured(run: Run, engine: infer.Engine, example: Tensor) -> infer._Measured:
        return infer._Measured(run, engine, 2.0 if engine in slow else 1.0)

    monkeypatch.setattr(infer, "_measured", measured)
    net = traced(Small())
    for first, behind in (("openvino", {"torch"}), ("onnxruntime", {"torch", "openvino"}), ("torch", set())):
        slow = behind
        choice = chosen(net, "auto", tmp_path)
        assert (choice.engine, choice.note) == (first, None)
        assert agreement(net(images()), choice.run(images())) < 1e-5
    assert exports == ["openvino", "onnx"]
    assert real(choice.run, "torch", images()).seconds_per_image < 1


def test_the_bar_is_what_a_runtime_takes_and_a_kept_export_lowers_it(
    tmp_path: Path, exports: list[IR], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer, "_measured", lambda run, engine, example: infer._Measured(run, engine, 0.01))
    net, tried = traced(Small()), list[Any]()
    real = infer._tried
    monkeypatch.setattr(infer, "_tried", lambda runtime, *args: tried.append(runtime) or real(runtime, *args))
    for count, paying in ((500, []), (1000, ["openvino"]), (9000, ["openvino", "onnxruntime"])):  # 5 s in PyTorch
        chosen(net, "auto", tmp_path, count=count)
        assert tried == paying
        tried.clear()
        for made in list(tmp_path.rglob("sha256")):
            shutil.rmtree(made.parent)
    run_of(net, images(), key="a", cache=tmp_path)
    exports.clear()
    chosen(net, "auto", tmp_path, count=500)
    assert tried == ["openvino"] and not exports


def test_a_gpu_runs_torch(tmp_path: Path, exports: list[IR]) -> None:
    choice = choose(
        traced(Small()),
        images().to("meta"),
        engine="auto",
        images=10**9,
        key="a",
        cache=tmp_path,
        device=torch.device("meta"),  # stands for any that is no CPU
    )
    assert (choice.engine, exports) == ("torch", [])


@EACH
def test_without_a_runtime_auto_takes_another_and_asking_for_it_is_an_error(
    tmp_path: Path, exports: list[IR], monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    real = export_file._version
    monkeypatch.setattr(export_file, "_version", lambda name: None if name == runtime else real(name))
    monkeypatch.setattr(
        infer, "_measured", lambda run, engine, _: infer._Measured(run, engine, 1 + (engine == "torch"))
    )
    choice = chosen(traced(Small()), "auto", tmp_path)
    assert choice.engine == ({*RUNTIMES} - {runtime}).pop()
    assert not choice.note
    with pytest.raises(UsageError, match=f"needs {runtime}. pip install {runtime}"):
        chosen(traced(Small()), runtime, tmp_path)


def test_without_any_runtime_auto_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export_file._version
    monkeypatch.setattr(export_file, "_version", lambda name: None if name in RUNTIMES else real(name))
    choice = chosen(traced(Small()), "auto", tmp_path)
    assert choice.engine == "torch"
    assert "pip install openvino" in str(choice.note) and "pip install onnxruntime" in str(choice.note)


def test_what_cannot_be_exported_runs_in_torch_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = chosen(Stubborn(), "auto", tmp_path)
    assert choice.engine == "torch"
    assert "cannot be exported" in str(choice.note) and "runs in PyTorch" in str(choice.note)
    assert str(choice.note).count("cannot be exported") == len(WRITERS)
    monkeypatch.setattr(infer, "_measured", lambda run, engine, example: infer._Measured(run, engine, 0.01))
    choice = chosen(Stubborn(), "auto", tmp_path, count=1000)  # which only one of them pays for
    assert choice.engine == "torch" and str(choice.note).count("cannot be exported") == 1
    for runtime in RUNTIMES:
        with pytest.raises(UsageError, match="frozen.engine=torch"):
            chosen(Stubborn(), runtime, tmp_path)


@EACH
def test_an_export_that_gives_something_else_is_never_used(tmp_path: Path, exports: list[IR], runtime: Runtime) -> None:
    run_of(traced(Small()), images(), key="a", cache=tmp_path)
    other = traced(Small())
    with torch.no_grad():
        other.stem.weight *= 1.001  # type: ignore[union-attr,operator]
    choice = chosen(other, "auto", tmp_path)
    assert choice.engine == "torch"
    assert "differ" in str(choice.note)
    with pytest.raises(UsageError, match="differ by .+ frozen.engine=torch"):
        chosen(other, runtime, tmp_path)


def test_the_first_batch_of_every_run_is_checked(tmp_path: Path, exports: list[IR]) -> None:
    net = traced(Small())
    run_of(net, images(), key="a", cache=tmp_path)
    kept = run_of(net, images(), key="a", cache=tmp_path)
    assert len(exports) == 1
    assert agreement(net(images(20)), checked_batch(kept, net, images(20))) < 1e-5
    with torch.no_grad():
        net.norm2.bias += 1e-2  # type: ignore[union-attr,operator]
    with pytest.raises(UsageError, match="differ"):
        checked_batch(kept, net, images(20))


@EACH
def test_a_runtime_asked_for_is_used_however_few_the_images(
    tmp_path: Path, exports: list[IR], runtime: Runtime
) -> None:
    choice = chosen(traced(Small()), runtime, tmp_path, count=1)
    assert (choice.engine, choice.note) == (runtime, None)
    assert choice.seconds_per_image > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "middle", "left"),
    # DenseNet's norms stand before their convolutions: half of them cannot be folded.
    [("efficientnet_lite0", "body.blocks.3.2", 0), ("densenet121", "body.features.transition2.norm", 62)],
)
def test_all_engines_agree_with_a_backbone_at_several_boundaries(
    name: str, middle: str, left: int, tmp_path: Path
) -> None:
    net = build_model(name, classes=5, channels=3, size=96, pretrained=False, options={})
    x = images(4, 96)
    network = trace(with_statistics(net), x)
    prefix = network.prefix([middle, network.cuts[-3].name, network.cuts[-1].name]).eval()
    assert norms(folded(prefix)) == left
    with torch.no_grad():
        ours = prefix(x)
    assert agreement(ours, torch_run(prefix, CPU)(x)) < 1e-5
    for runtime in RUNTIMES:
        assert agreement(ours, run_of(prefix, x, key=name, cache=tmp_path, runtime=runtime)(x)) < 1e-4


_FLUSHED = """
import sys, torch
from pathlib import Path
from layerwise.device import pick
from layerwise.frozen.exports import exported
from layerwise.frozen.runtimes import RUNTIMES, runtime_run
from torch import nn


class Prefix(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return (self.conv(x),)


pick("cpu")
example = torch.zeros(2, 3, 8, 8)
model = exported(RUNTIMES[sys.argv[2]].ir, Prefix(), example, key="k", cache=Path(sys.argv[1]))
runtime_run(sys.argv[2], model, example)(example)
print((torch.full((8,), 1e-39) * 1.0).max().item())
"""


@EACH
def test_the_first_session_of_a_process_leaves_denormals_flushed(tmp_path: Path, runtime: Runtime) -> None:
    """In a process of its own, as only the first session sets it."""
    command = [sys.executable, "-c", _FLUSHED, str(tmp_path), runtime]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) == 0.0
