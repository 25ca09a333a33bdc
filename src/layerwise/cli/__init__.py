"""The command line: a file a verb, and each verb parses, calls `api`, prints.

Standard output holds results (one JSON object with `--json`), standard error what is said on the way. Exit codes: 0
done, 1 failed, 2 wrong usage or data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import layerwise
from layerwise.cli import (
    compare,
    demo,
    evaluate,
    explain,
    inspect,
    models,
    predict,
    report,
    resume,
    sample,
    screen,
    train,
)
from layerwise.errors import LayerwiseError

app = typer.Typer(
    name="layerwise",
    help="Train, check and ship the classic deep networks on your own data.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"layerwise {layerwise.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, check and ship the classic deep networks on your own data."""


app.callback()(_root)

VERBS: dict[str, Callable[..., None]] = {
    "train": train.run,
    "resume": resume.run,
    "evaluate": evaluate.run,
    "predict": predict.run,
    "explain": explain.run,
    "sample": sample.run,
    "inspect": inspect.run,
    "screen": screen.run,
    "compare": compare.run,
    "report": report.run,
    "models": models.run,
    "demo": demo.run,
}
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


_INTERRUPTED = 130  # what the parser makes of Ctrl-C


def main() -> None:
    """Entry point of the `layerwise` command."""
    sys.exit(call(sys.argv[1:]))


def call(words: list[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        app(args=words, prog_name="layerwise")
    except LayerwiseError as error:
        return _failed(str(error), error.exit_code, words)
    except KeyboardInterrupt:
        return _failed("Stopped.", 1, words)
    except SystemExit as stop:  # how the parser ends: 0 after --help, 2 after words it does not know, 130 at Ctrl-C
        if stop.code == _INTERRUPTED:
            return _failed("Stopped.", 1, words)
        if stop.code and "--json" in words:
            print(json.dumps({"error": "The words of the call are wrong; see standard error.", "exit_code": stop.code}))
        return int(stop.code or 0)
    return 0


def _failed(message: str, code: int, words: list[str]) -> int:
    print(f"Error: {message}", file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": message, "exit_code": code}))
    return code
