"""The course's text model in Keras 3, on the backend that KERAS_BACKEND names: steps a second, when asked.

`python keras_text.py STEPS` says "ready" once both networks are compiled, and then answers each line of its input
("lstm" or "gru") with the seconds of one `fit` over STEPS batches of 32.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")

import keras
import numpy as np
from keras import layers

BATCH, LENGTH, VOCABULARY = 32, 100, 10_000


def network(layer: type) -> keras.Model:
    net = keras.Sequential(
        [
            keras.Input((LENGTH,)),
            layers.Embedding(VOCABULARY, 128),
            layer(64, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    net.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return net


def main() -> None:
    steps = int(sys.argv[1])
    draw = np.random.default_rng(0)
    x = draw.integers(1, VOCABULARY, (BATCH * steps, LENGTH))
    y = draw.integers(0, 2, BATCH * steps)
    networks = {"lstm": network(layers.LSTM), "gru": network(layers.GRU)}
    for each in networks.values():
        each.fit(x[: 3 * BATCH], y[: 3 * BATCH], batch_size=BATCH, verbose=0)
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        networks[line.strip()].fit(x, y, batch_size=BATCH, verbose=0)
        print(json.dumps(time.perf_counter() - began), flush=True)


main()
