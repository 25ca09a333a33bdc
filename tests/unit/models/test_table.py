from __future__ import annotations

import subprocess
import sys

import pytest
import timm

from layerwise.errors import RecipeError, UsageError
from layerwise.models import MODELS, backbone_preprocess, build_model, find_model
from layerwise.models.table import Entry

PRETRAINED = [entry for entry in MODELS.values() if entry.transfer]

PROMISED = """cnn-28 cnn-32 resnet-small inception-small airbench airbench-small vgg16 vgg19 resnet50 resnet101
resnet152 inception_v3 xception mobilenet_v1 mobilenet_v2 efficientnet_b0 efficientnet_b1 efficientnet_b2
densenet121 densenet169 efficientnet_lite0 efficientnet_lite1 efficientnet_lite2"""


def build(name: str, channels: int = 3, size: int = 64, classes: int = 2, **options: object) -> object:
    return build_model(name, classes=classes, channels=channels, size=size, pretrained=False, options=options)


def test_the_names_are_the_promised_ones() -> None:
    assert list(MODELS) == PROMISED.split()
    assert all(name == entry.name for name, entry in MODELS.items())


def test_reading_the_table_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys, layerwise.models as m; assert m.MODELS; print([n for n in ('torch', 'timm') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("entry", PRETRAINED, ids=lambda entry: entry.name)
def test_the_facts_are_timms(entry: Entry) -> None:
    cfg = timm.get_pretrained_cfg(entry.source)
    assert cfg.input_size == (entry.channels, entry.size, entry.size)
    assert cfg.license == entry.licence
    assert entry.look is not None
    assert (cfg.crop_pct, cfg.interpolation) == (entry.look.crop_share, entry.look.interpolation)
    # EfficientNet-Lite: the table has the training's own (x - 127) / 128, which timm rounds.
    close = 0.005 if "lite" in entry.name else 0.0
    assert entry.look.mean == pytest.approx(cfg.mean, abs=close)
    assert entry.look.std == pytest.approx(cfg.std, abs=close)


@pytest.mark.parametrize("entry", PRETRAINED, ids=lambda entry: entry.name)
def test_the_weights_have_a_source(entry: Entry) -> None:
    cfg = timm.get_pretrained_cfg(entry.source)
    assert cfg.hf_hub_id or cfg.url
    assert entry.source in timm.list_pretrained(f"{entry.source.partition('.')[0]}.*")
    assert entry.top1 is not None
    assert 70 < entry.top1 < 90


def test_any_network_of_timm_by_its_name() -> None:
    entry = find_model("timm:test_resnet.r160_in1k")
    assert (entry.size, entry.channels, entry.licence, entry.transfer) == (160, 3, "apache-2.0", True)
    assert backbone_preprocess("timm:test_resnet.r160_in1k")["crop_share"] == 0.95


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficientnetb0", 'Did you mean "efficientnet_b0"'),
        ("zzz", "Known: airbench"),
        ("timm:resnte18", 'Did you mean "timm:resnet18"'),
        ("timm:resnet18.none", "resnet18.tv_in1k"),
        ("timm:hf_hub:someone/something", "list_models"),
        ("timm:local-dir:/tmp/x", "list_models"),
        ("timm:", "list_models"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_model(name)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_a_network_cannot_take_is_refused() -> None:
    with pytest.raises(UsageError, match="1 channels"):
        build("vgg16", channels=1)
    with pytest.raises(UsageError, match="75 x 75"):
        build("inception_v3", size=64)
    with pytest.raises(UsageError, match="0 classes"):
        build("cnn-32", classes=0)
    with pytest.raises(UsageError, match="0 channels"):
        build("cnn-32", channels=0)
    with pytest.raises(RecipeError, match='Did you mean "hidden"'):
        build("mobilenet_v2", hiden=128)


def test_preprocessing_of_a_network_without_weights_is_refused() -> None:
    with pytest.raises(UsageError, match="no pretrained weights"):
        backbone_preprocess("cnn-28")


def test_preprocessing_of_a_backbone() -> None:
    assert backbone_preprocess("efficientnet_b1") == {
        "height": 240,
        "width": 240,
        "channels": 3,
        "crop_share": 0.9,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
