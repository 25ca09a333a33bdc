"""The course's text model in PyTorch as its tutorials write it: `pack_padded_sequence`, Adam, batches as they come.

`python torch_packed.py DATA.npz` (tokens, starts, targets) says "ready" and then answers each line of its input with
the seconds of one epoch in batches of 32: shuffled order, `pad_sequence`, forward, backward, step, the loss read.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn

BATCH, VOCABULARY = 32, 10_000


class Network(nn.Module):
    """Embedding, LSTM over packed sequences, its last state, one unit."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 128, padding_idx=0)
        self.recurrent = nn.LSTM(128, 64, batch_first=True)
        self.linear = nn.Linear(64, 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, T), (B,) -> (B,)."""
        embedded = self.embedding(tokens)
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.recurrent(packed)
        return self.linear(last[0])[:, 0]


def main() -> None:
    with np.load(sys.argv[1]) as data:
        tokens, starts, targets = (torch.from_numpy(data[name]) for name in ("tokens", "starts", "targets"))
    texts = [tokens[first:end] for first, end in itertools.pairwise(starts)]
    targets = targets.float()
    torch.manual_seed(0)
    network, loss_of = Network(), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(network.parameters())
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for rows in torch.randperm(len(texts)).split(BATCH):
            some = [texts[row] for row in rows]
            lengths = torch.tensor([len(each) for each in some])
            padded = nn.utils.rnn.pad_sequence(some, batch_first=True)
            loss = loss_of(network(padded, lengths), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        print(json.dumps(time.perf_counter() - began), flush=True)


main()
