"""Where in an image a class was found: Grad-CAM at a network's last feature map.

R. Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization", ICCV 2017
(arXiv 1610.02391). B images, C channels, H by W pixels; a map has K channels and h by w cells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerwise.console import Show
from layerwise.data.loader import Normalise
from layerwise.data.pixels import decode_batch
from layerwise.errors import UsageError
from layerwise.report.explained import heat_png
from layerwise.tasks.explanation import Explained, ExplainRecipe, Explanation, class_number
from layerwise.tasks.image_model import ImageModel, find_inputs

GRAD_CAM = "Grad-CAM"
SELVARAJU = (
    "R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra, Grad-CAM: Visual explanations from deep "
    "networks via gradient-based localization, ICCV 2017"
)
_ABOUT = (
    "Each cell of the grid says how much its part of the image speaks for the class, from 0 to 1 for the most; what "
    "speaks against it is 0. The image is the part that the network saw."
)
_BATCH = 4  # the graph of each image in it is held, about 100 MB of a ResNet-50
_PLACES = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))


def explain(model: ImageModel, inputs: Any, recipe: ExplainRecipe, show: Show) -> Explained:
    """Explain images.

    Args:
        model: a trained classifier.
        inputs: as `ImageModel.predict` takes them.
        recipe: which class, and how many images.
        show: where progress is shown.

    Raises:
        UsageError: the network has no feature map that can be shown, or the class is unknown.
        DataError: there is no image.
    """
    found = find_inputs(inputs)
    some, layer = found[: recipe.most], _layer(model)
    items: list[Explanation] = []
    with show.bar("explaining", len(some)) as advance:
        for first in range(0, len(some), _BATCH):
            chunk = some[first : first + _BATCH]
            pixels, bad = decode_batch([item for _, item in chunk], model.preprocess)
            good = [row for row in range(len(chunk)) if row not in bad]
            names = [chunk[row][0] for row in good]
            explained = dict(zip(good, _of_pixels(model, names, pixels[good], recipe, layer), strict=True))
            items += [explained.get(row) or Explanation(name, bad[row]) for row, (name, _) in enumerate(chunk)]
            advance(len(chunk))
    return Explained(GRAD_CAM, SELVARAJU, _ABOUT, tuple(items), len(found) - len(some))


def explain_examples(model: ImageModel, examples: Mapping[int, Any]) -> Explained:
    """Explanations of images, by name, for a report: pixels (H, W, C) uint8 as the model's preprocessing makes.

    Those of a `PixelStore` are; so is what `decode_batch` gives.
    """
    rows, recipe, layer = list(examples), ExplainRecipe(), _layer(model)
    items: list[Explanation] = []
    for first in range(0, len(rows), _BATCH):
        some = rows[first : first + _BATCH]
        pixels = torch.from_numpy(np.stack([np.asarray(examples[row]) for row in some]))
        items += _of_pixels(model, [str(row) for row in some], pixels, recipe, layer)
    return Explained(GRAD_CAM, SELVARAJU, _ABOUT, tuple(items), 0)


def _of_pixels(
    model: ImageModel, names: Sequence[str], pixels: Tensor, recipe: ExplainRecipe, layer: str
) -> list[Explanation]:
    """Of (B, H, W, C) uint8, B from 0 on."""
    wanted = class_number(recipe, model.card.classes)
    if not names:
        return []
    probabilities = model.probabilities(pixels)
    best = probabilities.argmax(1)
    numbers = best if wanted is None else np.full(len(best), wanted)
    images = pixels.to(model.device.place).permute(0, 3, 1, 2).float()  # (B, C, H, W)
    images = Normalise(model.preprocess.mean, model.preprocess.std)(images)
    maps = heat_maps(model.task.network, images, torch.from_numpy(numbers), layer)  # (B, h, w)
    whole = F.interpolate(maps[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    classes = model.card.classes
    return [
        Explanation(
            name,
            words=_in_words(maps[row].numpy(), whole[row].numpy()),
            picture=heat_png(pixels[row].numpy(), whole[row].numpy()),
            kind="png",
            predicted=classes[best[row]],
            probability=float(probabilities[row, best[row]]),
            explained=classes[numbers[row]],
            explained_probability=float(probabilities[row, numbers[row]]),
            numbers={"grid": maps[row].tolist(), "peak": _peak(whole[row].numpy())},
        )
        for row, name in enumerate(names)
    ]


def _layer(model: ImageModel) -> str:
    """The layer whose map is shown, found with a blank image."""
    look = model.preprocess
    model.task.network.eval()
    return last_map(model.task.network, torch.zeros(1, look.channels, look.height, look.width).to(model.device.place))


def heat_maps(network: nn.Module, images: Tensor, classes: Tensor, layer: str) -> Tensor:
    """Grad-CAM by Captum: the feature map's channels, each times its mean gradient of the class's logit, summed, >= 0.

    Args:
        network: (B, C, H, W) -> (B, classes) logits; in eval mode afterwards, else unchanged.
        images: (B, C, H, W), normalised.
        classes: (B,) int64, the class of each image that is asked about.
        layer: the module that gives the map, such as `last_map` names.

    Returns:
        (B, h, w) on the CPU, float32, each image's largest cell 1; all 0 where nothing speaks for the class.
    """
    from captum.attr import LayerGradCam  # half a second, which a run that explains nothing need not wait

    network.eval()
    # Gradients reach the map in a network whose parameters are all frozen, too.
    found: Tensor = LayerGradCam(network, network.get_submodule(layer)).attribute(
        images.clone().requires_grad_(), classes.to(images.device), relu_attributions=True
    )
    maps = found.detach()[:, 0].float().cpu()  # (B, h, w)
    largest = maps.amax((1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)


def last_map(network: nn.Module, image: Tensor) -> str:
    """The name of the module that gives a network's last feature map: cells that lie as the image's pixels do.

    All that the network says of an image goes through it; one of several branches is none.

    Args:
        network: any.
        image: (1, C, H, W).

    Raises:
        UsageError: there is none, or the network goes on with rows of tokens behind it, as transformers do: what its
            patches show at the beginning says little of what it found.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> last_map(net, torch.zeros(1, 3, 9, 9))
        '1'
    """
    with _watched(network) as ran, torch.no_grad():
        network(image)
    sizes = (image.shape[2], image.shape[3])
    once = {name for name, _ in ran if sum(name == other for other, _ in ran) == 1}
    maps = [place for place, (name, shape) in enumerate(ran) if name in once and _is_map(shape, sizes)]
    last = next((place for place in reversed(maps) if _carries_all(network, ran[place][0], image)), None)
    if last is None:
        raise UsageError(
            "The network has no feature map with several rows and columns through which all goes.", expected=_WANTED
        )
    if tokens := [name for name, shape in ran[last + 1 :] if _is_tokens(shape, sizes)]:
        raise UsageError(
            f'Behind its last feature map the network goes on with rows of tokens ("{tokens[0]}").', expected=_WANTED
        )
    return ran[last][0]


@torch.no_grad()
def _carries_all(network: nn.Module, name: str, image: Tensor) -> bool:
    """Whether another image gets the answer of this one when its output of a module is replaced by this one's."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    kept: list[Tensor] = []
    module = network.get_submodule(name)
    handle = module.register_forward_hook(lambda _, given, output: kept.append(output.clone()))
    try:
        answer = network(image)
    finally:
        handle.remove()
    handle = module.register_forward_hook(lambda _, given, output: kept[0])
    try:
        return bool(torch.allclose(network(image + noise), answer, rtol=1e-4, atol=1e-5))
    finally:
        handle.remove()


_WANTED = "a convolutional network: Grad-CAM shows its last feature map"
_Shape = tuple[int, ...]


@contextlib.contextmanager
def _watched(network: nn.Module) -> Iterator[list[tuple[str, _Shape]]]:
    """The modules that run within the block but the whole, in the order in which they end, and their outputs' shapes.

    As Captum does, by the hooks of PyTorch: only these see what runs within any module.
    """
    ran: list[tuple[str, _Shape]] = []

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            ran.append((name, tuple(output.shape)))

    handles = [
        module.register_forward_hook(lambda _, given, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def _is_map(shape: _Shape, image: tuple[int, int]) -> bool:
    """Whether a shape is (1, K, h, w) with cells in the proportions of the image; (1, h, w, K) is not."""
    if len(shape) != 4 or min(shape[2:]) < 2 or shape[2] > image[0] or shape[3] > image[1]:
        return False
    return abs(shape[2] * image[1] - shape[3] * image[0]) <= 1.5 * max(image)  # each side may be rounded


def _is_tokens(shape: _Shape, image: tuple[int, int]) -> bool:
    """Whether a shape is (1, tokens, K) or (1, h, w, K)."""
    if len(shape) == 3:
        return min(shape[1:]) > 1
    return len(shape) == 4 and min(shape[1:3]) > 1 and min(shape[2:]) > 1 and not _is_map(shape, image)


def _peak(heat: np.ndarray) -> dict[str, float] | None:
    """The hottest pixel's middle, as shares of width and height; none where nothing is hot."""
    if not heat.max() > 0:
        return None
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return {"x": (int(column) + 0.5) / heat.shape[1], "y": (int(row) + 0.5) / heat.shape[0]}


def _in_words(grid: np.ndarray, heat: np.ndarray) -> str:
    """Which ninth of the image is hottest, and which cell of the map."""
    peak = _peak(heat)
    if peak is None:
        return "nothing in the image speaks for it"
    place = _PLACES[min(2, int(3 * peak["y"]))][min(2, int(3 * peak["x"]))]
    rows, columns = np.array_split(np.arange(heat.shape[0]), 3), np.array_split(np.arange(heat.shape[1]), 3)
    ninth = heat[np.ix_(rows[min(2, int(3 * peak["y"]))], columns[min(2, int(3 * peak["x"]))])]
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    cell = f"row {row + 1}, column {column + 1} of {grid.shape[0]} x {grid.shape[1]}"
    return f"strongest at the {place} ({cell}), a ninth of the image with {100 * ninth.sum() / heat.sum():.0f} % of it"
