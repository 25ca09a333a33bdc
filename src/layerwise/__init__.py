"""layerwise: train, check, explain and ship the classic deep networks on your own data.

    import layerwise

    run = layerwise.train("photos/", model="efficientnet_lite0")
    print(run.metrics["verdict"])
    run.model().predict(["new.jpg"])

Names are loaded when they are first used, so that `import layerwise` costs nothing and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerwise.api import Model, Run, load, resume, train
    from layerwise.errors import LayerwiseError
    from layerwise.estimators import (
        Forecaster,
        ImageClassifier,
        ImageGAN,
        ImageVAE,
        SequenceClassifier,
        TextClassifier,
    )
    from layerwise.folds import cross_validate

__version__ = "0.1.0"
__all__ = [
    "Forecaster",
    "ImageClassifier",
    "ImageGAN",
    "ImageVAE",
    "LayerwiseError",
    "Model",
    "Run",
    "SequenceClassifier",
    "TextClassifier",
    "__version__",
    "cross_validate",
    "load",
    "resume",
    "train",
]

_HOMES = {
    **dict.fromkeys(
        ("Forecaster", "ImageClassifier", "ImageGAN", "ImageVAE", "SequenceClassifier", "TextClassifier"),
        "layerwise.estimators",
    ),
    "LayerwiseError": "layerwise.errors",
    "Model": "layerwise.api",
    "Run": "layerwise.api",
    "cross_validate": "layerwise.folds",
    "load": "layerwise.api",
    "resume": "layerwise.api",
    "train": "layerwise.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'layerwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
