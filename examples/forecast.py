"""Many series in one model: the next two weeks of each, with intervals, beside the best simple method."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl

from layerwise import Forecaster


def make(series: int = 30, days: int = 150) -> pl.DataFrame:
    """A long table of daily sales with a weekly season, a trend and noise."""
    random = np.random.default_rng(0)
    first = datetime.date(2026, 1, 1)
    time = np.arange(days)
    parts = []
    for number in range(series):
        level, swing, slope = random.uniform(50, 200), random.uniform(5, 40), random.uniform(-0.1, 0.3)
        values = level + swing * np.sin(2 * np.pi * time / 7) + slope * time + random.normal(0, 4, days)
        dates = [(first + datetime.timedelta(days=int(day))).isoformat() for day in time]
        parts.append(pl.DataFrame({"unique_id": [f"shop {number}"] * days, "ds": dates, "y": values}))
    return pl.concat(parts)


def main() -> None:
    sales = make()
    forecaster = Forecaster(horizon=14, model="linear").fit(sales)
    print(forecaster.metrics_["verdict"])  # of the last two weeks, which took no part
    print(forecaster.predict().head(3))  # the two weeks after the table ends


if __name__ == "__main__":
    main()
