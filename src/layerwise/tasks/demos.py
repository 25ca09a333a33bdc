"""Data that comes with the installation, and recipes that suit it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from layerwise.models import find_model
from layerwise.models.weights import wheel_file


def digits() -> tuple[Any, dict[str, Any]]:
    """1,797 handwritten digits of 8x8 pixels (E. Alpaydin and C. Kaynak, 1998; UCI), with scikit-learn."""
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), from 0..16
    data = (images, found.target)
    wheel = find_model("efficientnet_lite0").wheel
    if wheel is not None and wheel_file(wheel):
        return data, {"model": "efficientnet_lite0", "data": {"size": 96, "resize": "squash"}, "epochs": 7}
    return data, {"model": "cnn-28", "data": {"size": 28}, "epochs": 12}
