"""`python -m benchmarks NAME [WORDS...]`: run one benchmark and print its figures."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "accuracy": "flowers and ants-bees with efficientnet_lite0; several seeds",
    "balance": "sms with and without balance=true: macro F1 and recall of spam, paired; 5 seeds",
    "cifar": "the course's CIFAR network, 10 epochs with augmentation",
    "coverage": "1,000 simulated data sets each: do 95 % intervals hold the true value of accuracy, macro F1 and MASE?",
    "fashion": "Fashion-MNIST with airbench-small, within 10 CPU-minutes",
    "forecast": "M4 hourly, ETTh1 and airline passengers, beside simple methods and published figures",
    "gan": "Fashion-MNIST by gan and, for the same wall time, by gan-tutorial: distance and its kin, 3 seeds",
    "generator-speed": "a step of the course's GAN and VAE beside Keras on three backends and plain PyTorch",
    "inspect-data": "copies planted in flowers and ants-bees, what inspect finds; with `time`, 2,000 and 10,000 images",
    "memorised": "copies of training images that are planted among samples, and held-out images beside them",
    "shuffled": "flowers and a copy with shuffled labels: is the honest one called better than its baseline, alone?",
    "throughput": "training samples a second beside Keras on TensorFlow, in one run",
    "memory": "peak memory for 1,000 and 10,000 photographs",
    "frozen": "keeping what a frozen network gives, beside recomputing it and five peers",
    "pieces": "pictures inferred a few at a time beside whole batches, and activations behind a cut",
    "recurrent": "recurrent training steps: the course's text model beside Keras, unequal lengths beside packing",
    "screen": "screening three networks on flowers, beside their forward passes alone",
    "sequences": "four sets of the UCR and UEA archives, several seeds, beside ridge and the nearest neighbour",
    "suspects": "flipped labels in flowers: how many are among as many suspects; 5 seeds",
    "texts": "movie-reviews, questions and sms by auto, beside TF-IDF and logistic regression; 5 seeds",
    "vae": "Fashion-MNIST by vae and vae-tutorial: nats, samplers, outliers, 3 seeds",
    "thaw": "flowers cross-validated and ants-bees: head alone beside head and thaw",
}


def main() -> None:
    """Call the benchmark that the first word names."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print("\n".join(f"{name:<16} {about}" for name, about in NAMES.items()))
        sys.exit(2)
    importlib.import_module(f"benchmarks.{sys.argv[1].replace('-', '_')}").main(sys.argv[2:])


main()
