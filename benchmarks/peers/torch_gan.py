"""The course's GAN in PyTorch as its DCGAN tutorial writes the loop: seconds of training steps, when asked.

`python torch_gan.py STEPS` says "ready" after three steps, and then answers each line of its input with the seconds of
STEPS steps of 32 images. Line "two": a fake batch for the discriminator and, from fresh noise, another one for the
generator, as Keras's example does; line "one": the same fake batch for both, as the tutorial does. Both are
channels-last, which the tutorial is not and which is faster on a CPU.
"""

from __future__ import annotations

import sys

import torch
from shared import answer
from torch import Tensor, nn

BATCH, LATENT = 32, 100


class Same(nn.Conv2d):
    """Stride 2 with Keras's padding "same": of an even size one column on the right and one row below."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 2H, 2W) -> (B, D, H, W)."""
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


def generator() -> nn.Module:
    return nn.Sequential(
        nn.Linear(LATENT, 128 * 7 * 7),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 128, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.ConvTranspose2d(128, 128, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(128, 1, 7, padding=3),
        nn.Tanh(),
    )


def discriminator() -> nn.Module:
    return nn.Sequential(
        Same(1, 64, 3, stride=2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Dropout(0.4),
        Same(64, 64, 3, stride=2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Linear(7 * 7 * 64, 1),
        nn.Sigmoid(),
    )


class Loop:
    """Networks, optimizers and the tutorial's loop."""

    def __init__(self, images: Tensor, *, fakes: int) -> None:
        torch.manual_seed(0)
        self.made = generator().to(memory_format=torch.channels_last)
        self.judge = discriminator().to(memory_format=torch.channels_last)
        self.images, self.fakes = images, fakes
        self.criterion = nn.BCELoss()
        self.d_optimizer = torch.optim.Adam(self.judge.parameters())
        self.g_optimizer = torch.optim.Adam(self.made.parameters())

    def __call__(self, steps: int) -> None:
        """So many steps."""
        for rows in torch.randperm(len(self.images)).split(BATCH)[:steps]:
            real = self.images[rows].contiguous(memory_format=torch.channels_last)
            label = torch.full((BATCH,), 1.0)
            self.judge.zero_grad()
            d_real = self.criterion(self.judge(real).view(-1), label)
            d_real.backward()
            fake = self.made(torch.randn(BATCH, LATENT))
            d_fake = self.criterion(self.judge(fake.detach()).view(-1), label.fill_(0.0))
            d_fake.backward()
            self.d_optimizer.step()
            self.made.zero_grad()
            if self.fakes == 2:
                fake = self.made(torch.randn(BATCH, LATENT))
            g_loss = self.criterion(self.judge(fake).view(-1), label.fill_(1.0))
            g_loss.backward()
            self.g_optimizer.step()
            d_real.item() + d_fake.item(), g_loss.item()


def main() -> None:
    steps = int(sys.argv[1])
    images = torch.rand(BATCH * max(3, steps), 1, 28, 28) * 2 - 1
    loops = {"one": Loop(images, fakes=1), "two": Loop(images, fakes=2)}
    for each in loops.values():
        each(3)
    answer(lambda line: loops[line](steps))


main()
