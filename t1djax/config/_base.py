"""What all configurations share: strictness, and errors in words."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pydantic


class ConfigError(ValueError):
    """A configuration is not valid; the message names each field and the mend."""


class Strict(pydantic.BaseModel):
    # Strict: `seed: true` and `strict: "yes"` are slips, not numbers and booleans.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Nested(ValueError):
    """Errors of a part that is validated on its own, to be listed with the others."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, x['loc']))}: {say(x)}" for x in errors))
        self.errors = errors


def flat(errors: Iterable[Any]) -> Iterator[Any]:
    for error in errors:
        inner = error.get("ctx", {}).get("error")
        if isinstance(inner, Nested):
            yield from ({**x, "loc": (*error["loc"], *x["loc"])} for x in inner.errors)
        else:
            yield error


def say(error: Any) -> str:
    if error["type"] == "extra_forbidden" or error["msg"] == "Unexpected keyword argument":
        return "there is no such field; see `t1djax train --help`"
    said = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    return said if isinstance(given, Mapping) else f"{said} (given: {given!r:.60})"


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
