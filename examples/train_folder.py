"""From a folder of images to a checked model, and its predictions.

The folder is made on the spot from scikit-learn's handwritten digits; put your own in its place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import layerwise


def make_folder(folder: Path) -> None:
    """Write a folder per digit with 30 PNG files each."""
    digits = load_digits()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == digit][:30]):
            pixels = np.round(image * (255 / 16)).astype(np.uint8)  # (8, 8), from 0..16
            Image.fromarray(pixels).resize((28, 28)).save(folder / str(digit) / f"{number:02}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        make_folder(photos)

        run = layerwise.train(photos, model="cnn-28", epochs=1, out=Path(place) / "run")
        accuracy = run.metrics["metrics"]["accuracy"]
        print(f"accuracy {accuracy['value']:.2f} ({accuracy['low']:.2f} to {accuracy['high']:.2f})")
        print(run.metrics["verdict"])

        model = layerwise.load(run.path)
        print(model.predict([photos / "3" / "00.png", photos / "7"]).head(3))


if __name__ == "__main__":
    main()
