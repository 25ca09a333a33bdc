"""Generative adversarial networks: what the engine trains. Networks compete, a stage each.

I. Goodfellow and others, "Generative Adversarial Networks", NeurIPS 2014 (arXiv 1406.2661).

B images, C channels, S pixels a side, Z latent numbers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.errors import Diverged
from layerwise.tasks.gan_players import Players, latent_of
from layerwise.tasks.gan_recipe import GanStage
from layerwise.tasks.gan_samples import Drawn, drawn
from layerwise.tasks.gan_watch import COLLAPSE, NON_FINITE, Watch
from layerwise.tasks.generator_run import drawn_classes, normals

JUDGED: Final = 7_031  # seed of the noise of the samples that every epoch is judged by
_MEANS = ("generator_loss", "discriminator_loss", "real_logit", "fake_logit")
_SLOWER = 0.5  # factor on both rates after a collapse


class Judging(Protocol):
    """What says how good samples are; see `generator_judge.Judge`."""

    @property
    def epoch_samples(self) -> int:
        """How many it wants after an epoch."""

    def validate(self, samples: np.ndarray) -> dict[str, float]:
        """(n, S, S, C) uint8 -> "distance", lower is better, and others."""

    def collapsed(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong with samples that are all but alike, by their metrics; none where they are not."""


@final
class Gan:
    """Networks that compete, each a generator and a discriminator, and the players of the stage under way.

    Args:
        networks: by name, each with the sub-modules `generator` (latents (B, Z), labels (B,) or none -> images
            (B, C, S, S) in [-1, 1]) and `discriminator` (images, labels or none -> logits (B,)), and `latent`, which is
            Z.
        device: where they compute; they are moved there.
        judge: says how good samples are; none where nothing is trained.
        shares: of each class in training, where networks are told the class; none where they are not.

    Attributes:
        name: of the network that trains, or that was kept.
        shares: as given.
        watch: what went wrong so far.
        bests: by name, the lowest distance of each network in validation, and its generator by then where several
            compete.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        device: Device,
        *,
        judge: Judging | None = None,
        shares: Sequence[float] = (),
    ) -> None:
        self._networks: dict[str, nn.Module] = {
            name: network.to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, network in networks.items()
        }
        self._device, self._judge, self.shares = device, judge, tuple(shares)
        self.name = next(iter(self._networks))
        self.watch = Watch()
        self.bests: dict[str, dict[str, Any]] = {}
        self._players: Players | None = None

    @property
    def network(self) -> nn.Module:
        """The one that trains, or that was kept."""
        return self._networks[self.name]

    @property
    def learning_rate(self) -> float:
        """The generator's rate of the next step."""
        return self._players.learning_rate if self._players else 0.0

    def begin(self, stage: GanStage, *, steps: int) -> None:
        """Train a network from now on; `steps` are those of its whole stage."""
        self.name = stage.name
        self._players = Players(self.network, stage, self._device, steps=steps, conditional=bool(self.shares))
        self.watch.begin(stage.name, self._players.state_dict(), recover=stage.adversarial.recover)

    def train_step(self, batch: Batch) -> tuple[Metrics, int]:
        """The discriminator's updates, then the generator's; left out where a loss or gradient is not finite.

        Raises:
            Diverged: many steps in succession had to be left out.
        """
        assert self._players is not None, "begin() comes first"
        if (good := self.watch.due()) is not None:
            self._players.go_back(good, _SLOWER)
        self.network.train()
        try:
            means = self._players.step(batch)
        except Diverged as error:
            self._players.forget_gradients()
            self.watch.skipped(error)
            return dict.fromkeys(_MEANS, 0.0), 0  # of no weight in the epoch's means
        self.watch.passed()
        return dict(zip(_MEANS, means.tolist(), strict=True)), len(batch.ids)

    def evaluate(self, batches: Iterator[Batch]) -> Metrics:
        """What the judge says of samples, always of the same noise; the batches are not looked at."""
        assert self._judge is not None and self._players is not None, "begin() comes first"
        with self.averaged():
            samples = self.draw(self._judge.epoch_samples, seed=JUDGED)
            metrics = self._judge.validate(samples.pixels)
            if metrics["distance"] < self.bests.get(self.name, {"distance": math.inf})["distance"]:
                kept = self.network.get_submodule("generator").state_dict() if len(self._networks) > 1 else {}
                copies = {name: tensor.detach().clone() for name, tensor in kept.items()}
                self.bests[self.name] = {"distance": metrics["distance"], "generator": copies}
        kind, what = COLLAPSE, self._judge.collapsed(metrics)
        if samples.broken:
            kind = NON_FINITE
            what = f"{samples.broken} of {len(samples.pixels)} samples hold values that are no finite numbers."
        self.watch.judged(metrics, kind, what, self._players.state_dict)
        return metrics

    def score(self, metrics: Metrics) -> list[float]:
        """A lower distance is better."""
        return [-metrics["distance"]]

    def draw(
        self, count: int, *, seed: int, classes: np.ndarray | None = None, truncation: float = 1.0, name: str = ""
    ) -> Drawn:
        """Samples; the first do not depend on their number.

        Args:
            count: how many, at least 1.
            seed: of the noise.
            classes: (count,) class numbers where networks are told them; none draws them as often as in training.
            truncation: factor on the latents.
            name: of another network that competed, for its best generator.
        """
        network = self.network
        if name not in ("", self.name):
            network = self._networks[name]
            network.get_submodule("generator").load_state_dict(self.bests[name]["generator"])
        latents = torch.from_numpy(normals(seed, count, latent_of(network)) * np.float32(truncation))
        labels = None
        if self.shares:
            labels = torch.from_numpy(drawn_classes(seed, count, self.shares) if classes is None else classes)
        return drawn(network.get_submodule("generator"), latents, labels, self._device)

    def logits(self, batches: Iterable[Batch]) -> np.ndarray:
        """What the discriminator says of each image, higher is more real: (n,) float64, in the order of the batches.

        Of a network that is told the class, the highest over all classes, as a new image has none.
        """
        discriminator = self.network.eval().get_submodule("discriminator")
        found = [np.zeros(0)]
        for batch in batches:
            classes = range(len(self.shares)) if self.shares else (None,)
            told = [None if each is None else torch.full_like(batch.targets, each) for each in classes]
            with torch.inference_mode(), self._device.precision():
                each = torch.stack([discriminator(batch.inputs, labels).float() for labels in told])  # (classes, B)
            found.append(each.amax(0).double().cpu().numpy())
        return np.concatenate(found)

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors of the network that trains, averaged where averages are kept, named NETWORK.TENSOR."""
        with self.averaged():
            return {f"{self.name}.{name}": tensor for name, tensor in self.tensors().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take back what `weights` gave, of whichever network; the stage is over."""
        self.name = next(iter(weights)).split(".", 1)[0]
        self.network.load_state_dict({name.split(".", 1)[1]: tensor for name, tensor in weights.items()})
        self._players = None

    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors of generator and discriminator, for the model file."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Both players, the alarms with the last good weights, and the best of each network so far."""
        assert self._players is not None, "begin() comes first"
        return {"players": self._players.state_dict(), "watch": self.watch.state_dict(), "bests": self.bests}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        assert self._players is not None, "begin() comes first"
        self._players.load_state_dict(state["players"])
        self.watch.load_state_dict(state["watch"])
        self.bests = {name: dict(best) for name, best in state["bests"].items()}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it, the generator that trains has its averaged weights, where averages are kept."""
        return self._players.averaged() if self._players else contextlib.nullcontext()
