"""Arguments of the library in what it says: written as code, or as who shows the text writes them."""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

Path = tuple[str | int, ...]
"""An argument by its name, and the place inside it: `("priors", "ksi")`."""
Notation = Callable[..., str]
"""How an argument is written, `(path, *values)`: alone, or with one value or another."""


def as_code(path: Path, *values: Any) -> str:
    """An argument as it stands in a call, and in a file of a configuration: `free=["ksi"]`, `priors.ksi`."""
    plain = lambda x: x is None or isinstance(x, bool)  # None, True and False are other words in JSON
    written = [str(x) if plain(x) else json.dumps(x, ensure_ascii=False) for x in values]
    return "=".join([".".join(map(str, path)), *([" or ".join(written)] if written else [])])


_notation: ContextVar[Notation] = ContextVar("notation", default=as_code)


def argument(name: str, *values: Any) -> str:
    """An argument in a text for people, as whoever shows it writes arguments.

    Example:
        >>> from t1djax._arguments import argument
        >>> argument("free", ["ksi", "kl"]), argument("assume_population", True), argument("known")
        ('free=["ksi", "kl"]', 'assume_population=True', 'known')
    """
    return _notation.get()((name,), *values)


def place(path: Path) -> str:
    """An argument and the place inside it, as whoever shows the text writes arguments."""
    return _notation.get()(path)


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

    Example:
        >>> from t1djax import ArgumentError
        >>> print(ArgumentError(("bounds", "ksi"), "600 to 50; the lower bound comes first"))
        bounds.ksi: 600 to 50; the lower bound comes first
    """

    def __init__(self, argument: str | Path, problem: str) -> None:
        """An error about an argument.

        Args:
            argument: its name, or its name and the place inside it: `("priors", "ksi")`.
            problem: what is wrong with it, and the remedy.
        """
        super().__init__(argument, problem)
        self.argument: Path = (argument,) if isinstance(argument, str) else argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{place(self.argument)}: {self.problem}"
