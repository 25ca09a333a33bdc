"""PyTorch Lightning with its callback BackboneFinetuning: the head, then the last fifth with it.

The callback thaws the whole of the attribute `backbone`; to thaw a fifth of the network, `backbone` is that fifth and
the rest is another attribute. Its default keeps batch normalisation training while the backbone is frozen, which costs
a backward pass; here it is told not to. Per epoch: every image through the whole network in channels-last, in memory.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, Callback
from photographs import classes, held, normalised, parts
from shared import Watch, tell, words
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

THAW_RATE = 2e-4


class Classifier(lightning.LightningModule):
    """As in Lightning's own example of transfer learning."""

    def __init__(self, network: str, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.stem, self.backbone, self.head = parts(network, outputs)
        self.stem.requires_grad_(False)
        # Batch normalisation stays on its statistics: `fit` leaves parts in the mode in which it finds them.
        self.stem.eval()
        self.backbone.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes)."""
        logits: Tensor = self.head(self.backbone(self.stem(images)))
        return logits

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Augmentation of whole batches, where Lightning's docs put it."""
        return normalised(batch[0], self.network, flip=self.trainer.training), batch[1]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Lightning averages what is logged, weighted by batch size."""
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The head alone: the callback adds the backbone when it thaws."""
        return torch.optim.Adam(self.head.parameters(), lr=1e-3)


class Finetuning(BackboneFinetuning):
    """Frozen batch normalisation is frozen too."""

    def freeze_before_training(self, pl_module: lightning.LightningModule) -> None:
        """Called once, before the first epoch."""
        self.freeze(pl_module.backbone, train_bn=False)


class Laps(Callback):
    """Tells the watch when an epoch ends."""

    def __init__(self, watch: Watch, head: int) -> None:
        self.watch, self.head = watch, head

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: nn.Module) -> None:
        """Called after every epoch."""
        self.watch.lap("head" if trainer.current_epoch < self.head else "thaw")


def main() -> None:
    asked = words()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(0, verbose=False)

    def loader(part: str, **more: Any) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(*held(asked.data, part, asked.network)), batch_size=asked.batch, **more)

    watch = Watch()
    model = Classifier(asked.network, len(classes(asked.data))).to(memory_format=torch.channels_last)
    finetuning = Finetuning(
        unfreeze_backbone_at_epoch=asked.head,
        backbone_initial_lr=THAW_RATE,
        lambda_func=lambda epoch: 1.0,
        train_bn=False,
    )
    trainer = lightning.Trainer(
        max_epochs=asked.head + asked.thaw,
        accelerator="cpu",
        callbacks=[finetuning, Laps(watch, asked.head)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader("train", shuffle=True))
    found = trainer.test(model, loader("test"), verbose=False)[0]
    tell("Lightning BackboneFinetuning", ("lightning", "torch", "timm"), watch, found["accuracy"])


main()
