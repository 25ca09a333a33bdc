from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from layerwise.models import MODELS, body_layers, build_model
from layerwise.models.backbones import Transfer, parameter_layers


def transfer(name: str, size: int = 64, **options: object) -> Transfer:
    net = build_model(name, classes=3, channels=3, size=size, pretrained=False, options=options)
    assert isinstance(net, Transfer)
    return net


def test_pools_with_the_bodys_own_pooling() -> None:
    net = transfer("mobilenet_v2").eval()
    features = net.forward_features(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 1280, 2, 2)
    torch.testing.assert_close(net.pool(features), features.mean((2, 3)))
    torch.testing.assert_close(net.forward_head(features), net.head(net.pool(features)))


def test_options_of_the_head() -> None:
    head = transfer("mobilenet_v2", hidden=128, dropout=0.5).head
    assert head.hidden is not None
    assert (head.hidden.in_features, head.hidden.out_features, head.dropout.p) == (1280, 128, 0.5)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_mambaout", "mobilenetv3_small_050"])
def test_other_kinds_of_timm_networks_work(name: str) -> None:
    net = transfer(f"timm:{name}", size=160)
    assert net(torch.zeros(2, 3, 160, 160)).shape == (2, 3)


def test_a_network_of_fixed_size_is_built_for_the_size_asked() -> None:
    assert transfer("timm:test_vit", size=96)(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.transfer and "vgg" not in name])
def test_layers_are_listed_in_the_order_of_the_forward_pass(name: str) -> None:
    with torch.device("meta"):
        body = timm.create_model(MODELS[name].source, num_classes=0)
    layers = parameter_layers(body.eval())
    assert {id(p) for _, layer in layers for p in layer.parameters(recurse=False)} == {id(p) for p in body.parameters()}
    ran: list[str] = []
    for layer_name, layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output, layer_name=layer_name: ran.append(layer_name))
    body.forward_features(torch.zeros(1, 3, 96, 96, device="meta"))
    # Xception registers a block's shortcut before the branch beside it; nothing else differs.
    listed = [layer_name for layer_name, _ in layers if ".skip" not in layer_name]
    assert listed == [layer_name for layer_name in ran if ".skip" not in layer_name]


def test_vgg_has_no_part_of_the_imagenet_classifier() -> None:
    layers = parameter_layers(transfer("vgg16").body)
    assert [type(layer) for _, layer in layers] == [nn.Conv2d] * 13
    assert layers[0][0] == "features.0"


def test_only_a_pretrained_kind_of_network_has_a_body() -> None:
    net = transfer("mobilenet_v2")
    layers = body_layers(net)
    assert layers[0] is net.body.get_submodule("conv_stem")
    assert len(layers) == len(parameter_layers(net.body))
    assert body_layers(build_model("cnn-32", classes=2, channels=3, size=32, pretrained=False, options={})) == []
