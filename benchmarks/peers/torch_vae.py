"""The course's VAE in PyTorch as its examples write the loop, channels-last: seconds of training steps, when asked.

`python torch_vae.py STEPS` says "ready" after three steps, and then answers each line of its input with the seconds of
STEPS steps of 32 images: binary cross entropy summed over the pixels and the KL divergence, Adam, the loss read.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from shared import answer
from torch import Tensor, nn

BATCH = 32


class Same(nn.Conv2d):
    """Stride 2 with Keras's padding "same": of an even size one column on the right and one row below."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 2H, 2W) -> (B, D, H, W)."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Network(nn.Module):
    """Encoder, draw, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Same(1, 32, 3, stride=2),
            nn.ReLU(inplace=True),
            Same(32, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(7 * 7 * 64, 16),
            nn.ReLU(inplace=True),
        )
        self.mean, self.log_variance = nn.Linear(16, 2), nn.Linear(16, 2)
        self.decoder = nn.Sequential(
            nn.Linear(2, 7 * 7 * 64),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(32, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1, 28, 28) -> reconstruction of that shape, (B, 2), (B, 2)."""
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(latents), mean, log_variance


def main() -> None:
    steps = int(sys.argv[1])
    torch.manual_seed(0)
    images = torch.rand(BATCH * max(3, steps), 1, 28, 28)
    network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())

    def way(count: int) -> None:
        for rows in torch.randperm(len(images)).split(BATCH)[:count]:
            real = images[rows].contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            made, mean, log_variance = network(real)
            kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = (F.binary_cross_entropy(made, real, reduction="sum") + kl) / BATCH
            loss.backward()
            optimizer.step()
            loss.item()

    way(3)
    answer(lambda line: way(steps))


main()
