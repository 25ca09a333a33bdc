"""`layerwise screen`: which pretrained network suits the data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerwise.cli import words

if TYPE_CHECKING:
    from layerwise.api import Screen


def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="In any form that train takes.")],
    models: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Names from `layerwise models`, or timm:NAME; all by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the results; a new one under runs/ by default.")
    ] = None,
    seed: words.Seed = None,
    device: words.Device = None,
    set_: words.Set = None,
    json: words.Json = False,
) -> None:
    """Compare pretrained networks on DATA without training any.

    What is computed is kept: a stopped screen goes on when it is called again.
    """
    from layerwise import api
    from layerwise.config import parse_sets
    from layerwise.errors import TrainingError

    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    try:
        done = api.screen(data, models=names, out=out, seed=seed, device=device, recipe=parse_sets(set_ or []))
    except KeyboardInterrupt:
        raise TrainingError(
            "Stopped; what was computed is kept.", fix="The same call goes on where this one was."
        ) from None
    given = [*(["--seed", str(seed)] if seed is not None else []), *(["--device", device] if device else [])]
    given += [word for pair in set_ or [] for word in ("--set", pair)]
    commands = {
        name: shlex.join(["layerwise", "train", data, "--model", name, *given]) for name in (done.best, done.quick)
    }
    if json:
        words.print_json({"screen": str(done.path), **done.found, "command": commands[done.best]})
    else:
        _print(done, commands)


def _print(done: Screen, commands: Mapping[str, str]) -> None:
    sample, rows = done.found["sample"], done.found["results"]
    width = max(len(row["name"]) for row in rows)
    print(
        f"\n{sample['n']:,} images of {sample['classes']} classes; logistic regression on frozen features, "
        f"{sample['folds']}-fold cross-validation; 95 % intervals"
    )
    print(f"  {'':<{width}}  accuracy                 log loss  ms an image        MB  parameters")
    for row in rows:
        print(f"{'*' if row['front'] else ' '} {row['name']:<{width}}  {_figures(row)}")
    print("* no other network is both more accurate and faster")
    for each in done.found["skipped"]:
        print(f"Skipped {each['name']}: {each['reason']}")
    print(f"\nPicture  {done.path / 'screen.svg'}\nFigures  {done.path / 'screen.json'}")
    print(f"Best     {commands[done.best]}")
    if done.quick != done.best:
        print(f"Faster   {commands[done.quick]}")
        print(f"         (the fastest whose accuracy is within the interval of {done.best})")


def _figures(row: Mapping[str, Any]) -> str:
    return (
        f"{row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f})  {row['log_loss']:>8.3f}  "
        f"{1000 * row['seconds_per_image']:>11.1f}  {row['megabytes']:>8.1f}  {row['parameters'] / 1e6:>8.2f} M"
    )
