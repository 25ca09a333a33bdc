"""The command line is a promise: a verb or flag is added here on purpose, and none goes away."""

from __future__ import annotations

import typer.main

from layerwise.cli import app

FROZEN = {
    "train": {
        "data", "--task", "--model", "--out", "--epochs", "--folds", "--budget", "--seed", "--device", "--recipe",
        "--image", "--text", "--label", "--target", "--time", "--series", "--horizon", "--tensorboard",
        "--mlflow", "--set", "--json",
    },
    "resume": {"path", "--json"},
    "evaluate": {"path", "data", "--image", "--label", "--set", "--device", "--json"},
    "predict": {"path", "inputs", "--out", "--device", "--json"},
    "explain": {"path", "inputs", "--out", "--set", "--device", "--json"},
    "sample": {"path", "-n", "--seed", "--out", "--set", "--device", "--json"},
    "inspect": {"data", "--task", "--image", "--label", "--set", "--page", "--exclude", "--json"},
    "screen": {"data", "--models", "--out", "--seed", "--device", "--set", "--json"},
    "compare": {"paths", "--out", "--json"},
    "report": {"path", "--json"},
    "models": {"--json"},
    "demo": {"name", "--out", "--seed", "--json"},
}  # fmt: skip


def test_verbs_and_flags_are_these() -> None:
    group = typer.main.get_command(app)
    found = {
        verb: {parameter.opts[0] if parameter.opts else parameter.name for parameter in command.params}
        for verb, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == FROZEN
