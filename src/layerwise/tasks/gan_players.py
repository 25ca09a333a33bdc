"""A GAN in training: generator, discriminator, and the update of each.

B images, C channels, S pixels a side, Z latent numbers.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from layerwise.data.loader import Batch
from layerwise.device import Device
from layerwise.engine.update import Update, parameter_groups
from layerwise.nn.diff_augment import diff_augment
from layerwise.tasks.gan_loss import discriminator_loss, generator_loss, slope
from layerwise.tasks.gan_recipe import GanStage


@final
class Players:
    """Generator and discriminator of one network, and the update of each.

    Args:
        network: on the device; see `Gan`.
        stage: how they are trained.
        device: where they compute.
        steps: of the whole stage.
        conditional: whether they are told the class.
    """

    def __init__(self, network: nn.Module, stage: GanStage, device: Device, *, steps: int, conditional: bool) -> None:
        self._network, self._rules, self._device, self._conditional = network, stage.adversarial, device, conditional
        self._generator, self._discriminator = (network.get_submodule(name) for name in ("generator", "discriminator"))
        self._latent = latent_of(network)
        self._seen = 0  # updates of the discriminator
        recipe, rate = stage.optimizer, stage.learning_rate or stage.optimizer.learning_rate
        self._update = Update(
            parameter_groups(self._generator, recipe.norm_bias_rate), recipe, learning_rate=rate, steps=steps
        )
        self._update_discriminator = Update(
            parameter_groups(self._discriminator, recipe.norm_bias_rate),
            recipe.model_copy(update={"ema": 0.0}),
            learning_rate=rate * self._rules.discriminator_rate,
            steps=steps * self._rules.discriminator_steps,
        )

    @property
    def learning_rate(self) -> float:
        """The generator's rate of the next step."""
        return self._update.learning_rate

    def step(self, batch: Batch) -> Tensor:
        """The discriminator's updates, each with images of its own, then the generator's.

        Returns:
            (4,) losses of generator and discriminator, mean logits of real and made images.

        Raises:
            Diverged: a loss or a gradient is not finite; the update that would have followed it was not made.
        """
        turns = min(self._rules.discriminator_steps, len(batch.inputs))
        images, targets = batch.inputs.tensor_split(turns), batch.targets.tensor_split(turns)
        for turn, (real, classes) in enumerate(zip(images, targets, strict=True)):
            labels = classes if self._conditional else None
            # The last images serve both: the generator learns by those that the discriminator was shown.
            with torch.set_grad_enabled(turn == turns - 1), self._device.precision():
                fake = self._generator(torch.randn(len(real), self._latent, device=real.device), labels)
            seen = self._update_of_discriminator(real, fake.detach(), labels)
        with self._still(), self._device.precision():
            judged = self._judged(fake, labels)
        own = generator_loss(self._rules.loss, judged)
        self._update(own)
        return torch.stack([own.detach(), *seen])

    def _update_of_discriminator(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
        """Loss, and mean logits of real and made images: () each."""
        rules = self._rules
        sharp = rules.r1 > 0 and self._seen % rules.r1_every == 0
        real = real.detach().requires_grad_(sharp)
        with self._device.precision():
            # In two passes, so that nothing that looks at a whole batch mixes real and made.
            on_real, on_fake = self._judged(real, labels), self._judged(fake, labels)
        loss = discriminator_loss(rules.loss, on_real, on_fake)
        self._seen += 1  # a step that is left out counts too, so that a bad image cannot hold the penalty up
        if sharp:
            self._update_discriminator(loss + rules.r1 / 2 * rules.r1_every * slope(real, on_real))
        else:
            self._update_discriminator(loss)
        return loss.detach(), on_real.detach().mean(), on_fake.detach().mean()

    def _judged(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (B,) of images as the discriminator sees them in training."""
        logits: Tensor = self._discriminator(diff_augment(images, self._rules.diff_augment), labels)
        return logits.float()

    @contextlib.contextmanager
    def _still(self) -> Iterator[None]:
        """What is computed within takes no gradient of the discriminator's parameters, which nobody would read."""
        trained = [parameter for parameter in self._discriminator.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad = False
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad = True

    def forget_gradients(self) -> None:
        """After an update that was not made: what was added up by then would spoil the next."""
        self._network.zero_grad(set_to_none=True)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it the generator's parameters hold their averages, where averages are kept."""
        return self._update.averaged()

    def state_dict(self) -> dict[str, Any]:
        """Both networks and both updates; tensors share their memory."""
        return {
            "network": {name: tensor.detach() for name, tensor in self._network.state_dict().items()},
            "updates": [self._update.state_dict(), self._update_discriminator.state_dict()],
            "seen": self._seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        # An optimizer keeps the tensors that it is given, and writes into them.
        state = copy.deepcopy(dict(state))
        self._network.load_state_dict(state["network"])
        for update, saved in zip((self._update, self._update_discriminator), state["updates"], strict=True):
            update.load_state_dict(saved)
        self._seen = int(state["seen"])

    def go_back(self, good: Mapping[str, Any], rate: float) -> None:
        """Take an earlier state, but the place on the schedule and the rates of now, which are multiplied by `rate`."""
        now = [self._update.state_dict(), self._update_discriminator.state_dict()]
        updates = [
            {**earlier, "done": here["done"], "learning_rate": here["learning_rate"] * rate}
            for earlier, here in zip(good["updates"], now, strict=True)
        ]
        self.load_state_dict({**good, "updates": updates, "seen": self._seen})


def latent_of(network: nn.Module) -> int:
    """The latent numbers of a network: Z."""
    latent: Any = network.latent
    return int(latent)
