"""What all configurations share: strictness, and errors in words."""

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pydantic

from .._arguments import ArgumentError, place
from .._words import did_you_mean


class ConfigError(ValueError):
    """A configuration is not valid; the message names each field and the remedy."""


class MissingPathError(ConfigError, FileNotFoundError):
    """A file or folder that is named does not exist."""


class Strict(pydantic.BaseModel):
    # Strict: `seed: true` and `strict: "yes"` are slips, not numbers and booleans.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names that a file may state."""
        return tuple(cls.model_fields)


class Nested(ValueError):
    """Errors of a part that is validated on its own, to be listed with the others.

    `beside` says whether a file has the part's fields beside the others, not below a name.
    """

    def __init__(self, errors: Iterable[Any], *, beside: bool = False) -> None:
        self.errors, self.beside = list(flat(errors)), beside
        super().__init__("; ".join(f"{place(x['loc'])}: {say(x)}" for x in self.errors))


def flat(errors: Iterable[Any]) -> Iterator[Any]:
    """Errors one by one, those of nested parts with their places."""
    for error in errors:
        inner = error.get("ctx", {}).get("error")
        if isinstance(inner, Nested):
            at = () if inner.beside else error["loc"]
            yield from ({**x, "loc": (*at, *x["loc"])} for x in inner.errors)
        elif isinstance(inner, ArgumentError):
            where = (*error["loc"], *inner.argument)
            yield {"type": "value_error", "loc": where, "msg": inner.problem, "input": {}}
        elif error["type"] != "too_short" or not error["input"]:  # its items are wrong, and said to be so
            yield error


def built(kind: Any, values: Any) -> Any:
    """A frozen dataclass, or several, from the values of a file, as strictly as all else is read.

    Raises:
        Nested: listing what is wrong with its fields.
    """
    plain = lambda x: vars(x) if dataclasses.is_dataclass(x) else str(x)
    try:
        # By way of JSON, where strict validation takes a list for a tuple and a mapping for a record.
        return _adapter(kind).validate_json(json.dumps(values, default=plain), strict=True)
    except pydantic.ValidationError as e:
        raise Nested(e.errors()) from None


@functools.cache
def _adapter(kind: Any) -> Any:
    return pydantic.TypeAdapter(kind)


_WORDS = {
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid tuple": "a list, such as [a, b]",
    "a valid array": "a list, such as [a, b]",
    "a valid list": "a list, such as [a, b]",
    "a valid dictionary": "fields with values, such as {field: value}",
}
"""Pydantic's words for kinds of values, and those of a YAML file."""


def say(error: Any, kind: type[pydantic.BaseModel] | None = None) -> str:
    """What is wrong with a field, for who wrote it; of the fields of `kind` the nearest is suggested."""
    if error["type"] == "extra_forbidden" or error["msg"] == "Unexpected keyword argument":
        there = _fields_at(kind, error["loc"][:-1])
        near = did_you_mean(error["loc"][-1], there)
        return f"there is no such field{near}; see help(t1djax.Experiment) or `t1djax train --help`"
    if error["type"] == "missing":
        return "is missing; state it"
    if error["type"] == "too_short":
        return "is empty; name at least one"
    text = error["msg"].removeprefix("Value error, ")
    if text.startswith("Input should be "):
        text = f"must be {text.removeprefix('Input should be ')}"
        for theirs, ours in _WORDS.items():
            text = re.sub(f"{theirs}( or .*)?$", ours, text)
    given = error["input"]
    if isinstance(given, Mapping):
        return text
    near = did_you_mean(given, re.findall(r"'(\w+)'", error["msg"])) if error["type"] == "literal_error" else ""
    return f"{text} (given: {'nothing' if given is None else f'{given!r:.60}'}){near}"


def _fields_at(kind: type[pydantic.BaseModel] | None, at: Sequence[str | int]) -> Iterable[str]:
    for name in at:
        inner = None if kind is None or name not in kind.model_fields else kind.model_fields[str(name)].annotation
        kind = inner if isinstance(inner, type) and issubclass(inner, pydantic.BaseModel) else None
    return () if kind is None else kind.names() if issubclass(kind, Strict) else ()


def merge(base: Mapping[Any, Any], over: Mapping[str, Any]) -> dict[Any, Any]:
    merged = dict(base)
    for name, value in over.items():
        if isinstance(value, Mapping):
            below = merged.get(name, {})
            # What is no mapping stays, for the validation to name it.
            if isinstance(below, Mapping) and (inner := merge(below, value)):
                merged[name] = inner
        elif value is not None:
            merged[name] = value
    return merged


def moved(values: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Fields where they stand today: those of `hupa` in `reading` and beside it."""
    if not isinstance(hupa := values.get("hupa"), Mapping):
        return values
    rest = {name: value for name, value in values.items() if name != "hupa"}
    reading = {**hupa, **(rest.get("reading") or {})}
    info = {"info": reading.pop("info")} if "info" in reading else {}
    return {**rest, **info, "reading": {**reading, "columns": reading.get("columns") or None}}


def with_defaults(stored: Mapping[str, Any], kind: type[pydantic.BaseModel]) -> dict[str, Any]:
    """A configuration that an earlier version wrote, with what was added since at its defaults."""

    def over(fresh: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
        both = lambda k, v: isinstance(v, Mapping) and isinstance(fresh.get(k), Mapping)
        return {**fresh, **{k: over(fresh[k], v) if both(k, v) else v for k, v in moved(old).items()}}

    return over(kind.model_construct().model_dump(mode="json"), stored)
