"""Arguments of the library in what it says: written as code, or as who shows the text writes them."""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

Path = tuple[str | int, ...]
"""An argument by its name, and the place inside it: `("priors", "ksi")`."""
Notation = Callable[[Path, Any], str]
"""How an argument is written, alone (its value is `...`) or with a value."""


def as_code(path: Path, value: Any = ...) -> str:
    """An argument as it stands in a call, and in a file of a configuration: `free=["ksi"]`, `priors.ksi`."""
    name = ".".join(map(str, path))
    if value is ...:
        return name
    plain = value is None or isinstance(value, bool)  # None, True and False are other words in JSON
    return f"{name}={value if plain else json.dumps(value, ensure_ascii=False)}"


_notation: ContextVar[Notation] = ContextVar("notation", default=as_code)


def argument(name: str, value: Any = ...) -> str:
    """An argument in a text for people, as whoever shows it writes arguments.

    Args:
        name: of the argument.
        value: what to pass, if the text says so.

    Example:
        >>> from t1djax._arguments import argument
        >>> argument("free", ["ksi", "kl"]), argument("assume_population", True), argument("known")
        ('free=["ksi", "kl"]', 'assume_population=True', 'known')
    """
    return _notation.get()((name,), value)


def place(path: Path) -> str:
    """An argument and the place inside it, as whoever shows the text writes arguments."""
    return _notation.get()(path, ...)


@contextlib.contextmanager
def written(notation: Notation) -> Iterator[None]:
    """Write arguments in another notation, such as that of a command line."""
    token = _notation.set(notation)
    try:
        yield
    finally:
        _notation.reset(token)


class ArgumentError(ValueError):
    """An argument is wrong.

    Args:
        argument: its name, or its name and the place inside it: `("priors", "ksi")`.
        problem: what is wrong with it, and the remedy.

    Example:
        >>> from t1djax import ArgumentError
        >>> print(ArgumentError(("bounds", "ksi"), "600 to 50; the lower bound comes first"))
        bounds.ksi: 600 to 50; the lower bound comes first
    """

    def __init__(self, argument: str | Path, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument: Path = (argument,) if isinstance(argument, str) else argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{place(self.argument)}: {self.problem}"
