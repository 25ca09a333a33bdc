"""`layerwise sample`: new images from a VAE or GAN."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli import words


def run(
    path: words.Folder,
    count: Annotated[int, typer.Option("-n", "--n", min=1, max=100_000, help="How many.")] = 64,
    seed: words.Seed = None,
    out: Annotated[
        Path,
        typer.Option(help="A .png for one sheet of all, a .npz for an array, or a new folder for a file each."),
    ] = Path("samples.png"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="label=NAME, sampler=normal or mixture, truncation=0.7."),
    ] = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Draw new images with RUN's model, a VAE or GAN.

    The same seed gives the same images.
    """
    from layerwise import api
    from layerwise.config import parse_sets
    from layerwise.report.image_files import check_images_path, write_images

    check_images_path(out)
    model = api.load(path, device=device or "auto")
    images = model.sample_with(count, {**parse_sets(set_ or []), "seed": seed or 0})
    write_images(out, images)
    if json:
        words.print_json({"samples": str(out), "n": count, "seed": seed or 0})
    else:
        print(f"{count} samples written to {out}")
