"""What the fields of a record are, from the texts below them: in `help`, and as the help of flags."""

import ast
import functools
import inspect
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def documented(cls: type[T]) -> type[T]:
    """Put what the fields of a record are into its docstring, so that `help` shows it.

    Example:
        >>> from t1djax.physics import Parameter
        >>> "column: Its column in" in Parameter.__doc__
        True
    """
    if cls.__doc__ and "sphinx" not in sys.modules:  # which shows each field with its text
        listed = "\n".join(f"    {name}: {text}" for name, text in field_texts(cls).items())
        for name, text in field_texts(cls).items() if issubclass(cls, tuple) else ():
            getattr(cls, name).__doc__ = text  # in place of "Alias for field number 0"
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__)}\n\nAttributes:\n{listed}\n"
    return cls


@functools.cache
def field_texts(record: type) -> Mapping[str, str]:
    """The text under each field of a class, in one line; of classes that no file holds there is none."""
    made = [x for x in _classes(record.__module__) if x.name == record.__name__]
    return {
        field.target.id: " ".join(str(ast.literal_eval(below.value)).split())
        for field, below in itertools.pairwise(made[-1].body if made else [])
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr)
    }


@functools.cache
def _classes(module: str) -> Sequence[ast.ClassDef]:
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError):  # of what was typed in
        return []
    return [x for x in ast.parse(source).body if isinstance(x, ast.ClassDef)]
