"""Flags made of the fields of records: their names, types, help and defaults stand with the fields, once."""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import pydantic
import typer

from .._documented import field_texts
from ..config import BESIDE, ConfigError
from ..io import columns_from_text

Values = dict[str, Any]
"""Values of flags by the names of the fields, nested as in a file; what was not given is left out."""


class Spelling(NamedTuple):
    """What a flag has that does not follow from its field."""

    flags: tuple[str, ...] = ()
    """Its names; left out, that of the field."""
    example: str = ""
    """A value of it."""


_SPELLINGS: Mapping[str, Spelling] = {
    "inverse_params": Spelling(("--inverse-params", "--free")),
    "free": Spelling(("--free", "--inverse-params")),
    "priors": Spelling(("--prior",), "ksi=200:0.3"),
    "bounds": Spelling(example="ksi=50:600"),
    "known": Spelling(example="M=72"),
    "noise_sd_mg_dL": Spelling(("--noise-level",)),
    "sensor.noise_sd_mg_dL": Spelling(("--noise-sd",)),
    "reading.columns": Spelling(example="time=Zeit,glucose=Glukose"),
    "reading.day_first": Spelling(("--day-first/--month-first",)),
    "figures": Spelling(("--figures/--no-figures",)),
    "tracking": Spelling(("--tracking/--no-tracking",)),
}
"""By the place of the field in a file."""


class Field(NamedTuple):
    """A field of a record, or of a record in it, that a flag can set."""

    path: tuple[str, ...]
    """Its place in a file."""
    kind: Any
    """Its type, where it is given."""
    default: Any
    doc: str

    @property
    def spelling(self) -> Spelling:
        return _SPELLINGS.get(".".join(self.path), Spelling())

    @property
    def name(self) -> str:
        return "_".join(self.path)

    @property
    def flags(self) -> tuple[str, ...]:
        return self.spelling.flags or (f"--{self.path[-1].replace('_', '-')}",)

    def parameter(self) -> inspect.Parameter:
        """The parameter of a command, as typer reads it: None where the flag is not given."""
        kind = self.kind if self.kind in (bool, int, float) else list[str] if self._repeatable else str
        example = f" As in {self.spelling.example}; repeatable." if self._repeatable and self.spelling.example else ""
        default = f"  [default: {self._shown}]" if self._shown else ""
        option = typer.Option(*self.flags, help=f"{self.doc}{example}{default}", show_default=False)
        only = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, only, default=None, annotation=Annotated[kind | None, option])

    @property
    def _repeatable(self) -> bool:
        return _is_mapping(self.kind) or get_origin(get_args(self.kind)[0] if get_args(self.kind) else None) is tuple

    @property
    def _shown(self) -> str:
        """The default, where it says something: that of a switch, or of what may be left out, does not."""
        if isinstance(self.default, tuple):
            return ",".join("+".join(x) if isinstance(x, tuple) else x for x in self.default)
        plain = isinstance(self.default, str | int | float) and not isinstance(self.default, bool)
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default) if plain else ""

    def value(self, given: Any) -> Any:
        """What a file would state for the flag's value."""
        if not self._repeatable:
            return given
        if not _is_mapping(self.kind):
            return [[part.strip() for part in text.split(",") if part.strip()] for text in given]
        if get_args(self.kind)[1] is str:
            return columns_from_text(",".join(given))
        return self._mapping(given)

    def _mapping(self, texts: Sequence[str]) -> dict[str, Any]:
        """Numbers by symbol, from texts such as `ksi=50:600` or `M=72,ku_Vi=0.06`."""
        kind, found = get_args(self.kind)[1], {}
        parts = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else get_args(kind)
        flag, example = self.flags[0], self.spelling.example
        for text in (part for given in texts for part in given.replace(" ", "").split(",") if part):
            symbol, _, written = text.partition("=")
            if text == POPULATION and dataclasses.is_dataclass(kind):
                found[POPULATION] = {}
                continue
            try:
                numbers = [float(number) for number in written.split(":")]
            except ValueError:
                numbers = []
            if len(numbers) != max(len(parts), 1):
                what = f"{len(parts)} numbers" if parts else "a number"
                raise ConfigError(f"{flag} {text}: write a symbol and {what}, as in {flag} {example}")
            if symbol in found:
                raise ConfigError(f"{flag} {text}: {symbol} stands twice")
            named = dict(zip(parts, numbers, strict=True)) if dataclasses.is_dataclass(kind) else numbers
            found[symbol] = named if parts else numbers[0]
        return found


class Option(NamedTuple):
    """A flag that several commands have and no record."""

    name: str
    help: str
    kind: Any = list[str]
    flags: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        return (self.name,)

    def parameter(self) -> inspect.Parameter:
        kind = Annotated[self.kind | None, typer.Option(*self.flags, help=self.help)]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)

    def value(self, given: Any) -> Any:
        return given


POPULATION = "population"
"""In place of a prior: what is believed of anybody, of every parameter that is estimated."""


def flags_of(record: type, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> tuple[Field, ...]:
    """The fields of a record that flags can set: all but records of free form and functions.

    A record is a frozen dataclass or a pydantic model; `only` and `without` are names at its top level.
    """
    return tuple(f for f in _every(record) if f.path[0] not in without and (not only or f.path[0] in only))


@functools.cache
def _every(record: type) -> tuple[Field, ...]:
    return tuple(_fields(record, ()))


def with_flags(**records: Sequence[Field | Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags, each group in place of the parameter of that name, which takes their values."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            fields = records.get(parameter.name)
            parameters += own if fields is None else [field.parameter() for field in fields]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {name: _values(fields, given) for name, fields in records.items()}
            flags = {field.name for fields in records.values() for field in fields}
            command(**values, **{name: value for name, value in given.items() if name not in flags})

        signature: Any = run
        signature.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _values(fields: Sequence[Field | Option], given: Mapping[str, Any]) -> Values:
    values: Values = {}
    for field in fields:
        if given[field.name] not in (None, []):
            inner = values
            for name in field.path[:-1]:
                inner = inner.setdefault(name, {})
            inner[field.path[-1]] = field.value(given[field.name])
    return values


def _fields(record: type, at: tuple[str, ...]) -> Iterator[Field]:
    # The first sentence of each.
    docs = {name: text.partition(". ")[0].rstrip(".") + "." for name, text in field_texts(record).items()}
    kinds = get_type_hints(record)
    for name, default in _defaults(record):
        kind = _given(kinds[name])
        if name == "question":  # a file has its fields beside the others
            by_field = {field: name for name, field in BESIDE.items()}
            yield from (f._replace(path=(by_field[f.path[0]],)) for f in _fields(kind, at))
        elif isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, pydantic.BaseModel)):
            yield from _fields(kind, (*at, name))
        elif kind in (bool, int, float, str) or (get_args(kind) and not _free_form(kind)):
            yield Field((*at, name), kind, default, docs.get(name, ""))


def _given(kind: Any) -> Any:
    """The type without None."""
    if get_origin(kind) is types.UnionType:
        rest = [one for one in get_args(kind) if one is not types.NoneType]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _free_form(kind: Any) -> bool:
    return get_origin(kind) is Callable or Any in get_args(kind) or any(_free_form(one) for one in get_args(kind))


def _defaults(record: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(record):
        for field in dataclasses.fields(record):
            make = field.default_factory
            yield field.name, field.default if make is dataclasses.MISSING else make()
    else:
        for name, field in record.model_fields.items():
            yield name, field.get_default(call_default_factory=True)
