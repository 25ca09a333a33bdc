"""Keras 3 on TensorFlow, as its guide to transfer learning does it: EfficientNetB0 frozen under a Dense, then thawed.

Weights are random, as no ImageNet weights can be fetched here: its time counts, its accuracy does not. Decoded images
are cached in memory. Per epoch: every image through the whole network; batch normalisation stays on its statistics.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
warnings.filterwarnings("ignore")

import keras
import tensorflow as tf
from keras import layers
from shared import Watch, tell, words

NETWORKS = {"efficientnet_b0": keras.applications.EfficientNetB0, "resnet50": keras.applications.ResNet50}


class Laps(keras.callbacks.Callback):
    """Tells the watch when an epoch ends."""

    def __init__(self, watch: Watch, stage: str) -> None:
        super().__init__()
        self.watch, self.stage = watch, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """An epoch ended."""
        self.watch.lap(self.stage)


def main() -> None:
    asked = words()
    keras.utils.set_random_seed(0)

    def images(part: str, **more: object) -> tf.data.Dataset:
        folder = Path(asked.data, part)
        return keras.utils.image_dataset_from_directory(
            folder, image_size=(224, 224), batch_size=asked.batch, crop_to_aspect_ratio=True, verbose=False, **more
        )

    watch = Watch()
    train = images("train", seed=0).cache().prefetch(tf.data.AUTOTUNE)
    base = NETWORKS[asked.network](weights=None, include_top=False, input_shape=(224, 224, 3))
    base.trainable = False
    entry = keras.Input((224, 224, 3))
    pooled = layers.GlobalAveragePooling2D()(base(layers.RandomFlip("horizontal")(entry), training=False))
    model = keras.Model(entry, layers.Dense(len(list(Path(asked.data, "train").iterdir())))(pooled))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    model.fit(train, epochs=asked.head, verbose=0, callbacks=[Laps(watch, "head")])

    if asked.thaw:
        base.trainable = True
        for layer in base.layers[: -round(0.2 * len(base.layers))]:
            layer.trainable = False
        for layer in base.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
        model.compile(keras.optimizers.Adam(1e-5), loss, metrics=["accuracy"])
        model.fit(train, epochs=asked.thaw, verbose=0, callbacks=[Laps(watch, "thaw")])
    accuracy = model.evaluate(images("test", shuffle=False), verbose=0, return_dict=True)["accuracy"]
    tell("Keras on TensorFlow", ("keras", "tensorflow_cpu"), watch, accuracy)


main()
