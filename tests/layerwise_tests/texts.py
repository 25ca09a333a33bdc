"""Small sets of texts that a network can learn, made on the spot."""

from __future__ import annotations

import random

GOOD = ("good", "fine", "great", "lovely", "superb", "warm")
BAD = ("bad", "poor", "dull", "sad", "awful", "cold")
PLAIN = ("the", "a", "film", "plot", "of", "and", "it", "was", "very", "so", "this", "actor", "scene", "with", "never")


def film_reviews(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of 3 to 15 words, and "good" or "bad" in turns; some words of a text say which."""
    drawn = random.Random(seed)
    texts, labels = [], []
    for row in range(count):
        telling = (GOOD, BAD)[row % 2]
        words = [drawn.choice(PLAIN if drawn.random() < 0.6 else telling) for _ in range(drawn.randint(2, 14))]
        words.insert(drawn.randint(0, len(words)), drawn.choice(telling))
        texts.append(" ".join(words))
        labels.append(("good", "bad")[row % 2])
    return texts, labels
