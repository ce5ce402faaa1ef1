"""What the library calls its arguments, in the words of the command line: `day_first=True` is `--day-first`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.main import get_command

from .._arguments import Path, as_code

_ELSEWHERE = ("convert", "train")
"""Commands that have the flags of reading, and of fitting."""


def as_flags(path: Path, *values: Any, arguments: Sequence[str] | None = None) -> str:
    """An argument of the library as a flag of the command that runs, or else of another one; as code where none has it.

    The command is that of `arguments`, or of this process.

    Example:
        >>> from t1djax.cli._flags import as_flags
        >>> as_flags(("free",), ["ksi", "kl"], arguments=["identify"])
        '--free ksi,kl'
        >>> as_flags(("carbs_unit",), "g", arguments=["report", "x"])
        '--carbs-unit g'
    """
    root = get_command(_app())
    commands = [(sys.argv[1:] if arguments is None else arguments, "")]
    commands += [([name], f" (a flag of `t1djax {name}`)") for name in _ELSEWHERE]
    for words, whose in commands:
        there = _of(root, words)
        for depth in range(len(path), 0, -1):
            if (flags := there.get("_".join(map(str, path[:depth])))) is not None:
                return f"{_written(flags, values)}{''.join(f' {key}' for key in path[depth:])}{whose}"
    return as_code(path, *values)


def _written(flags: tuple[str, ...], values: Sequence[Any]) -> str:
    if not values:
        return " or ".join(flags)
    if isinstance(values[0], bool):
        return flags[0 if values[0] else -1]
    return f"{flags[0]} {' or '.join(shlex.quote(_text(value)) for value in values)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _app() -> typer.Typer:
    from ._app import app  # noqa: PLC0415 - which imports this

    return app


def _of(root: Any, arguments: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The flags of the command that the arguments name, by argument of the library: a switch has two."""
    command = root
    for word in arguments:
        if (inner := getattr(command, "commands", {}).get(word)) is None:
            break
        command = inner
    found: dict[str, tuple[str, ...]] = {}
    for parameter in command.params:
        long = [flag for flag in parameter.opts if flag.startswith("--")]
        if long:
            found[parameter.name] = (long[0], *parameter.secondary_opts)
            for flag in long:  # of several names each is one
                found.setdefault(flag.removeprefix("--").replace("-", "_"), (flag, *parameter.secondary_opts))
    return found
