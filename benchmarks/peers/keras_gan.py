"""The course's GAN in Keras 3, on the backend that KERAS_BACKEND names: seconds of training steps, when asked.

`python keras_gan.py STEPS` says "ready" once everything is compiled, and then answers each line of its input with the
seconds of STEPS steps of 32 images. A step is that of keras.io's example of a DCGAN: the discriminator on a batch of
fakes and real images together, then the generator through it, from fresh noise; dropout on. TensorFlow and torch run it
in `fit`; for JAX it is a compiled function over states, as Keras's guide to training loops in JAX writes it.
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

BATCH, LATENT = 32, 100


def generator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((LATENT,)),
            layers.Dense(128 * 7 * 7),
            layers.Reshape((7, 7, 128)),
            layers.Conv2DTranspose(128, (4, 4), strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(128, (4, 4), strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(1, (7, 7), activation="tanh", padding="same"),
        ]
    )


def discriminator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(64, (3, 3), strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dropout(0.4),
            layers.Conv2D(64, (3, 3), strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Dropout(0.4),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


class Gan(keras.Model):
    """Both networks and their optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = generator(), discriminator()
        self.noise_seed = keras.random.SeedGenerator(0)
        self.d_loss, self.g_loss = keras.metrics.Mean(name="d_loss"), keras.metrics.Mean(name="g_loss")
        self.built = True  # it is never called as a whole

    def compile(self) -> None:  # noqa: D102
        super().compile()
        self.d_optimizer, self.g_optimizer = keras.optimizers.Adam(), keras.optimizers.Adam()
        self.loss_fn = keras.losses.BinaryCrossentropy()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:  # noqa: D102
        return [self.d_loss, self.g_loss]

    def noise(self) -> object:
        """(B, Z)."""
        return keras.random.normal((BATCH, LATENT), seed=self.noise_seed)

    def told(self, d_loss: object, g_loss: object) -> dict[str, object]:
        """Both losses, counted."""
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

    def train_step(self, data: object) -> dict[str, object]:  # noqa: D102
        return tensorflow_step(self, data) if keras.backend.backend() == "tensorflow" else torch_step(self, data)


REAL, FAKE = np.ones((BATCH, 1), "float32"), np.zeros((BATCH, 1), "float32")
BOTH = np.concatenate([FAKE, REAL])


def tensorflow_step(gan: Gan, real: object) -> dict[str, object]:
    import tensorflow as tf

    images = ops.concatenate([gan.generator(gan.noise(), training=True), real], axis=0)
    with tf.GradientTape() as tape:
        d_loss = gan.loss_fn(BOTH, gan.discriminator(images, training=True))
    weights = gan.discriminator.trainable_weights
    gan.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))
    with tf.GradientTape() as tape:
        fakes = gan.generator(gan.noise(), training=True)
        g_loss = gan.loss_fn(REAL, gan.discriminator(fakes, training=True))
    weights = gan.generator.trainable_weights
    gan.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))
    return gan.told(d_loss, g_loss)


def torch_step(gan: Gan, real: object) -> dict[str, object]:
    import torch

    with torch.no_grad():
        images = ops.concatenate([gan.generator(gan.noise(), training=True), real], axis=0)
    gan.zero_grad()
    d_loss = gan.loss_fn(BOTH, gan.discriminator(images, training=True))
    d_loss.backward()
    weights = gan.discriminator.trainable_weights
    with torch.no_grad():
        gan.d_optimizer.apply([weight.value.grad for weight in weights], weights)
    gan.zero_grad()
    g_loss = gan.loss_fn(REAL, gan.discriminator(gan.generator(gan.noise(), training=True), training=True))
    g_loss.backward()
    weights = gan.generator.trainable_weights
    with torch.no_grad():
        gan.g_optimizer.apply([weight.value.grad for weight in weights], weights)
    return gan.told(d_loss.detach(), g_loss.detach())


def fitted(images: np.ndarray) -> Callable[[int], None]:
    """So many steps by `fit`."""
    gan = Gan()
    gan.compile()
    return lambda steps: gan.fit(images[: steps * BATCH], batch_size=BATCH, verbose=0)


def compiled(images: np.ndarray) -> Callable[[int], None]:
    """So many steps of a function that JAX compiles."""
    import jax

    made, judge = generator(), discriminator()
    optimizers = keras.optimizers.Adam(), keras.optimizers.Adam()
    for optimizer, network in zip(optimizers, (judge, made), strict=True):
        optimizer.build(network.trainable_variables)
    loss_fn = keras.losses.BinaryCrossentropy()

    def judged(weights: list, rest: list, inputs: object, wanted: object) -> tuple[object, list]:
        found, rest = judge.stateless_call(weights, rest, inputs, training=True)
        return loss_fn(wanted, found), rest

    @jax.jit
    def step(state: tuple, real: object, key: object) -> tuple[tuple, object, object]:
        judge_weights, judge_rest, weights, rest, judge_moments, moments = state
        first, second = jax.random.split(key)
        fakes, rest = made.stateless_call(weights, rest, jax.random.normal(first, (BATCH, LATENT)), training=True)
        grown = jax.value_and_grad(judged, has_aux=True)
        inputs = ops.concatenate([fakes, real], axis=0)
        (d_loss, judge_rest), gradients = grown(judge_weights, judge_rest, inputs, BOTH)
        judge_weights, judge_moments = optimizers[0].stateless_apply(judge_moments, gradients, judge_weights)

        def fooled(weights: list, rest: list, judge_rest: list) -> tuple[object, tuple]:
            fakes, rest = made.stateless_call(weights, rest, jax.random.normal(second, (BATCH, LATENT)), training=True)
            loss, judge_rest = judged(judge_weights, judge_rest, fakes, REAL)
            return loss, (rest, judge_rest)

        grown = jax.value_and_grad(fooled, has_aux=True)
        (g_loss, (rest, judge_rest)), gradients = grown(weights, rest, judge_rest)
        weights, moments = optimizers[1].stateless_apply(moments, gradients, weights)
        return (judge_weights, judge_rest, weights, rest, judge_moments, moments), d_loss, g_loss

    networks = [values for each in (judge, made) for values in (each.trainable_variables, each.non_trainable_variables)]
    held = [[each.value for each in some] for some in (*networks, *(each.variables for each in optimizers))]
    state, count = tuple(held), 0

    def way(steps: int) -> None:
        nonlocal state, count
        for number in range(steps):
            count += 1
            real = images[number * BATCH : (number + 1) * BATCH]
            state, d_loss, g_loss = step(state, real, jax.random.key(count))
            float(d_loss), float(g_loss)  # as `fit` shows them

    return way


def main() -> None:
    steps = int(sys.argv[1])
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH * max(3, steps), 28, 28, 1)).astype("float32")
    way = compiled(images) if keras.backend.backend() == "jax" else fitted(images)
    way(3)
    answer(lambda line: way(steps))


main()
