"""A variational autoencoder learns to draw digits: new ones, a verdict on them, and what it finds unusual."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from layerwise import ImageVAE

SHADES = np.array(list(" .:-=+*#%@"))


def sheet(images: np.ndarray) -> str:
    """Images (n, H, W, 1) beside each other, in characters."""
    rows = np.concatenate(list(images[..., 0]), axis=1)  # (H, n * W)
    return "\n".join("".join(row) for row in SHADES[rows // 26].tolist())


def main() -> None:
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), from 0..16

    vae = ImageVAE(epochs=10, seed=1).fit(images)
    print(vae.metrics_["verdict"])
    print(sheet(vae.sample(8, seed=1)))

    # Higher is more usual, as in scikit-learn. Digits upside down are digits of no kind that it has seen.
    usual, turned = vae.score_samples(images[:200]).mean(), vae.score_samples(images[:200, ::-1]).mean()
    print(f"Digits as they are cost {-usual:.0f} nats, upside down {-turned:.0f}.")


if __name__ == "__main__":
    main()
