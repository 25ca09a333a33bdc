"""`layerwise resume`: go on where a run stopped."""

from __future__ import annotations

from layerwise.cli import words


def run(path: words.Folder, json: words.Json = False) -> None:
    """Go on where RUN stopped.

    The end is the one it would have had without the stop, bit for bit.
    """
    from layerwise import api

    done = api.resume(path)
    if json:
        words.print_json({"run": str(done.path), **done.metrics})
    else:
        words.print_run(done.path, done.metrics)
