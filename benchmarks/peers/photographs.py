"""What the scripts of the PyTorch peers share: decoded photographs in memory, the network, and its last fifth."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from layerwise.models import backbone_preprocess, build_model


def classes(data: str) -> list[str]:
    """Names of the classes, sorted."""
    return sorted(folder.name for folder in Path(data, "train").iterdir())


def listed(data: str, part: str) -> list[Path]:
    """The files of a part, sorted."""
    return sorted(Path(data, part).glob("*/*.jpg"))


def pictures(files: list[Path], network: str) -> list[Image.Image]:
    """Decoded, scaled and cut as the network's weights were trained, by as many threads as there are cores."""
    look = backbone_preprocess(network)
    side = int(look["height"])
    bigger = int(side / look["crop_share"])
    cut = v2.Compose([v2.Resize(bigger, v2.InterpolationMode(look["interpolation"])), v2.CenterCrop(side)])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda file: cut(Image.open(file).convert("RGB")), files))


def held(data: str, part: str, network: str) -> tuple[Tensor, Tensor]:
    """A part in memory: (n, 3, H, W) uint8 and (n,) classes."""
    files = listed(data, part)
    names = classes(data)
    images = torch.stack([v2.functional.pil_to_tensor(picture) for picture in pictures(files, network)])
    return images, torch.tensor([names.index(file.parent.name) for file in files])


def normalised(images: Tensor, network: str, *, flip: bool) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 in channels-last, each image mirrored with probability a half."""
    look = backbone_preprocess(network)
    mean, std = (torch.tensor(look[name]).view(3, 1, 1) * 255 for name in ("mean", "std"))
    out = images.to(memory_format=torch.channels_last).float().sub_(mean).div_(std)
    if not flip:
        return out
    return torch.where(torch.rand(len(out), 1, 1, 1) < 0.5, out.flip(3), out)


def parts(network: str, outputs: int) -> tuple[nn.Sequential, nn.Sequential, nn.Linear]:
    """An EfficientNet of timm with the weights that layerwise gives it, in three: stem, last fifth of its layers, head.

    The last fifth begins where a block begins: the third of the sixth stage. For EfficientNet-B0 that is 26 of 130
    layers with parameters, for Lite0 20 of 98.
    """
    body = build_model(network, classes=outputs, channels=3, size=224, pretrained=True, options={}).body
    blocks = list(body.blocks)
    stem = nn.Sequential(body.conv_stem, body.bn1, *blocks[:5], blocks[5][:2])
    last = nn.Sequential(blocks[5][2:], blocks[6], body.conv_head, body.bn2, body.global_pool)
    return stem, last, nn.Linear(body.num_features, outputs)
