"""What is public, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import layerwise

PUBLIC = [
    "Forecaster", "ImageClassifier", "ImageGAN", "ImageVAE", "LayerwiseError", "Model", "Run", "SequenceClassifier",
    "TextClassifier",
    "__version__", "cross_validate", "load", "resume", "train",
]  # fmt: skip


def test_public_names_are_these_and_all_exist() -> None:
    assert layerwise.__all__ == PUBLIC == dir(layerwise)
    for name in PUBLIC:
        assert getattr(layerwise, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    try:
        layerwise.trian  # type: ignore[attr-defined]  # noqa: B018
    except AttributeError as error:
        assert "trian" in str(error)
    else:
        raise AssertionError("an unknown name was found")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    words = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in found.split()}


# pydantic is not among them: typer loads it by itself where it is installed.
HEAVY = {"torch", "timm", "numpy", "polars", "sklearn", "matplotlib", "PIL"}


def test_importing_layerwise_loads_nothing_heavy() -> None:
    assert not loaded_after("import layerwise") & HEAVY


def test_help_and_the_table_of_models_load_nothing_heavy() -> None:
    quiet = "import contextlib, io\nfrom layerwise.cli import call\n"
    for words in (["--help"], ["train", "--help"], ["models"], ["models", "--json"]):
        code = f"{quiet}with contextlib.redirect_stdout(io.StringIO()):\n    assert call({words!r}) == 0"
        assert not loaded_after(code) & HEAVY, words
