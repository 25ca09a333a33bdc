"""Every example runs, as a person would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
# What each is to print, so that one that does nothing is found.
SAYS = {
    "train_folder": "than linear model on pixels: accuracy",
    "own_network": "than linear model on pixels: accuracy",
    "grid_search": "took no part in the search",
    "resume": "the same weights: True",
    "texts": "asyncio: Run the event loop",
    "sequences": "lstm-stack: accuracy",
    "generators": "Better than",
    "forecast": "Better than seasonal naive",
}


def test_every_example_is_listed_here() -> None:
    assert {file.stem for file in EXAMPLES} == set(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.stem))
def test_example_runs(file: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", str(file)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS[file.stem] in done.stdout
    assert not list(tmp_path.iterdir()), "an example left something behind"
