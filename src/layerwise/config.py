"""Recipes: frozen, typed sections, each defined beside what it configures.

A recipe is everything that repeats a run. It comes from three places, later ones win: the defaults in the code, a TOML
file (`--recipe`), and `--set key=value`. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import tomli_w

from layerwise.errors import RecipeError, nearest


class Section(pydantic.BaseModel):
    """Base of every recipe section: frozen, and closed against unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


S = TypeVar("S", bound=Section)


def build(kind: type[S], values: Mapping[str, Any]) -> S:
    """Check plain values and make a section of them.

    Raises:
        RecipeError: a key is unknown (with the nearest known one) or a value does not fit (with its dotted path).
    """
    try:
        return kind.model_validate(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise RecipeError(f'Unknown key "{path}".', fix=_nearest_key(kind, first["loc"])) from None
        if first["type"] == "missing":
            raise RecipeError(f'The key "{path}" is missing.', expected="a value for it") from None
        raise RecipeError(f'"{path}" is {first["input"]!r}.', expected=_wanted(first["type"], first["msg"])) from None


_TABLE = "a table, as in {key = value}"
_KINDS = {
    "model_type": _TABLE,
    "dict_type": _TABLE,
    "tuple_type": "a list",
    "string_type": "a text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
}


def _wanted(kind: str, message: str) -> str:
    """What pydantic says, in our words, or without its subject."""
    return _KINDS.get(kind, message.removeprefix("Input should be ").removeprefix("Value error, "))


def _nearest_key(kind: type[Section], place: tuple[int | str, ...]) -> str:
    """A hint for an unknown key: the same word elsewhere in the recipe, else a like one."""
    path, word = ".".join(str(part) for part in place), str(place[-1])
    if any(isinstance(part, int) for part in place):  # within a list of sections, such as stages
        return nearest(word, _section_at(kind, place[:-1]).model_fields)
    same = [key for key in keys(kind) if key.rpartition(".")[2] == word]
    return f'Did you mean "{same[0]}"?' if len(same) == 1 else nearest(path, keys(kind))


def _section_at(kind: type[Section], place: Iterable[int | str]) -> type[Section]:
    for part in place:
        if isinstance(part, str):
            inner = kind.model_fields[part].annotation
            kind = next(
                each for each in (inner, *get_args(inner)) if isinstance(each, type) and issubclass(each, Section)
            )
    return kind


def keys(kind: type[Section], prefix: str = "") -> list[str]:
    """All dotted keys of a section, nested ones included."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        found.append(prefix + name)
        if isinstance(inner, type) and issubclass(inner, Section):
            found += keys(inner, f"{prefix}{name}.")
    return found


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_sets(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn `--set` texts such as `optimizer.learning_rate=0.001` into nested values.

    A value is read as TOML; what is not TOML is a plain string, so that `model=vgg16` needs no quotes.

    Raises:
        RecipeError: a text without `=`.

    Example:
        >>> parse_sets(["augment.flip=true", "thaw=full"])
        {'augment': {'flip': True}, 'thaw': 'full'}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f'--set got "{pair}".', expected="key=value, as in --set augment.flip=true")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        *parents, last = key.strip().split(".")
        nested: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            nested = {parent: nested}
        values = merge(values, nested)
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Read a recipe file.

    Raises:
        RecipeError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe at {path}.", expected="a TOML file") from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.", expected="a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}.", expected="key = value lines") from None


def to_toml(section: Section) -> str:
    """A section as TOML text; keys whose value is None are left out, as TOML has no null."""
    return tomli_w.dumps(section.model_dump(mode="json", exclude_none=True))
