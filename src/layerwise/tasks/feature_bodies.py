"""The two networks that features come from, and what is fitted on their activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from layerwise.frozen.cuts import trace
from layerwise.frozen.infer import torch_run
from layerwise.models import backbone_preprocess, build_model
from layerwise.store.model_file import check_tensors, tensors_digest
from layerwise.tasks.feature_small import SmallNetwork, values

# n images, S pixels a side, C channels, D activations of the network, F features.

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]

PRETRAINED: Final = "efficientnet_lite0"

# Of the pretrained network's blocks the fifth: in 64 directions it keeps more of the variance than the last layer does
# (0.96 against 0.76 on Fashion-MNIST), names classes better, sees smaller faults, and costs less.
_CUT = "body.blocks.4.2"
_SIDES = ((32, 64), (64, 96), (128, 128))  # images up to the first are brought to the second, pixels a side
_DIRECTIONS, _EACH = 64, 8  # at most, and training images for each
_VARIANCE = 100.0  # of the training images' features in all: a distance of 100 is about that of one image repeated
_NEVER = -1e9  # logit of a class that no image was of
_CHUNK = 64


@final
@dataclass(frozen=True)
class Body:
    """A network without its head.

    Args:
        run: (n, S, S, C) uint8 -> (n, D) float32.
        digest: of its tensors.
        kept: tensors that have to be kept to have it again; a pretrained one has none.
    """

    run: Callable[[Pixels], Tensor]
    digest: str
    kept: Mapping[str, Tensor]

    def activations(self, pixels: Pixels) -> Values:
        """(n, S, S, C) uint8 -> (n, D) float64; a few images at a time, as memory allows."""
        assert len(pixels)
        rows = [self.run(pixels[start : start + _CHUNK]) for start in range(0, len(pixels), _CHUNK)]
        return np.asarray(torch.cat(rows).double().cpu().numpy())


def inputs_for(side: int) -> int:
    """Pixels a side that the pretrained network sees of images of this side.

    Example:
        >>> inputs_for(28), inputs_for(48)
        (64, 96)
    """
    return next((size for most, size in _SIDES if side <= most), _SIDES[-1][1])


def pretrained_body(inputs: int, place: torch.device) -> Body:
    """The pretrained network on images brought to `inputs` pixels a side, its activations averaged over positions.

    Raises:
        WeightsError: its weights cannot be reached.
    """
    with torch.random.fork_rng(devices=[]):  # random weights are drawn before the pretrained ones are read
        network = build_model(PRETRAINED, classes=1, channels=3, size=inputs, pretrained=True, options={}).eval()
    prefix = trace(network, torch.zeros(1, 3, inputs, inputs)).prefix([_CUT])
    look = backbone_preprocess(PRETRAINED)
    mean, std = (255 * torch.tensor(look[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    # PyTorch, not ONNX Runtime: it was the faster of the two here, and with no choice a resumed run has none to repeat.
    run = torch_run(prefix, place)

    def activations(pixels: Pixels) -> Tensor:
        images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()  # (n, C, S, S)
        sized = nn.functional.interpolate(images, size=(inputs, inputs), mode="bilinear", antialias=True)
        return run((sized.expand(-1, 3, -1, -1) - mean) / std)[0].mean(dim=(2, 3))

    weights = {name: tensor for name, tensor in prefix.state_dict().items() if tensor.is_floating_point()}
    return Body(activations, tensors_digest(weights), {})


def small_body(network: SmallNetwork, place: torch.device) -> Body:
    """A small network that was trained."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    run = torch_run(network, place)
    return Body(lambda pixels: run(values(pixels))[0], tensors_digest(weights), weights)


def small_body_again(channels: int, side: int, tensors: Mapping[str, Tensor], place: torch.device) -> Body:
    """A small network from the tensors that were kept.

    Raises:
        StoreError: they are not those of such a network.
    """
    with torch.random.fork_rng(devices=[]):
        network = SmallNetwork(channels, side).eval().requires_grad_(False)
    check_tensors(network.state_dict(), tensors)
    network.load_state_dict(dict(tensors))
    return small_body(network, place)


def main_directions(raw: Values) -> tuple[dict[str, Values], float]:
    """The main directions of activations, scaled so that the variances along them sum to 100.

    Args:
        raw: (n, D), n >= 1.

    Returns:
        mean (D,) and directions (D, F), F up to 64 and fewer for fewer than 512 images; and the share of the variance
        that they hold, 0 to 1.

    Example:
        >>> fitted, kept = main_directions(np.array([[0.0, 1.0, 0.0], [2.0, 1.0, 0.0]] * 9))
        >>> fitted["directions"].shape, kept
        ((3, 2), 1.0)
    """
    mean = raw.mean(axis=0)
    covariance = np.atleast_2d(np.cov(raw, rowvar=False)) if len(raw) > 1 else np.zeros((raw.shape[1],) * 2)
    variances, vectors = np.linalg.eigh(covariance)
    count = min(_DIRECTIONS, raw.shape[1], max(2, len(raw) // _EACH))
    chosen, total = float(variances[-count:].clip(0).sum()), float(variances.clip(0).sum())
    main = vectors[:, ::-1][:, :count]  # the largest variance first
    signs = np.sign(main[np.abs(main).argmax(axis=0), np.arange(count)])  # else left to the library
    scale = np.sqrt(_VARIANCE / chosen) if chosen > 0 else 1.0
    fitted = {"mean": mean, "directions": np.ascontiguousarray(main * signs * scale)}
    return fitted, min(1.0, chosen / total) if total > 0 else 0.0


def linear_classifier(features: Values, targets: NDArray[np.int64], classes: int) -> dict[str, Values]:
    """Logistic regression; a class without images is never said.

    Args:
        features: (n, F).
        targets: (n,) class numbers, of two classes at least; -1 is passed over.
        classes: how many there are.

    Returns:
        weight (F, classes) and bias (classes,).

    Example:
        >>> found = linear_classifier(np.array([[-9.0], [9.0]]), np.array([0, 2]), 3)
        >>> (np.array([[-9.0], [9.0]]) @ found["weight"] + found["bias"]).argmax(axis=1).tolist()
        [0, 2]
    """
    rows = targets >= 0
    model = LogisticRegression(max_iter=1000).fit(features[rows], targets[rows])
    weight, bias = np.zeros((features.shape[1], classes)), np.full(classes, _NEVER)
    if len(model.classes_) == 2:  # scikit-learn keeps the second's alone
        weight[:, model.classes_[1]] = model.coef_[0]
        bias[model.classes_] = 0.0, model.intercept_[0]
    else:
        weight[:, model.classes_], bias[model.classes_] = model.coef_.T, model.intercept_
    return {"weight": weight, "bias": bias}
