"""A network of one's own: any `nn.Module` that gives logits.

Its file holds weights and no code, so loading is given a network like it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import layerwise


class TwoLayers(nn.Module):
    """(B, 1, 8, 8) -> (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16 * 6 * 6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, 8, 8) -> (B, 10)."""
        return self.head(self.conv(x).relu().flatten(1))


def main() -> None:
    digits = load_digits()
    data = (digits.images / 16, digits.target)  # (1797, 8, 8) in 0..1, and 0 to 9
    with tempfile.TemporaryDirectory() as place:
        run = layerwise.train(data, model=TwoLayers(), epochs=3, out=Path(place) / "run")
        print(run.metrics["verdict"])

        model = layerwise.load(run.path, network=TwoLayers())
        print(model.predict(data[0][:3]).select("predicted", "probability"), digits.target[:3])


if __name__ == "__main__":
    main()
