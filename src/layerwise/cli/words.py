"""Arguments and flags that several verbs share, and how results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, or a model file where only the model is needed.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Image = Annotated[str | None, typer.Option(help="Column of image paths, in a table.")]
Text = Annotated[str | None, typer.Option(help="Column of texts, in a table.")]
Label = Annotated[str | None, typer.Option(help="Column of labels, in a table.")]
Target = Annotated[str | None, typer.Option(help="Column of values, in a table of series.")]
Time = Annotated[str | None, typer.Option(help="Column of times, in a table of series.")]
Series = Annotated[str | None, typer.Option(help="Column that names the series, in a table of several.")]
Seed = Annotated[int | None, typer.Option(help="Of everything random.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the recipe.")]


def columns(given: Mapping[str, str | None]) -> dict[str, str]:
    """The columns that were named, by flag."""
    return {flag: column for flag, column in given.items() if column is not None}


def path_or_text(word: str) -> str | Path:
    """A path, or a text as it was typed: a path would lose the second slash of an address in it."""
    return word if " " in word and not Path(word).exists() else Path(word)


# What examples are called, and what `predict` takes, by task.
_NOUNS = {
    "image-classification": ("images", "IMAGE..."),
    "text-classification": ("texts", "TABLE..."),
    "sequence-classification": ("sequences", "FILE..."),
    "forecast": ("series", "TABLE"),
    "vae": ("images", "IMAGE..."),
    "gan": ("images", "IMAGE..."),
}
_MAKE = ("vae", "gan")  # tasks whose models make examples
_OF_SAMPLES = ("distance", "kid", "density", "coverage")


def noun(task: str) -> str:
    """What examples of a task are called, in the plural."""
    return _NOUNS[task][0]


def print_json(value: Mapping[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(value))


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Every figure with its interval and the baseline's beside it, then the verdict."""
    if metrics["task"] in _MAKE:
        _print_generator(metrics)
        return
    baseline = metrics["baseline"]
    noun = _NOUNS[metrics["task"]][0]
    count = metrics.get("series", metrics["n"])  # of forecasts, n counts windows
    print(f"\n{count:,} {noun} of the part {metrics['split']}; 95 % intervals; baseline: {baseline['name']}")
    for name, found in metrics["metrics"].items():
        other = baseline["metrics"].get(name)
        beside = "" if other is None else f"   baseline {other['value']:.3f}"
        known = found["low"] is not None  # a forecast of one stretch of time has no interval
        between = f"  ({found['low']:.3f} to {found['high']:.3f})" if known else ""
        print(f"  {name.replace('_', ' '):<10} {found['value']:.3f}{between}{beside}")
    if certainty := metrics.get("calibration"):
        _print_certainty(certainty)
    for sentence in (metrics["verdict"], *metrics.get("verdicts", ())):
        print(sentence)


def _print_certainty(found: Mapping[str, Any]) -> None:
    """How far sure and right are apart; and what was asked of sure answers, where anything was."""
    before, after = found["ece"]["before"], found["ece"]["after"]
    print(
        f"  calibration error {after['value']:.3f} ({after['low']:.3f} to {after['high']:.3f}), "
        f"{before['value']:.3f} before calibration"
    )
    asked = found.get("asked")
    if asked and asked["threshold"] is None:
        print(f"  sure: none, as no confidence is known to keep errors at {100 * asked['wanted']:g} %")
    elif asked:
        share, wrong = asked["coverage"]["value"], asked["error"]["value"]
        print(f"  sure from {asked['threshold']:.3f} on: {share:.0%} of the answers, {wrong:.1%} of those wrong")


def _print_generator(metrics: Mapping[str, Any]) -> None:
    """Figures from 0.001 to 300, and what real images would have."""
    from layerwise.report.words import fine, writer

    found, baseline = metrics.get("generation") or {}, metrics.get("baseline") or {}
    beside = f"; baseline: {baseline['name']}" if baseline else ""
    print(f"\n{metrics['n']:,} {_NOUNS[metrics['task']][0]} of the part {metrics['split']}; 95 % intervals{beside}")
    for name, mine in metrics["metrics"].items():
        write = writer(name)
        between = "" if mine.get("low") is None else f"  ({write(mine['low'])} to {write(mine['high'])})"
        other = baseline.get("metrics", {}).get(name)
        theirs = "" if other is None else f"   baseline {write(other['value'])}"
        print(f"  {name.replace('_', ' '):<14} {write(mine['value'])}{between}{theirs}")
    real = {name: found["real"][name]["value"] for name in _OF_SAMPLES if name in found.get("real", {})}
    if real:
        print(f"  real images against real ones: {', '.join(f'{name} {fine(each)}' for name, each in real.items())}")
    for alarm in found.get("alarms") or ():
        print(f"  alarm: {alarm['stage']}, epoch {alarm['epoch']}: {alarm['what'].rstrip('.')}; {alarm['done']}")
    print(metrics["verdict"])


def print_run(path: Path, metrics: Mapping[str, Any]) -> None:
    """The result of a run for people: figures, and where everything lies."""
    print_metrics(metrics)
    print(f"\nReport  {path / 'report.html'}")
    print(f"Model   {path / 'model.safetensors'}")
    if metrics["task"] in _MAKE:
        print(f"Use it  layerwise sample {path} --out new.png")
        return
    print(f"Use it  layerwise predict {path} {_NOUNS[metrics['task']][1]}")
