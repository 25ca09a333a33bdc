"""Training samples a second of the course's CIFAR network at batch 32: `layerwise.train` beside Keras on TensorFlow.

Each side trains the same number of images for one epoch, in turn (A B A B ...), so that a machine whose speed drifts
does not favour one. Ours is the whole of `layerwise.train`'s epoch: shuffling, indexing, augmentation, step, metrics,
as its log counts it. Keras runs in a process of its own, as its thread pool would otherwise stay and spin beside ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import numpy as np

import layerwise
from benchmarks.cifar import COURSE
from benchmarks.common import scratch, versions

IMAGES, ROUNDS = 9600, 5

KERAS = """
import json, os, sys, time, warnings
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
warnings.filterwarnings("ignore")
import numpy as np, keras
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator

data = np.load(sys.argv[1])
x, y = data["x"].astype("float32") / 255, data["y"]

def network(*first):
    net = keras.Sequential([keras.Input((32, 32, 3)), *first, layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2), layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"), layers.Flatten(), layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax")])
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net

generator = ImageDataGenerator(rotation_range=20, width_shift_range=.2, height_shift_range=.2, horizontal_flip=True)
moves = [layers.RandomFlip("horizontal"), layers.RandomRotation(20 / 360), layers.RandomTranslation(.2, .2)]
plain, moved = network(), network(*moves)
ways = {
    "plain": lambda n: plain.fit(x[:n], y[:n], batch_size=32, verbose=0),
    "generator": lambda n: plain.fit(generator.flow(x[:n], y[:n], batch_size=32), verbose=0),
    "layers": lambda n: moved.fit(x[:n], y[:n], batch_size=32, verbose=0),
}
for way in ways.values():
    way(640)
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    ways[line.strip()](len(x))
    print(json.dumps(len(x) / (time.perf_counter() - began)), flush=True)
"""


def ours(data: tuple[np.ndarray, np.ndarray], augment: dict[str, object]) -> float:
    """Samples a second of one epoch through `layerwise.train`."""
    recipe = {"augment": augment, "split": {"valid": 0.01, "test": 0.01}, "optimizer": {"schedule": "constant"}}
    with scratch() as place:
        run = layerwise.train(data, model="cnn-32", epochs=2, out=place / "run", recipe=recipe)
        lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    # The first epoch warms up the library's kernels, as Keras's first 640 images do.
    trained = len(data[0]) * 0.98
    return float(trained / lines[1]["seconds"]["train"])


def main(words: list[str]) -> None:
    keras = words[0] if words else sys.executable
    print(versions())
    draw = np.random.default_rng(0)
    data = (draw.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8), draw.integers(0, 10, IMAGES))
    found: dict[str, list[float]] = {name: [] for name in ("plain", "generator", "layers", "ours", "ours augmented")}
    with scratch() as place:
        np.savez(place / "data.npz", x=data[0], y=data[1])
        command = [keras, "-c", KERAS, str(place / "data.npz")]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet
        ) as peer:
            assert peer.stdin and peer.stdout and peer.stdout.readline() == "ready\n", "Keras with TensorFlow is needed"
            for _ in range(ROUNDS):
                for way in ("plain", "generator", "layers"):
                    peer.stdin.write(way + "\n")
                    peer.stdin.flush()
                    found[way].append(json.loads(peer.stdout.readline()))
                    name, augment = ("ours", {}) if way == "plain" else ("ours augmented", COURSE)
                    found[name].append(ours(data, augment))
            peer.stdin.close()
    for name, rates in found.items():
        print(f"{name:<15} {statistics.median(rates):7.0f} a second ({min(rates):.0f} to {max(rates):.0f})")
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    print(f"plain: {middle['ours'] / middle['plain']:.2f} times Keras on TensorFlow")
    for way in ("generator", "layers"):
        print(f"augmented: {middle['ours augmented'] / middle[way]:.2f} times Keras with its {way}")
