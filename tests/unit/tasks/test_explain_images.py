"""Grad-CAM: which map, what it says, and that it points at what decides."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from layerwise.console import Silent
from layerwise.errors import UsageError
from layerwise.models import MODELS, build_model
from layerwise.models.backbones import Transfer
from layerwise.tasks.explanation import ExplainRecipe
from layerwise.tasks.image_explain import explain, explain_examples, heat_maps, last_map
from layerwise_tests.explained import SQUARES, fingerprint, image_classifier, squares

# A grid on which the squares of a chequered image are found by their colour alone.
_SIDE = 32


def small(name: str = "resnet-small") -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, classes=4, channels=3, size=_SIDE, pretrained=False, options={})


class ColourNet(nn.Module):
    """Logits are the means of what is redder, greener and bluer than grey; of the fourth class there is never any."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, stride=4, bias=False)
        own = torch.full((3, 3), -0.5).fill_diagonal_(1.0)
        self.conv.weight = nn.Parameter(own[:, :, None, None].repeat(1, 1, 4, 4))
        self.act = nn.ReLU()
        self.linear = nn.Linear(3, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.cat([torch.eye(3), torch.zeros(1, 3)]))
            self.linear.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.act(self.conv(x)).mean((2, 3)))
        return logits


class Branches(nn.Module):
    """Two branches that are joined without a module, and a convolution before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        logits: Tensor = self.linear(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))
        return logits


class Patches(nn.Module):
    """Patches that become rows of tokens, as in a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.linear = nn.Conv2d(3, 8, 8, stride=8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1))
        return logits


@pytest.mark.parametrize(
    ("name", "expected"), [("cnn-32", "conv3"), ("resnet-small", "stage3"), ("airbench", "group3")]
)
def test_the_last_feature_map_is_found(name: str, expected: str) -> None:
    assert last_map(small(name).eval(), torch.zeros(1, 3, _SIDE, _SIDE)) == expected


DEEPER = ("vgg19", "resnet101", "resnet152", "densenet169", "efficientnet_b1", "efficientnet_b2")  # of one family


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEPER])
def test_networks_of_the_table_have_a_map_that_gradients_reach(name: str) -> None:
    entry = MODELS[name]
    side = max(entry.smallest, 96 if entry.transfer else 32)
    torch.manual_seed(0)
    net = build_model(name, classes=3, channels=entry.channels, size=side, pretrained=False, options={}).eval()
    images = torch.randn(2, entry.channels, side, side)
    maps = heat_maps(net, images, torch.tensor([0, 1]), last_map(net, images[:1]))
    assert min(maps.shape[1:]) > 1 and maps.min() >= 0 and maps.isfinite().all()


def test_a_branch_is_not_taken_for_the_whole() -> None:
    assert last_map(Branches(), torch.zeros(1, 3, _SIDE, _SIDE)) == "stem"


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Patches(), "rows of tokens"), (nn.Sequential(nn.Flatten(), nn.Linear(3 * _SIDE**2, 4)), "no feature map")],
)
def test_a_network_without_such_a_map_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        explain(image_classifier(network, _SIDE, SQUARES), squares(4, _SIDE, seed=1)[0], ExplainRecipe(), Silent())


def test_a_map_is_the_weighted_sum_of_the_channels_of_the_paper() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)).eval()
    images = torch.randn(3, 3, 9, 9)
    found = heat_maps(net, images, torch.tensor([2, 0, 1]), "1")
    weights = net[4].weight[[2, 0, 1]]  # behind a mean, the gradient is the classifier's weight
    expected = F.relu((weights[:, :, None, None] * net[:2](images)).sum(1))
    assert torch.allclose(found, expected / expected.amax((1, 2), keepdim=True), atol=1e-6)


def test_the_hottest_pixel_lies_on_the_square_that_decides() -> None:
    images, classes, inside = squares(40, _SIDE, seed=3)
    model = image_classifier(ColourNet(), _SIDE, SQUARES)
    found = explain(model, images, ExplainRecipe(), Silent())
    for row, item in enumerate(found.items):
        assert item.predicted == SQUARES[classes[row]]
        if item.predicted == "none":  # nothing speaks for it: it is what is left
            assert item.numbers["peak"] is None and item.words == "nothing in the image speaks for it"
        else:
            peak = item.numbers["peak"]
            assert inside[row, int(peak["y"] * _SIDE), int(peak["x"] * _SIDE)]


def test_another_head_gives_another_map_and_the_same_one_the_same() -> None:
    images = torch.randn(2, 3, _SIDE, _SIDE)
    net = small().eval()
    first = heat_maps(net, images, torch.tensor([0, 1]), "stage3")
    assert torch.equal(first, heat_maps(net, images, torch.tensor([0, 1]), "stage3"))
    torch.manual_seed(9)
    nn.init.normal_(net.head.linear.weight)  # type: ignore[union-attr, arg-type]
    assert (first - heat_maps(net, images, torch.tensor([0, 1]), "stage3")).abs().max() > 0.2


def test_a_network_stays_as_it_is_and_may_be_frozen() -> None:
    net = small().requires_grad_(False)
    model = image_classifier(net, _SIDE, SQUARES)
    before = fingerprint(net)
    found = explain(model, squares(4, _SIDE, seed=1)[0], ExplainRecipe(), Silent())
    assert fingerprint(net) == before and not net.training
    assert all(np.max(item.numbers["grid"]) in (0, 1) for item in found.items)


def test_bad_inputs_are_named_and_the_rest_is_explained(tmp_path: Path) -> None:
    images = squares(3, _SIDE, seed=1)[0]
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    names = [tmp_path / f"{row}.png" for row in range(3)]
    model = image_classifier(small(), _SIDE, SQUARES)
    found = explain(model, names, ExplainRecipe(most=2), Silent())
    assert [item.problem is None for item in found.items] == [True, False] and found.left_out == 1
    assert list(found.files()) == ["0001-0.png"] and found.record()["n"] == 1
    assert found.record()["inputs"][1]["problem"] == found.items[1].problem
    picture = Image.open(io.BytesIO(found.items[0].picture))
    assert picture.size == (2 * 224 + 8, 224 + 18)


def test_another_class_can_be_asked_about_and_an_unknown_one_is_refused() -> None:
    model, images = image_classifier(small(), _SIDE, SQUARES), squares(1, _SIDE, seed=1)[0]
    usual = explain(model, images, ExplainRecipe(), Silent()).items[0]
    other = next(name for name in SQUARES if name != usual.predicted)
    asked = explain(model, images, ExplainRecipe(label=other), Silent()).items[0]
    assert (asked.predicted, asked.explained) == (usual.predicted, other)
    assert asked.numbers["grid"] != usual.numbers["grid"]
    assert asked.explained_probability is not None and asked.explained_probability < (usual.probability or 0)
    with pytest.raises(UsageError, match='Did you mean "green"'):
        explain(model, images, ExplainRecipe(label="gren"), Silent())


def test_a_report_gets_the_same_picture() -> None:
    model, images = image_classifier(small(), _SIDE, SQUARES), squares(2, _SIDE, seed=1)[0]
    whole = explain(model, images, ExplainRecipe(), Silent())
    some = {int(each.name): each for each in explain_examples(model, {7: images[1], 3: images[0]}).items}
    assert list(some) == [7, 3] and some[3].numbers["peak"] == whole.items[0].numbers["peak"]
    assert some[7].kind == "png" and some[7].picture[:4] == b"\x89PNG"


def trained(name: str, side: int, *, images: int, epochs: int) -> nn.Module:
    """A network that tells the squares apart: from scratch, or the head alone of one with pretrained weights."""
    pixels, classes, _ = squares(images, side, seed=1)
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    targets = torch.from_numpy(classes)
    torch.manual_seed(0)
    net = build_model(name, classes=4, channels=3, size=side, pretrained=epochs == 0, options={})
    if isinstance(net, Transfer):
        with torch.no_grad():
            net.eval()
            features = torch.cat([net.pool(net.forward_features(some)) for some in inputs.split(16)])
            spread = features.std()
            fitted = LogisticRegression(C=0.1, max_iter=500).fit((features / spread).numpy(), classes)
            net.head.linear.weight.copy_(torch.from_numpy(fitted.coef_) / spread)
            net.head.linear.bias.copy_(torch.from_numpy(fitted.intercept_))
        return net
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for some in torch.randperm(images).split(20):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs[some]), targets[some]).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "images", "epochs", "near"),
    [
        ("cnn-32", 64, 200, 6, 0),
        ("inception-small", 64, 120, 4, 0),
        ("resnet-small", 64, 240, 6, 0),
        # A cell of its map is 32 pixels: the pointing game's tolerance (J. Zhang et al., ECCV 2016) of 15 pixels.
        ("efficientnet_lite0", 224, 100, 0, 15),
    ],
)
def test_trained_networks_point_at_the_square_in_95_of_100_images(
    name: str, side: int, images: int, epochs: int, near: int
) -> None:
    model = image_classifier(trained(name, side, images=images, epochs=epochs), side, SQUARES)
    pixels, classes, inside = squares(134, side, seed=2)
    some = np.flatnonzero(classes < 3)[:100]
    found = explain(model, pixels[some], ExplainRecipe(most=100), Silent())
    hits = dict.fromkeys((0, near), 0)
    for row, item in zip(some, found.items, strict=True):
        peak = item.numbers["peak"]
        assert peak is not None
        y, x = int(peak["y"] * side), int(peak["x"] * side)
        for reach in hits:
            hits[reach] += inside[row, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].any()
    right = sum(item.predicted == SQUARES[classes[row]] for row, item in zip(some, found.items, strict=True))
    print(name, "right", right, "hits", hits)
    assert right >= 95 and hits[near] >= 95 and hits[0] >= 85
