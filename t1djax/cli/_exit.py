"""How commands end: one table of exit codes, and the code of each kind of error."""

import signal
from collections.abc import Mapping
from types import MappingProxyType

EXIT_MACHINE = 1
EXIT_COMMAND = 2
EXIT_DATA = 3
EXIT_FAILED_PATIENTS = 4
EXIT_REFUSED = 5
EXIT_REMAINS = 6
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 128 + signal.SIGTERM

EXIT_CODES: Mapping[int, str] = MappingProxyType({
    0: "all well",
    EXIT_MACHINE: "the machine or a server is in the way: disk, memory, rights, network, another process",
    EXIT_COMMAND: "the command or its configuration is wrong, or its output is there already",
    EXIT_DATA: "what it names is not there, or what that holds is wrong or damaged",
    EXIT_FAILED_PATIENTS: "finished, but the fit of some patient failed",
    EXIT_REFUSED: "a promotion was refused",
    EXIT_REMAINS: "forget: something of the person remains",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_STOPPED: "stopped by SIGTERM, its state kept for --resume",
})  # fmt: skip
"""What each code means, for all commands."""


def exit_code(error: Exception) -> int | None:
    """The code with which a command ends on an error; None where the error is a fault of the program.

    Example:
        >>> from t1djax.cli._exit import exit_code
        >>> exit_code(ValueError("free: ksi stands twice")), exit_code(KeyError("no patient 'Ada'"))
        (2, 3)
    """
    # With JAX and pandas, which `--help` does without.
    from ..io import CheckpointError, DataError, ResultError, Stopped  # noqa: PLC0415
    from ..registry import NotRegisteredError, UnreachableError  # noqa: PLC0415
    from ..tracking import TrackingError  # noqa: PLC0415

    match error:
        case Stopped():
            return EXIT_STOPPED
        case DataError() | ResultError() | CheckpointError() | NotRegisteredError() | KeyError():
            return EXIT_DATA
        case UnreachableError() | TrackingError() | MemoryError():
            return EXIT_MACHINE
        case FileNotFoundError():  # raised by this package it is about what is read; by the system, about a write
            return EXIT_DATA if error.errno is None else EXIT_MACHINE
        case FileExistsError() | IsADirectoryError() | NotADirectoryError() | ValueError() | ImportError(name=None):
            return EXIT_COMMAND
        case OSError():
            return EXIT_MACHINE
        case _:
            return None
