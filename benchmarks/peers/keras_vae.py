"""The course's VAE in Keras 3, on the backend that KERAS_BACKEND names: seconds of training steps, when asked.

`python keras_vae.py STEPS` says "ready" once everything is compiled, and then answers each line of its input with the
seconds of STEPS steps of 32 images. A step is that of keras.io's example: binary cross entropy summed over the pixels
and the KL divergence, means over the batch, Adam. TensorFlow and torch run it in `fit`; for JAX it is a compiled
function over states, as Keras's guide to training loops in JAX writes it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")

import keras
import numpy as np
from keras import layers, ops
from shared import answer

BATCH = 32


class Sampling(layers.Layer):
    """A draw from N(mean, exp(log variance))."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs: tuple) -> object:  # noqa: D102
        mean, log_variance = inputs  # (B, 2), (B, 2)
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


def encoder() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(inputs)
    x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(16, activation="relu")(x)
    mean, log_variance = layers.Dense(2)(x), layers.Dense(2)(x)
    return keras.Model(inputs, [mean, log_variance, Sampling()([mean, log_variance])])


def decoder() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same"),
            layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same"),
            layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same"),
        ]
    )


class Vae(keras.Model):
    """Both halves."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()
        self.means = [keras.metrics.Mean(name=name) for name in ("loss", "reconstruction_loss", "kl_loss")]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:  # noqa: D102
        return self.means

    def call(self, images: object, training: bool = False) -> tuple:
        """Mean, log variance and reconstruction."""
        mean, log_variance, latents = self.encoder(images, training=training)
        return mean, log_variance, self.decoder(latents, training=training)

    def told(self, losses: tuple) -> dict[str, object]:
        """The losses, counted."""
        for metric, loss in zip(self.means, losses, strict=True):
            metric.update_state(loss)
        return {metric.name: metric.result() for metric in self.means}

    def train_step(self, data: object) -> dict[str, object]:  # noqa: D102
        return tensorflow_step(self, data) if keras.backend.backend() == "tensorflow" else torch_step(self, data)


def losses_of(images: object, found: tuple) -> tuple:
    """Sum, reconstruction and KL."""
    mean, log_variance, made = found
    reconstruction = ops.mean(ops.sum(keras.losses.binary_crossentropy(images, made), axis=(1, 2)))
    kl = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
    kl = ops.mean(ops.sum(kl, axis=1))
    return reconstruction + kl, reconstruction, kl


def tensorflow_step(vae: Vae, images: object) -> dict[str, object]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        losses = losses_of(images, vae(images, training=True))
    weights = vae.trainable_weights
    vae.optimizer.apply_gradients(zip(tape.gradient(losses[0], weights), weights, strict=True))
    return vae.told(losses)


def torch_step(vae: Vae, images: object) -> dict[str, object]:
    import torch

    vae.zero_grad()
    losses = losses_of(images, vae(images, training=True))
    losses[0].backward()
    weights = vae.trainable_weights
    with torch.no_grad():
        vae.optimizer.apply([weight.value.grad for weight in weights], weights)
    return vae.told(tuple(loss.detach() for loss in losses))


def fitted(images: np.ndarray) -> Callable[[int], None]:
    """So many steps by `fit`."""
    vae = Vae()
    vae.compile(optimizer=keras.optimizers.Adam())
    return lambda steps: vae.fit(images[: steps * BATCH], batch_size=BATCH, verbose=0)


def compiled(images: np.ndarray) -> Callable[[int], None]:
    """So many steps of a function that JAX compiles."""
    import jax

    vae, optimizer = Vae(), keras.optimizers.Adam()
    vae(images[:BATCH])
    optimizer.build(vae.trainable_variables)

    def loss_of(weights: list, rest: list, images: object) -> tuple[object, tuple]:
        found, rest = vae.stateless_call(weights, rest, images, training=True)
        losses = losses_of(images, found)
        return losses[0], (losses, rest)

    @jax.jit
    def step(state: tuple, images: object) -> tuple[tuple, tuple]:
        weights, rest, moments = state
        (_, (losses, rest)), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, rest, images)
        weights, moments = optimizer.stateless_apply(moments, gradients, weights)
        return (weights, rest, moments), losses

    held = (vae.trainable_variables, vae.non_trainable_variables, optimizer.variables)
    state = tuple([each.value for each in some] for some in held)

    def way(steps: int) -> None:
        nonlocal state
        for number in range(steps):
            state, losses = step(state, images[number * BATCH : (number + 1) * BATCH])
            [float(loss) for loss in losses]  # as `fit` shows them

    return way


def main() -> None:
    steps = int(sys.argv[1])
    images = np.random.default_rng(0).uniform(0, 1, (BATCH * max(3, steps), 28, 28, 1)).astype("float32")
    way = compiled(images) if keras.backend.backend() == "jax" else fitted(images)
    way(3)
    answer(lambda line: way(steps))


main()
