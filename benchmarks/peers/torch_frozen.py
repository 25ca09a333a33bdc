"""Plain PyTorch: a frozen body without gradients and a linear head, then the last fifth trains with it.

Per epoch: every image through the stem and the last fifth in channels-last, one Adam step a batch. Batch normalisation
stays on its statistics.
"""

from __future__ import annotations

import torch
from photographs import classes, held, normalised, parts
from shared import Watch, tell, words
from torch.nn import functional as F

THAW_RATE = 2e-4


def main() -> None:
    asked = words()
    torch.manual_seed(0)
    watch = Watch()
    images, targets = held(asked.data, "train", asked.network)
    stem, last, head = (
        part.to(memory_format=torch.channels_last) for part in parts(asked.network, len(classes(asked.data)))
    )
    stem.eval().requires_grad_(False)
    last.eval()

    def epoch(optimizer: torch.optim.Optimizer, thawed: bool) -> None:
        for rows in torch.randperm(len(images)).split(asked.batch):
            with torch.no_grad():
                features = stem(normalised(images[rows], asked.network, flip=True))
            with torch.set_grad_enabled(thawed):
                features = last(features)
            loss = F.cross_entropy(head(features), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(asked.head):
        epoch(optimizer, thawed=False)
        watch.lap("head")
    optimizer = torch.optim.Adam([*head.parameters(), *last.parameters()], lr=THAW_RATE)
    for _ in range(asked.thaw):
        epoch(optimizer, thawed=True)
        watch.lap("thaw")

    images, targets = held(asked.data, "test", asked.network)
    with torch.inference_mode():
        logits = [head(last(stem(normalised(part, asked.network, flip=False)))) for part in images.split(asked.batch)]
    right = (torch.cat(logits).argmax(1) == targets).float().mean().item()
    tell("plain PyTorch", ("torch", "timm"), watch, right)


main()
