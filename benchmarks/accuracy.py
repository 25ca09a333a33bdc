"""Transfer with EfficientNet-Lite0: flowers (own split, several seeds) and ants-bees (its own `val/`)."""

from __future__ import annotations

import layerwise
from benchmarks.common import DATA, scratch, spread, value, versions


def main(words: list[str]) -> None:
    seeds = range(int(words[0]) if words else 5)
    print(versions("timm"))
    for name in ("flowers", "ants-bees"):
        found = []
        for seed in seeds:
            with scratch() as place:
                run = layerwise.train(DATA / name, model="efficientnet_lite0", seed=seed, out=place / "run")
            found.append(value(run.metrics))
            took = run.metrics["seconds"]
            print(
                f"{name} seed {seed}: {found[-1]:.4f} of n={run.metrics['n']}, train {took['train']:.0f} s", flush=True
            )
        print(f"{name}: {spread(found)}", flush=True)
