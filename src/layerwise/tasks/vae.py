"""Variational autoencoders: one step, evaluation, fixed samples. Networks may compete, a stage each.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114); see `vae_bound` for the
likelihoods and the units.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.engine.loop import Metrics
from layerwise.engine.update import OptimizerRecipe, Update, parameter_groups
from layerwise.errors import Diverged
from layerwise.metrics.generation import active_units
from layerwise.tasks.run_recipe import Candidate
from layerwise.tasks.vae_bound import (
    Measured,
    as_vae,
    counted_kl,
    drawn,
    joined,
    keyed_normals,
    kl_nats,
    measure,
    reconstruction_nats,
)
from layerwise.tasks.vae_recipe import KlRecipe

_MEANS = ("loss", "negative_elbo", "reconstruction", "kl")


@final
class Vae:
    """Networks that compete, and the update of the one that trains.

    Args:
        networks: by name; each a `vae_bound.VaeNetwork`.
        settings: by the same names: how parameters follow the gradient, and how the divergence counts in the loss.
        device: where they compute; they are moved there.
        conditional: whether networks are told the class of an image.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        settings: Mapping[str, tuple[OptimizerRecipe, KlRecipe]],
        device: Device,
        *,
        conditional: bool = False,
    ) -> None:
        self._networks: dict[str, nn.Module] = {
            name: network.to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, network in networks.items()
        }
        self._settings, self._device, self._conditional = settings, device, conditional
        self.name = next(iter(self._networks))
        self._update: Update | None = None
        self._steps = self._done = 0  # of the stage
        self.bests: dict[str, Metrics] = {}  # the best validation of each network, by name

    @property
    def network(self) -> nn.Module:
        """The one that trains, or that was kept."""
        return self._networks[self.name]

    def begin(self, candidate: Candidate, *, steps: int) -> None:
        """Train a network from now on; `steps` are the updates of its whole stage."""
        self.name, self._steps, self._done = candidate.name, steps, 0
        optimizer, _ = self._settings[self.name]
        groups = parameter_groups(self.network, optimizer.norm_bias_rate)
        self._update = Update(groups, optimizer, learning_rate=candidate.learning_rate, steps=steps)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._update.learning_rate if self._update else 0.0

    @property
    def kl_weight(self) -> float:
        """Of the divergence in the loss of the next step: it rises with the steps done, and with nothing else."""
        _, kl = self._settings[self.name]
        rising = kl.warmup * self._steps
        return kl.beta * min(1.0, (self._done + 1) / rising) if rising else kl.beta

    def train_step(self, batch: Batch) -> tuple[Metrics, int]:
        """Encode, draw, decode, bound, one update. Means are in nats an image."""
        assert self._update is not None, "begin() comes first"
        self.network.train()
        vae, labels = as_vae(self.network), self._labels(batch)
        with self._device.precision():
            mean, log_variance = vae.encode(batch.inputs, labels)  # (B, Z) each
            noise = torch.randn(mean.shape, device=mean.device)
            decoded = vae.decode(drawn(mean, log_variance, noise), labels)  # (B, C, S, S)
        reconstruction = reconstruction_nats(vae, batch.inputs, decoded).mean()
        kl = kl_nats(mean, log_variance)  # (B, Z)
        loss = reconstruction + self.kl_weight * counted_kl(kl, self._settings[self.name][1].free_bits)
        # Per value of a pixel, so that a bound on the gradient's norm means the same for images of every size.
        self._update(loss / batch.inputs[0].numel())
        self._done += 1
        summed = kl.detach().mean(0).sum()
        means = torch.stack([loss.detach(), reconstruction.detach() + summed, reconstruction.detach(), summed])
        return dict(zip(_MEANS, means.tolist(), strict=True)), len(batch.ids)

    def evaluate(self, batches: Iterator[Batch]) -> Metrics:
        """The bound at weight 1, by averaged weights where there are averages, and the latents in use.

        The noise of an image follows from its id alone: neither batches nor what ran before change it.

        Raises:
            Diverged: the bound is not a finite number.
        """
        with self.averaged():
            found = _measured(self.network, self._device, batches, self._labels)
        metrics = {
            "negative_elbo": float(found.negative_elbo.mean()),
            "reconstruction": float(found.reconstruction.mean()),
            "kl": float(found.kl.mean()),
            "active_units": float(active_units(found.means).sum()),
        }
        if not np.isfinite(metrics["negative_elbo"]):
            raise Diverged(
                f"The negative ELBO of the validation part is {metrics['negative_elbo']}.",
                fix="Lower optimizer.learning_rate, or set optimizer.clip=1.",
            )
        best = self.bests.get(self.name)
        if best is None or metrics["negative_elbo"] < best["negative_elbo"]:
            self.bests[self.name] = metrics
        return metrics

    def score(self, metrics: Metrics) -> list[float]:
        """The lower negative ELBO is kept."""
        return [-metrics["negative_elbo"]]

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors of the network that trains, averaged where averages are kept, named NETWORK.TENSOR."""
        with self.averaged():
            return {f"{self.name}.{name}": tensor.clone() for name, tensor in self.tensors().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take back what `weights` gave, of whichever network; the stage is over."""
        self.name = next(iter(weights)).split(".", 1)[0]
        self.network.load_state_dict({name.split(".", 1)[1]: tensor for name, tensor in weights.items()})
        self._update = None

    def tensors(self) -> Mapping[str, Tensor]:
        """All of the network's tensors, for the model file."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The network that trains, its update, the steps that were done, and what every network has reached."""
        assert self._update is not None, "begin() comes first"
        return {
            "network": dict(self.tensors()),
            "update": self._update.state_dict(),
            "done": self._done,
            "bests": self.bests,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; `begin` has been called for the same stage."""
        assert self._update is not None, "begin() comes first"
        self.network.load_state_dict(state["network"])
        self._update.load_state_dict(state["update"])
        self._done = int(state["done"])
        self.bests = {name: dict(best) for name, best in state["bests"].items()}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it, the network that trains has its averaged weights, where averages are kept."""
        return self._update.averaged() if self._update else contextlib.nullcontext()

    def _labels(self, batch: Batch) -> Tensor | None:
        return batch.targets if self._conditional else None


def _measured(
    network: nn.Module, device: Device, batches: Iterator[Batch], labels: Callable[[Batch], Tensor | None]
) -> Measured:
    """One draw of each image, whose noise follows from its id."""
    network.eval()
    latent, parts = as_vae(network).latent, []
    for batch in batches:
        noise = torch.from_numpy(keyed_normals(batch.ids, latent)[:, None]).to(device.place)  # (B, 1, Z)
        parts.append(measure(network, device, batch.inputs, labels(batch), noise))
    return joined(parts)
