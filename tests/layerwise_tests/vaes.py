"""A variational autoencoder that is as small as can be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerwise.tasks.vae_bound import Likelihood


class Tiny(nn.Module):
    """Linear encoder and decoder of 8x8 grey images; told of `classes`."""

    def __init__(self, latent: int = 2, likelihood: Likelihood = "bernoulli", classes: int = 0) -> None:
        super().__init__()
        self.latent, self.likelihood, self.classes = latent, likelihood, classes
        self.encoder = nn.Linear(64 + classes, 2 * latent)
        self.decoder = nn.Linear(latent + classes, 64)
        self.log_scale = nn.Parameter(torch.tensor(-1.0)) if likelihood == "gaussian" else None

    def told(self, values: Tensor, labels: Tensor | None) -> Tensor:
        if not self.classes:
            return values
        assert labels is not None
        return torch.cat([values, nn.functional.one_hot(labels, self.classes).float()], 1)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(self.told(images.flatten(1), labels)).chunk(2, 1)
        return mean, log_variance

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.decoder(self.told(latents, labels)).view(-1, 1, 8, 8)
