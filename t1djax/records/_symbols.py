"""What every symbol that is estimated stands for, with its unit."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..physics import AbstractPhysiology, Magdelaine


class Symbol(NamedTuple):
    """A quantity that tables show by its symbol.

    Example:
        >>> from t1djax.records import SYMBOLS
        >>> SYMBOLS["c"].unit
        'mg/dL/min'
    """

    unit: str
    """Its unit."""
    meaning: str
    """What it is, in words."""


def symbols_of(body: type[AbstractPhysiology]) -> dict[str, Symbol]:
    """Unit and meaning of everything that is estimated of a physiology, by symbol."""
    rows = {**body.parameters, **body.initial_states()}
    derived = {row.symbol: row for row in body.facts.derived}
    return {**{s: Symbol(row.unit, row.meaning) for s, row in (rows | derived).items()}, **_NOISE}


_NOISE = {
    "noise_sd_mg_dL": Symbol("mg/dL", "standard deviation of the readings' noise"),
    "correlation_time_min": Symbol("min", "time over which that noise resembles itself"),
}


SYMBOLS: Mapping[str, Symbol] = MappingProxyType({
    **symbols_of(Magdelaine),
    "q": Symbol("mg/dL/g", "rise of glucose that a gram of carbohydrate makes"),
    "r": Symbol("mg/dL/U", "rise of glucose per unit of a bolus without carbohydrate on record"),
})  # fmt: skip
"""Unit and meaning of everything that is estimated."""

UNITS: Mapping[str, str] = MappingProxyType({symbol: row.unit for symbol, row in SYMBOLS.items()})
"""Unit of everything that is estimated, by symbol."""


def quantity(number: str, unit: str) -> str:
    """A number with its unit, which `1` is none of.

    Example:
        >>> from t1djax.records._symbols import quantity
        >>> quantity("0.88", "1"), quantity("274", "mg/U/min")
        ('0.88', '274 mg/U/min')
    """
    return number if unit == "1" else f"{number} {unit}"


def legend(symbols: Iterable[str], more: Mapping[str, Symbol] = MappingProxyType({})) -> dict[str, str]:
    """What symbols mean, with their units; each once, in the order given, those not known left out.

    Example:
        >>> from t1djax.records import legend
        >>> legend(["ksi", "Tu", "ksi"])
        {'ksi': 'insulin sensitivity, in mg/U/min', 'Tu': 'time constant of insulin absorption, in min'}
    """
    rows = {**SYMBOLS, **more}
    in_unit = lambda row: row.meaning if row.unit == "1" else f"{row.meaning}, in {row.unit}"
    return {s: in_unit(rows[s]) for s in dict.fromkeys(symbols) if s in rows}


def legend_line(symbols: Iterable[str], more: Mapping[str, Symbol] = MappingProxyType({})) -> str:
    """The same in one line, to stand below a table.

    Example:
        >>> from t1djax.records import legend_line
        >>> legend_line(["Tu"])
        'Tu: time constant of insulin absorption, in min'
    """
    return "; ".join(f"{symbol}: {meaning}" for symbol, meaning in legend(symbols, more).items())
