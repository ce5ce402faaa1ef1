"""What the library calls its arguments, in the words of the command line: `day_first=True` is `--day-first`."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.main import get_command

from .._arguments import Path, as_code

_OTHERWISE = {
    "length_h": "--windows",
    "step_h": "--step",
    "noise_sd_mg_dL": "--noise-level",
    "target_mg_dL": "--target",
}
"""Arguments whose flags are called otherwise."""
_ELSEWHERE = ("convert", "train")
"""Commands that have the flags of reading, and of fitting."""
_QUOTED = r"(?:\"[^\"]*\"|'[^']*')"
_STATED = re.compile(
    r"(?<![-\w/.])(?P<name>[a-z]\w*)=(?P<value>True|False|" + _QUOTED + r"|\[[^\]]*\]|\{[^}]*\}|[-\w.]+)"
    r"(?P<more>(?:(?:, | or |, or )" + _QUOTED + r"(?: \([^)]*\))?)*)"
)
_BARE = re.compile(r"(?<![-\w/.'\"])(?P<name>[a-z]+(?:_\w+)+)\b(?![=/('\":])")


def in_flags(text: str, arguments: Sequence[str] | None = None) -> str:
    """A message of the library as the command line has it.

    Names of arguments become flags where they stand with a value, `day_first=True`, or have an underscore. A flag that
    the command does not have is said to be that of another one. A name that no flag has stays, and so does a field of
    a configuration, `name: what is wrong`.

    Args:
        text: the message.
        arguments: of the command; those of this process if not given.

    Example:
        >>> from t1djax.cli._flags import in_flags
        >>> in_flags('pass glucose_unit="mg/dL" or "mmol/L"', ["identify"])
        'pass --glucose-unit mg/dL or mmol/L'
        >>> in_flags("pass carbs_unit", ["sweep"])
        'pass --carbs-unit (a flag of `t1djax convert`)'
    """
    if "=" not in text and "_" not in text:
        return text
    root = get_command(_app())
    own = _of(root, sys.argv[1:] if arguments is None else arguments)

    def flags(name: str) -> tuple[tuple[str, ...], str]:
        """A name's flags, and what to add where they are another command's."""
        if name in own:
            return own[name], ""
        other = next((command for command in _ELSEWHERE if name in _of(root, [command])), None)
        return ((), "") if other is None else (_of(root, [other])[name], f" (a flag of `t1djax {other}`)")

    def stated(found: re.Match[str]) -> str:
        (first, *others), whose = flags(found["name"])[0] or ("",), flags(found["name"])[1]
        value = found["value"]
        if value[0] in "\"'":
            value = shlex.quote(value[1:-1])
        elif value.startswith("{"):
            value = re.sub(r'[{}" ]', "", value).replace(":", "=")
        elif value.startswith("["):
            value = re.sub(r'[\[\]" ]', "", value)
        if not first:
            return found[0]
        if value in ("True", "False"):
            return (others[0] if others and value == "False" else first) + whose
        return f"{first} {value}{found['more'].replace(chr(34), '')}{whose}"

    def bare(found: re.Match[str]) -> str:
        those, whose = flags(found["name"])
        return " or ".join(those) + whose if those else found["name"]

    return _BARE.sub(bare, _STATED.sub(stated, text))


def as_flags(path: Path, value: Any = ..., *, arguments: Sequence[str] | None = None) -> str:
    """An argument of the library as a flag of the command that runs, or else of another one; as code where none has it.

    Args:
        path: the argument.
        value: what to pass.
        arguments: of the command; those of this process if not given.

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
                return f"{_written(flags, value)}{''.join(f' {key}' for key in path[depth:])}{whose}"
    return as_code(path, value)


def _written(flags: tuple[str, ...], value: Any) -> str:
    if value is ...:
        return " or ".join(flags)
    if isinstance(value, bool):
        return flags[-1] if value is False else flags[0]
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={one}" for key, one in value.items())
    elif not isinstance(value, str) and isinstance(value, Sequence):
        value = ",".join(map(str, value))
    return f"{flags[0]} {shlex.quote(str(value))}"


def _app() -> typer.Typer:
    from ._app import app  # noqa: PLC0415 - which imports this

    return app


def _of(root: object, arguments: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The flags of the command that the arguments name, by argument of the library."""
    command = root
    for word in arguments:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None and getattr(command, "commands", None) is None:
            break
        command = inner or command
    found: dict[str, tuple[str, ...]] = {}
    for parameter in getattr(command, "params", ()):
        if parameter.param_type_name == "option":
            long = tuple(flag for flag in (*parameter.opts, *parameter.secondary_opts) if flag.startswith("--"))
            name = lambda flag: flag.removeprefix("--").replace("-", "_")
            # A flag with two names, such as --free and --inverse-params, is each of them.
            alike = parameter.opts if len(parameter.opts) > 1 and not parameter.secondary_opts else ()
            found |= {name(flag): (flag,) for flag in alike if flag.startswith("--")}
            found.setdefault(str(parameter.name), long)
            found.setdefault(name(long[0]), long)
    there = {flag for flags in found.values() for flag in flags}
    return found | {name: (flag,) for name, flag in _OTHERWISE.items() if flag in there}
