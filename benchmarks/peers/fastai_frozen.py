"""fastai: `vision_learner` and `fine_tune(epochs, freeze_epochs)`.

`fine_tune` thaws all that the optimizer has; to thaw a fifth of the network, the splitter gives it that fifth and the
head. fastai's default keeps batch normalisation training in the frozen part, which costs a backward pass through all of
it; `train_bn=False` with `BnFreeze` does not. The head is fastai's own, two layers over two poolings. Pictures are
decoded once and held in memory. Per epoch: every image through the whole network in channels-last.
"""

from __future__ import annotations

import warnings

warnings.filterwarnings("ignore")

import fastai.vision.all as fastai
from fastai.callback.channelslast import ChannelsLast
from photographs import classes, listed, pictures
from shared import Watch, tell, words
from torch import nn

from layerwise.models import backbone_preprocess, build_model, find_model


class Laps(fastai.Callback):
    """Tells the watch when an epoch's training ends; fastai's validation after it is not counted."""

    def __init__(self, watch: Watch, head: int) -> None:
        self.watch, self.left = watch, head

    def after_train(self) -> None:
        """One epoch less to go."""
        self.watch.lap("head" if self.left > 0 else "thaw")
        self.left -= 1

    def after_validate(self) -> None:
        """The next epoch begins."""
        self.watch.start()


def last_fifth(body: nn.Module) -> list[nn.Module]:
    """The layers that thaw; see `photographs.parts`."""
    return [*body.blocks[5][2:], body.blocks[6], body.conv_head, body.bn2]


def main() -> None:
    asked = words()
    fastai.set_seed(0)
    look, entry = backbone_preprocess(asked.network), find_model(asked.network)
    watch = Watch()
    files = listed(asked.data, "train") + listed(asked.data, "test")
    memory = {
        file: fastai.PILImage(picture) for file, picture in zip(files, pictures(files, asked.network), strict=True)
    }
    sets = fastai.Datasets(
        files,
        [[lambda file: memory[file]], [fastai.parent_label, fastai.Categorize()]],
        splits=fastai.GrandparentSplitter("train", "test")(files),
    )
    loaders = sets.dataloaders(
        bs=asked.batch,
        after_item=[fastai.FlipItem(), fastai.ToTensor()],
        after_batch=[fastai.IntToFloatTensor(), fastai.Normalize.from_stats(look["mean"], look["std"], cuda=False)],
        num_workers=0,
        drop_last=False,
    )
    learner = fastai.vision_learner(
        loaders,
        entry.source.partition(".")[0],
        n_out=len(classes(asked.data)),
        pretrained=False,
        normalize=False,
        splitter=lambda model: [
            [p for part in last_fifth(model[0].model) for p in fastai.params(part)],
            fastai.params(model[1]),
        ],
        loss_func=fastai.CrossEntropyLossFlat(),
        metrics=fastai.accuracy,
        train_bn=False,
        cbs=[fastai.BnFreeze(), ChannelsLast(), Laps(watch, asked.head)],
    )
    network = build_model(asked.network, classes=2, channels=3, size=224, pretrained=True, options={})
    body = learner.model[0].model
    body.load_state_dict(network.body.state_dict())
    body.requires_grad_(False)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(asked.thaw, freeze_epochs=asked.head)
    tell("fastai fine_tune", ("fastai", "torch", "timm"), watch, float(learner.recorder.values[-1][-1]))


main()
