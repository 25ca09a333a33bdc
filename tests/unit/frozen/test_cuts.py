from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.errors import UsageError
from layerwise.frozen.cuts import Cut, Cuttable, find_cuts, split, trace
from layerwise.models import MODELS, body_layers, build_model

BACKBONES = [name for name, entry in MODELS.items() if entry.transfer]


def backbone(name: str, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, classes=5, channels=3, size=size, pretrained=False, options={})


def used_in_training(net: nn.Module, images: Tensor) -> nn.Module:
    """With statistics of BatchNorm that are not those of a new network."""
    net.train()(images)
    return net.eval()


def names(cuttable: Cuttable) -> list[str]:
    return [cut.name for cut in cuttable.cuts]


class Residual(nn.Module):
    """Two branches and a sum in place, in the way that old networks are written."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.two(F.relu_(self.one(x)))
        x += out
        return self.relu(x)


class InPlace(nn.Module):
    """Every way to change a tensor in place, each right after a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.block1, self.block2 = Residual(4), Residual(4)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.block1(self.relu(self.norm(self.stem(x)))))
        x = self.drop(x).mul_(2.0)
        x = F.leaky_relu(x - 0.5, inplace=True)
        return self.linear(x.mean((2, 3)))


def in_place() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 8, 8)
    return used_in_training(InPlace(), images), images


# suffix(prefix(x)) is the network.


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if "152" in name or "169" in name else []) for name in BACKBONES],
)
@torch.no_grad()
def test_both_halves_make_the_network_for_every_backbone(name: str) -> None:
    size = MODELS[name].smallest
    net, images = backbone(name, size), torch.randn(2, 3, size, size)
    used_in_training(net, images)
    cuttable, logits = trace(net, images), net(images)
    assert logits.isfinite().all() and cuttable.note is None
    chosen = names(cuttable)[:: max(1, len(cuttable.cuts) // 4)] + names(cuttable)[-1:]
    for cut, activation in zip(chosen, cuttable.prefix(chosen)(images), strict=True):
        assert activation.shape == (2, *cuttable.find(cut).shape)
        torch.testing.assert_close(cuttable.suffix(cut)(activation), logits, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50"])
@torch.no_grad()
def test_every_cut_of_two_backbones(name: str) -> None:
    net, images = backbone(name), torch.randn(2, 3, 32, 32)
    used_in_training(net, images)
    cuttable, logits = trace(net, images), net(images)
    for cut, activation in zip(cuttable.cuts, cuttable.prefix(names(cuttable))(images), strict=True):
        torch.testing.assert_close(cuttable.suffix(cut.name)(activation), logits, rtol=0, atol=0)
        if cut in cuttable.cuts[::10]:
            (alone,) = cuttable.prefix([cut.name])(images)
            torch.testing.assert_close(alone, activation, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        # One less than where the logits were counted as a cut.
        ("efficientnet_b0", 32, 68),
        ("mobilenetv2_100", 32, 69),
        ("resnet50", 32, 37),
        ("vgg16", 32, 32),
        ("convnext_tiny", 32, 28),
        ("legacy_xception", 32, 27),
        ("inception_v3", 75, 20),
        ("densenet121", 32, 19),
        ("tf_efficientnet_lite0", 32, 68),
        ("vit_tiny_patch16_224", 224, 34),  # more than 7, for its arguments with defaults are no inputs
    ],
)
def test_the_number_of_cuts_of_timms_networks(name: str, size: int, expected: int) -> None:
    found = find_cuts(timm.create_model(name), torch.randn(1, 3, size, size))
    assert len(found) == expected


@pytest.mark.parametrize("name", ["cnn-28", "resnet-small", "inception-small", "airbench-small"])
@torch.no_grad()
def test_networks_that_start_random_have_cuts_too(name: str) -> None:
    entry = MODELS[name]
    torch.manual_seed(0)
    net = build_model(name, classes=4, channels=entry.channels, size=entry.size, pretrained=False, options={})
    images = torch.randn(2, entry.channels, entry.size, entry.size)
    cuttable, logits = trace(net.eval(), images), net(images)
    assert len(cuttable.cuts) > 10
    for cut in cuttable.cuts:
        activation = cuttable.prefix([cut.name])(images)[0]
        torch.testing.assert_close(cuttable.suffix(cut.name)(activation), logits, rtol=0, atol=0)


# What a cut knows.


def test_what_a_cut_of_a_residual_network_knows() -> None:
    net = backbone("resnet50", 64)
    cuttable = trace(net, torch.randn(1, 3, 64, 64))
    cut = cuttable.find("body.layer3.5")
    assert cut.shape == (1024, 4, 4)
    assert (cut.values, cut.bytes(), cut.bytes("float32"), cut.bytes("uint8")) == (16384, 32768, 65536, 16384)
    # 0.80 of the multiply-adds at 224 pixels, by hand from timm's tables; convolutions scale alike.
    assert cut.share == pytest.approx(0.80, abs=0.01)
    layers = body_layers(net)
    behind = sum(layer in list(net.get_submodule("body.layer4").modules()) for layer in layers)
    assert cut.layers == len(layers) - behind
    pooled = cuttable.find("body.global_pool")
    assert (pooled.shape, pooled.layers) == ((2048,), len(layers))


def test_shares_are_counted_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))
    work = (8 * 16 * 27, 8 * 16 * 2)
    cuts = find_cuts(net, torch.zeros(1, 3, 4, 4))
    assert [cut.share for cut in cuts] == pytest.approx([work[0] / sum(work)] * 3)
    assert [cut.layers for cut in cuts] == [1, 1, 1]
    assert [cut.shape for cut in cuts] == [(8, 4, 4), (8, 4, 4), (128,)]


def test_cuts_are_in_order_and_never_the_images_or_the_logits() -> None:
    cuttable = trace(backbone("mobilenet_v2"), torch.randn(1, 3, 32, 32))
    assert len(set(names(cuttable))) == len(cuttable.cuts)
    for first, second in zip(cuttable.cuts, cuttable.cuts[1:], strict=False):
        assert first.share <= second.share and first.layers <= second.layers
    assert names(cuttable)[0] == "body.conv_stem" and cuttable.cuts[-1].shape == (1280,)


def test_a_branch_within_a_block_is_no_cut() -> None:
    net, images = in_place()
    found = names(trace(net, images))
    assert {"stem", "block1", "block2"} <= set(found)
    assert not [name for name in found if name.startswith("block1.") and name != "block1.add"]


def test_a_size_that_is_needed_later_is_no_hindrance_only_where_it_is_still_needed() -> None:
    class Reshaping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.linear = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(144, 2)

        def forward(self, x: Tensor) -> Tensor:
            size = x.shape[0]
            x = self.relu(self.conv(x))
            return self.linear(x.view(size, -1))

    found = find_cuts(Reshaping(), torch.zeros(2, 3, 8, 8))
    assert [cut.name for cut in found] == ["view"]


def test_tokens_before_the_batch_are_no_cut() -> None:
    class TokensFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 4, stride=4), nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x).flatten(2).permute(2, 0, 1)  # (tokens, B, C)
            x = self.norm(x)
            return self.linear(x.mean(0))

    # Two tokens: as many as the images that are measured with, so that the size alone does not tell.
    assert [cut.name for cut in find_cuts(TokensFirst(), torch.randn(1, 3, 4, 8))] == ["conv", "flatten", "mean"]


# Names.


def test_a_module_that_ends_at_a_cut_names_it_too() -> None:
    cuttable = trace(backbone("efficientnet_lite0"), torch.randn(1, 3, 32, 32))
    block = cuttable.find("body.blocks.3.2")
    for said in ("blocks.3.2", "body.blocks.3", "blocks.3"):
        assert cuttable.find(said) is block
    assert cuttable.find("body.blocks.6.0") is cuttable.find("blocks.6.0.bn3")


def test_an_unknown_name_is_told_the_nearest() -> None:
    cuttable = trace(backbone("resnet50"), torch.randn(1, 3, 32, 32))
    with pytest.raises(UsageError, match='"body.layer3.7".*Did you mean "body.layer3'):
        cuttable.find("body.layer3.7")
    with pytest.raises(UsageError, match="no cut"):
        cuttable.suffix("layer1.0.conv2")  # a module within a block
    with pytest.raises(UsageError, match="no cut"):
        cuttable.prefix([])


def test_a_short_name_with_two_meanings_is_refused() -> None:
    net = nn.ModuleDict({"a": nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "b": nn.Sequential(nn.Linear(4, 4))})

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.last = net["a"], net["b"], nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.b(self.a(x)))

    cuttable = trace(Two(), torch.zeros(1, 4))
    assert names(cuttable) == ["a.0", "a", "b"]
    assert cuttable.find("1").name == "a"
    with pytest.raises(UsageError, match='"0" means several cuts'):
        cuttable.find("0")


def test_a_module_that_is_called_twice_has_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.one, self.two, self.last = nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.relu(self.two(self.relu(self.one(x)))))

    assert names(trace(Twice(), torch.zeros(1, 4))) == ["one", "relu", "two", "relu_2"]


# before.


def test_the_last_cut_before_what_trains() -> None:
    net = backbone("efficientnet_lite0")
    cuttable = trace(net, torch.randn(1, 3, 32, 32))
    # Dropout and the head's reshaping hold the numbers of the pooled features, and stay behind the cut.
    pooled = cuttable.before(net.get_submodule("head").parameters())
    assert pooled is not None and (pooled.name, pooled.shape) == ("body.global_pool", (1280,))
    last_two = [*net.get_submodule("body.blocks.5").parameters(), *net.get_submodule("head").parameters()]
    block = cuttable.before(last_two)
    assert block is not None and block is cuttable.find("blocks.4")
    assert cuttable.before(net.parameters()) is None
    assert cuttable.before(net.get_submodule("body.conv_stem").parameters()) is None
    assert cuttable.before([]) is pooled


def test_before_a_layer_within_a_block() -> None:
    net, images = backbone("resnet50"), torch.randn(2, 3, 32, 32)
    for block in net.modules():
        if isinstance(block, nn.BatchNorm2d):
            nn.init.normal_(block.weight)  # timm's random branches start at zero
    norm = net.get_submodule("body.layer4.0.bn1")
    cut = trace(net, images).before(norm.parameters())
    assert cut is not None and cut.name == "body.layer3.5"
    new = backbone("resnet50")
    same = trace(new, images).before(new.get_submodule("body.layer4.0.bn1").parameters())
    assert same is not None and same.layers == cut.layers


def test_a_parameter_that_is_used_twice_counts_where_it_is_used_first() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((4,), 2.0))
            self.one, self.two, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            scale = self.scale.exp()
            return self.last(self.two(self.one(x) * scale) * scale)

    net = Tied()
    cuttable, x = trace(net, torch.randn(1, 4)), torch.randn(3, 4)
    assert names(cuttable) == ["one", "mul", "two", "mul_2"]
    assert cuttable.before([net.scale]) == cuttable.find("one")
    assert [cut.layers for cut in cuttable.cuts] == [1, 2, 3, 3]
    prefix, suffix = split(net, "mul", x)
    torch.testing.assert_close(suffix(prefix(x)), net(x), rtol=0, atol=0)
    assert net.scale in set(prefix.parameters()) and net.scale in set(suffix.parameters())


def test_dropout_just_before_a_trained_layer_stays_behind_the_cut() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2))
    cuttable = trace(net, torch.randn(1, 3, 4, 4))
    assert cuttable.before(net[4].parameters()) == cuttable.find("1")


# Shared parameters, gradients, modes.


def test_halves_hold_the_networks_own_parameters_and_nothing_unused() -> None:
    net = backbone("resnet50")
    prefix, suffix = split(net, "body.layer3.5", torch.randn(1, 3, 32, 32))
    whole = dict(net.named_parameters())
    for half in (prefix, suffix):
        assert all(whole[name] is parameter for name, parameter in half.named_parameters())
        assert all(dict(net.named_buffers())[name] is buffer for name, buffer in half.named_buffers())
    before, behind = dict(prefix.named_parameters()), dict(suffix.named_parameters())
    assert set(before) | set(behind) == set(whole) and not set(before) & set(behind)
    assert all(name.startswith(("body.layer4", "head")) for name in behind)


def test_gradients_through_the_suffix_are_the_networks() -> None:
    net, images = backbone("efficientnet_lite0").eval(), torch.randn(4, 3, 32, 32)
    targets = torch.tensor([0, 1, 2, 3])
    F.cross_entropy(net(images), targets).backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    prefix, suffix = split(net, "blocks.4", images)
    with torch.no_grad():
        activation = prefix(images)
    F.cross_entropy(suffix(activation), targets).backward()
    trained = dict(suffix.named_parameters())
    assert len(trained) > 10
    for name, parameter in net.named_parameters():
        if name in trained:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-6, atol=1e-7)
        else:
            assert parameter.grad is None


def test_the_network_stays_as_it_was() -> None:
    net = backbone("densenet121").train()
    net.get_submodule("body.features.norm0").eval()
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    state = copy.deepcopy(net.state_dict())
    grads = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    modes = [module.training for module in net.modules()]
    attributes = [set(vars(module)) for module in net.modules()]
    images = torch.randn(2, 3, 32, 32)
    kept, generator = images.clone(), torch.get_rng_state()
    cuttable = trace(net, images)
    cuttable.prefix(["body.features"]), cuttable.suffix("body.features")
    assert torch.equal(torch.get_rng_state(), generator) and torch.equal(images, kept)
    assert [module.training for module in net.modules()] == modes
    assert [set(vars(module)) for module in net.modules()] == attributes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(net.parameters(), grads, strict=True) if p.grad is not None)


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.one(x), 0.5, self.training)
        return self.last(F.dropout(self.two(x), p=0.5, training=self.training))


def test_functional_dropout_follows_the_mode_of_the_half() -> None:
    net, x = FunctionalDropout(), torch.randn(8, 16)
    prefix, suffix = split(net, "one", x)
    assert prefix.training and suffix.training  # as the network is
    activation = prefix(x)
    assert not torch.equal(suffix(activation), suffix(activation))
    suffix.eval()
    assert torch.equal(suffix(activation), net.eval()(x))
    assert prefix.training
    cuttable = trace(net, x)
    assert names(cuttable) == ["one", "dropout", "two", "dropout_2"]
    assert cuttable.before(net.last.parameters()) == cuttable.find("two")
    assert not cuttable.suffix("two").training  # the network is in eval mode now


def test_a_prefix_can_be_copied() -> None:
    net, images = in_place()
    prefix, _ = split(net, "block1", images)
    twin = copy.deepcopy(prefix)
    assert torch.equal(twin(images), prefix(images))
    assert not set(twin.parameters()) & set(net.parameters())


# In place.


@torch.no_grad()
def test_every_boundary_keeps_its_true_value() -> None:
    net, images = in_place()
    cuttable, logits = trace(net, images), net(images.clone())
    alone = [cuttable.prefix([name])(images)[0].clone() for name in names(cuttable)]
    together = cuttable.prefix(names(cuttable))(images)
    for name, one, other in zip(names(cuttable), alone, together, strict=True):
        assert torch.equal(one, other), name
        assert torch.equal(cuttable.suffix(name)(one), logits), name
        assert torch.equal(one, other), f"{name}: its suffix changed what it was given"


def test_a_suffix_changes_no_activation_in_training_either() -> None:
    net, images = in_place()
    cuttable = trace(net, images)
    for name in names(cuttable):
        with torch.no_grad():
            (activation,) = cuttable.prefix([name])(images)
        kept = activation.clone()
        cuttable.suffix(name).train()(activation)
        assert torch.equal(activation, kept), name
        net.eval()


def test_boundaries_come_in_the_order_asked() -> None:
    net, images = in_place()
    cuttable = trace(net, images)
    block, stem, again = cuttable.prefix(["block1", "stem", "block1"])(images)
    assert torch.equal(block, again) and torch.equal(stem, net.get_submodule("stem")(images))


# What cannot be traced.


class Deciding(nn.Module):
    """A network that looks at its input: no graph holds that."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x.relu_() if x.mean() > 0 else x.abs()

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class DecidingAndPooling(Deciding):
    def pool(self, features: Tensor) -> Tensor:
        return features.mul_(2.0).mean((2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(self.pool(features))


@pytest.mark.parametrize(("make", "expected"), [(Deciding, ["features"]), (DecidingAndPooling, ["features", "pooled"])])
def test_what_cannot_be_traced_is_cut_around_its_head(make: Callable[[], Deciding], expected: list[str]) -> None:
    torch.manual_seed(0)
    net, images = make().eval(), torch.randn(3, 3, 8, 8)
    cuttable, logits = trace(net, images), net(images)
    assert names(cuttable) == expected
    assert cuttable.note is not None and "cannot be traced (symbolically traced variables" in cuttable.note
    for name, activation in zip(expected, cuttable.prefix(expected)(images), strict=True):
        kept = activation.clone()
        assert torch.equal(cuttable.suffix(name)(activation), logits) and torch.equal(activation, kept)
    assert cuttable.find("features").layers == 2
    assert cuttable.find("features").shape == (4, 6, 6)
    assert 0.9 < cuttable.find("features").share < 1
    assert cuttable.before(net.head.parameters()) == cuttable.cuts[-1]
    assert cuttable.before(net.norm.parameters()) is None
    if "pooled" in expected:
        assert dict(cuttable.suffix("pooled").named_parameters()).keys() == {"head.weight", "head.bias"}


class Plain(nn.Module):
    """Layers for the networks below, which differ in their forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.last: object = None


class LooksAtValues(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x) if x.sum() > 0 else x)


class NoiseInTraining(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.two(x + torch.randn_like(x) if self.training else x)


class RandomConstant(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x) + torch.randn(4))


class NoGradients(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.one(x)
        return self.two(x)


class Several(Plain):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.two(x), x


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (LooksAtValues, "control flow"),
        (NoiseInTraining, "differ between training and evaluation"),
        (RandomConstant, "random tensors"),
        (NoGradients, "gradients"),
        (Several, "does not give one tensor"),
    ],
)
def test_a_network_without_steps_has_no_cuts_and_a_reason(make: Callable[[], Plain], reason: str) -> None:
    net = make()
    cuttable = trace(net, torch.randn(2, 4))
    assert cuttable.cuts == () and cuttable.before([]) is None
    assert cuttable.note is not None and reason in cuttable.note and "so that it has no cuts." in cuttable.note
    with pytest.raises(UsageError, match=reason):
        cuttable.find("one")


def test_what_a_network_writes_down_on_its_way_is_not_written() -> None:
    class Writing(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.last = x
            self.seen.add_(1)
            return self.two(torch.relu(self.one(x)) * (self.seen - self.seen + 1))

    net = Writing()
    cuttable = trace(net, torch.randn(2, 4))
    assert net.last is None and net.seen == 0
    assert names(cuttable)[:2] == ["one", "relu"]


def test_a_buffer_is_read_when_the_half_runs() -> None:
    class Centred(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x) - self.seen * 2)

    net, x = Centred(), torch.randn(3, 4)
    _, suffix = split(net, "one", x)
    assert isinstance(net.seen, Tensor)
    net.seen.fill_(5.0)
    torch.testing.assert_close(suffix(net.one(x)), net(x), rtol=0, atol=0)


def test_randomness_in_eval_mode_ends_the_cuts() -> None:
    class AlwaysDropping(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.relu(F.dropout(self.one(x), 0.5, training=True)))

    # What an image gives behind the dropout is never twice the same, so that it cannot be kept.
    torch.manual_seed(0)
    assert names(trace(AlwaysDropping(), torch.randn(2, 4))) == ["one"]


def test_an_argument_with_a_default_is_no_input() -> None:
    class Masked(Plain):
        def forward(self, x: Tensor, mask: Tensor | None = None, *rest: int, scale: float = 1.0) -> Tensor:
            x = self.one(x)
            if mask is not None:
                x = x * mask
            return self.two(torch.relu(x) * scale)

    assert names(trace(Masked(), torch.randn(2, 4))) == ["one", "relu", "mul"]


def test_one_layer_has_nowhere_to_be_cut() -> None:
    cuttable = trace(nn.Linear(4, 2), torch.zeros(1, 4))
    assert cuttable.cuts == () and cuttable.note == "Linear has no step after which one tensor carries everything."


def test_an_example_without_images_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        trace(nn.Linear(4, 2), torch.zeros(0, 4))


def test_a_type_that_is_not_kept_is_refused() -> None:
    with pytest.raises(UsageError, match='Did you mean "float16"'):
        Cut("x", 1, 0.5, (2, 3)).bytes("bfloat16")
