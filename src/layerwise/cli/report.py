"""`layerwise report`: the page of a run, written again."""

from __future__ import annotations

from layerwise.cli import words


def run(path: words.Folder, json: words.Json = False) -> None:
    """Write RUN's report.html again."""
    from layerwise import api

    page = api.report(path)
    if json:
        words.print_json({"report": str(page)})
    else:
        print(page)
