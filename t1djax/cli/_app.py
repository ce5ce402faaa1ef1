"""The application: options that commands share, warnings and errors in words."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import (
    CompletionItem,  # pyright: ignore[reportPrivateImportUsage] - it has no public name
    TyperGroup,
)

from .. import __version__
from .._arguments import written
from ._exit import EXIT_CODES, EXIT_INTERRUPTED, EXIT_STOPPED, exit_code
from ._flags import as_flags

_CODES = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
_COMMANDS = {
    "simulate": ("_simulate", "Simulate a cohort and write it as tables."),
    "inspect": ("_inspect", "Say what files hold, and what is wrong with them."),
    "convert": ("_inspect", "Write files of any known format as a cohort's tables."),
    "train": ("_train", "Fit every patient of a cohort at once."),
    "sweep": ("_sweep", "Run models by modes by parameters, or go on with it."),
    "identify": ("_identify", "Estimate parameters; say what the readings tell of them."),
    "settings": ("_settings", "Say what records tell of sensitivity, carbohydrate ratio, basal need."),
    "forecast": ("_forecast", "Forecast each record from every reading, and score it."),
    "population": ("_population", "Learn a forecaster from people, for others."),
    "replay": ("_replay", "Say what glucose would have been with other doses."),
    "trial": ("_trial", "Treat virtual people in closed loop by several controllers."),
    "report": ("_report", "Write a page on a cohort for a browser."),
    "evaluate": ("_results", "Collect the metrics of finished runs into one table."),
    "plot": ("_results", "Draw the figures of finished runs."),
    "diff": ("_diff", "Show what differs between two results."),
    "track": ("_track", "Runs in MLflow."),
    "registry": ("_registry", "Fitted patients in MLflow's model registry."),
    "forget": ("_forget", "Remove one person from what t1djax wrote; list the rest."),
}
"""In the order of their use: the module that defines a command, and what a list of them says."""

commands = typer.Typer(rich_markup_mode=None)
"""Modules add their commands to it when they are imported."""


class _Commands(Mapping[str, Any]):
    """The commands by name, imported one at a time: a list of them or a wrong name needs neither JAX nor pandas."""

    def __getitem__(self, name: str) -> Any:
        module, _ = _COMMANDS[name]
        import_module(f".{module}", __package__)
        return typer.main.get_group(commands).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.commands = _Commands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in _COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        ctx.with_resource(_warnings_in_words())  # the command is imported, and what it needs
        return found

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        names = [CompletionItem(n, help=h) for n, (_, h) in _COMMANDS.items() if n.startswith(incomplete)]
        return names + super(TyperGroup, self).shell_complete(ctx, incomplete)


app = typer.Typer(
    cls=_Group,
    help="Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts at once. Research software, not a medical "
    "device.\n\nA first hour: `inspect` your files, `convert` them to a cohort, `train` on it, `identify` what its "
    "readings tell, `report`. Each command's --help ends with an example.",
    epilog="Example: t1djax train --model ode --mode inverse --data reference --results results\n\n"
    f"Exit codes: {_CODES}.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables, for machines.")]


def _bodies(names: str) -> str:
    """They are there, and a class of one's own is imported: tables then have its columns."""
    from ..physics import physiology_named  # noqa: PLC0415 - with JAX, which `--help` does without

    for name in names.split(","):
        physiology_named(name.strip())
    return names


Bodies = Annotated[
    str,
    typer.Option(
        "--physiology",
        callback=_bodies,
        help="Bodies whose answers are taken together: kanderian, hovorka, magdelaine, or module:Class of your own.",
    ),
]
Body = Annotated[
    str, typer.Option("--physiology", callback=_bodies, help="magdelaine, kanderian, hovorka, or module:Class.")
]
Interval = Annotated[
    float | None, typer.Option(help="Minutes between simulated readings.  [default: 1; virtual patients 5]")
]


def _end_at_once(*_: Any) -> None:
    """While modules are imported, nothing is at work yet, and some of them do not survive an exit in their middle."""
    os._exit(EXIT_STOPPED)


def _end_in_order(*_: Any) -> None:
    """Until a training keeps its state on it."""
    sys.exit(EXIT_STOPPED)


@written(as_flags)
def main() -> None:
    """Entry point: known errors end in one line and an exit code, never in a traceback."""
    with contextlib.suppress(ValueError):  # not of the main thread
        signal.signal(signal.SIGTERM, _end_at_once)
    if next(iter(sys.argv[1:]), "") in _OF_A_BODY:
        sys.path.append(os.getcwd())
    try:
        code = app()  # leaves by SystemExit; wrong flags, --help and interrupts are its own business
    except SystemExit as e:
        if e.code == EXIT_INTERRUPTED:
            say("note", "interrupted; what is finished stays" + _GOES_ON.get(next(iter(sys.argv[1:]), ""), ""))
        raise
    except Exception as e:
        code = exit_code(e)
        if code is None:
            raise
        say("error", _message(e))
    sys.exit(code)


_OF_A_BODY = {"simulate", "train", "sweep", "identify", "settings", "forecast", "replay", "trial"}
"""Commands to which a class of one's own is named, which may lie in the working folder. Others import none from there:
what is in results of somebody else shall not say which code runs."""
_GOES_ON = {
    "train": ", and the same command with --resume goes on where it was",
    "sweep": ", and the same command goes on where it was",
    "population": ", and the same command goes on where it was",
}


def _message(error: Exception) -> str:
    """What an error says, without the marks of Python."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); take fewer patients, days or readings"
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


_STYLES = {"error": "red", "warning": "yellow", "note": ""}


def say(kind: Literal["error", "warning", "note"], text: object) -> None:
    """Say something beside the results, on standard error."""
    stderr.print(f"{kind}: {text}", style=_STYLES[kind], markup=False, highlight=False, soft_wrap=True)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"t1djax {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if signal.getsignal(signal.SIGTERM) is _end_at_once:  # the command is imported
        signal.signal(signal.SIGTERM, _end_in_order)


@contextlib.contextmanager
def _warnings_in_words() -> Iterator[None]:
    from ..io import DataWarning  # noqa: PLC0415 - with pandas, which a list of commands does without

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        yield
