"""The application: exit codes, options that commands share, warnings and errors in words."""

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..config import ConfigError
from ..identifiability import UnidentifiableError
from ..io import DataError, DataWarning, ResultError, Stopped

EXIT_FAILED_PATIENTS = 4
EXIT_STOPPED = 128 + signal.SIGTERM
_EXIT_CODES = (
    "Exit codes: 0 all well; 1 a file could not be read or written; 2 wrong flags or configuration; "
    "3 wrong data; 4 finished, but the fit of some patient failed; 5 a promotion was refused; 130 interrupted; "
    "143 stopped by SIGTERM, its state kept for --resume."
)
app = typer.Typer(
    help=f"Type 1 diabetes in JAX: simulate, fit and forecast whole cohorts at once. Research software, not a "
    f"medical device.\n\n{_EXIT_CODES}",
    epilog="Example: t1djax train --model ode --mode inverse --data reference --results results",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables, for machines.")]
Noise = Annotated[str | None, typer.Option(help="Sensor error: none, white, ar1, breton-kovatchev.  [default: none]")]
NoiseSd = Annotated[float | None, typer.Option(help="Its standard deviation, mg/dL (white, ar1).  [default: 10]")]
Interval = Annotated[float | None, typer.Option(help="Minutes between readings.  [default: 1; virtual patients 5]")]
Dropout = Annotated[float | None, typer.Option(help="Share of readings lost at random.  [default: 0]")]
Censor = Annotated[bool | None, typer.Option("--censor", help="Report readings within 40 to 400 mg/dL, as devices do.")]


def main() -> None:
    """Entry point: known errors end in one line and an exit code, never in a traceback."""
    try:
        code = app()  # leaves by SystemExit; wrong flags, --help and interrupts are its own business
    except (DataError, ResultError) as e:
        code = fail(e, 3)
    except Stopped as e:
        code = fail(e, EXIT_STOPPED)
    except (ConfigError, UnidentifiableError, ValueError) as e:
        code = fail(e, 2)
    except KeyError as e:
        code = fail(ValueError(e.args[0] if e.args else str(e)), 2)
    except OSError as e:
        code = fail(e, 1)
    except MemoryError as e:
        code = fail(MemoryError(f"not enough memory ({e}); take fewer patients, days or readings"), 1)
    sys.exit(code)


def fail(error: Exception, code: int) -> int:
    stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"t1djax {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@contextmanager
def warnings_in_words() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        stderr.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield
