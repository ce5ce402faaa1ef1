"""A person's own names of columns, and which of the library's each stands for."""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .._arguments import ArgumentError
from ._raw import BasalUnit, CarbsUnit, GlucoseUnit

TIME, CLOCK, GLUCOSE, BASAL, BOLUS, CARBS = "time_min", "time", "glucose_mg_dL", "basal_U_h", "bolus_U", "carbs_g"
GLUCOSE_MMOL = "glucose_mmol_L"
BOLUS_DURATION, MEAL_DURATION = "bolus_duration_min", "meal_duration_min"
LONG_ACTING, LONG_ACTING_DURATION = "long_acting_U", "long_acting_duration_min"
Unit = GlucoseUnit | BasalUnit | CarbsUnit | None


WHO = "patient"
"""The column that says whose a row is."""
DEVICE, EVENT, VALUE, OFFSET = "device", "event", "value", "utc_offset_h"
"""Columns that say which sensor a reading is of, what happened, how much, and how far local time is from UTC, h."""
BASAL_DURATION = "basal_duration_min"


class Own(NamedTuple):
    """What one of the library's names means."""

    kind: str
    """What is in the column."""
    unit: Unit = None
    """The unit that the name states."""


OWN_COLUMNS: Mapping[str, Own] = {
    CLOCK: Own("time"),
    TIME: Own("time"),
    "glucose": Own("glucose"),
    GLUCOSE: Own("glucose", "mg/dL"),
    GLUCOSE_MMOL: Own("glucose", "mmol/L"),
    "basal": Own("basal"),
    BASAL: Own("basal", "U/h"),
    "bolus": Own("bolus"),
    BOLUS: Own("bolus"),
    "carbs": Own("carbs"),
    CARBS: Own("carbs", "g"),
    BOLUS_DURATION: Own("bolus_duration"),
    MEAL_DURATION: Own("meal_duration"),
    "long_acting": Own("long_acting"),
    LONG_ACTING: Own("long_acting"),
    LONG_ACTING_DURATION: Own("long_acting_duration"),
    BASAL_DURATION: Own("basal_duration"),
    WHO: Own("patient"),
    DEVICE: Own("device"),
    EVENT: Own("event"),
    VALUE: Own("value"),
    OFFSET: Own("offset"),
}
"""The names that a column can be given. One without a unit is in that which a flag or the person's name states."""
AS_IT_IS = (
    CLOCK, TIME, GLUCOSE, GLUCOSE_MMOL, BASAL, BOLUS, CARBS, BOLUS_DURATION, MEAL_DURATION, LONG_ACTING,
    LONG_ACTING_DURATION,
)  # fmt: skip
"""Columns that need no mapping where a file has them under these names."""
JOIN = "+"
"""Between two columns that are one, as in `Date+Time`."""

_U, _END = r"(?<![a-z])(u|e|ie|ui|iu|units?) *(/|_|per) *", r"(?![a-z])"
_UNITS: Mapping[str, tuple[tuple[str, Unit], ...]] = {
    "glucose": (("mmol", "mmol/L"), (r"mg *(/|_|per|%)? *dl", "mg/dL")),
    "basal": ((f"{_U}5 *min", "U/5min"), (f"{_U}(h|hr|hour|std){_END}", "U/h"), (f"{_U}min", "U/min")),
    "carbs": (
        ("g *(/|_|per) *min", "g/min"),
        (r"factor *12(?!\d)|(?<![a-z])be(?![a-z])|broteinheit", "exchange-12g"),
        (r"factor *15(?!\d)", "exchange-15g"),
        (r"factor *10(?!\d)|(?<![a-z])ke(?![a-z])|kohlenhydrateinheit", "exchange-10g"),
        ("exchange|portion|servings?|raciones", "exchange"),
        (rf"(?<![a-z])(g|gr|grams?|gramm|gramos|grammes|grammi){_END}", "g"),
    ),
}
"""How people write a unit into a column's name."""


def check_mapping(columns: Mapping[str, str]) -> None:
    """Hold a mapping against the library's names.

    Raises:
        ArgumentError: where a name is not the library's, or two stand for one thing.
    """
    by_kind: dict[str, str] = {}
    for own, name in columns.items():
        if own not in OWN_COLUMNS:
            there = ", ".join(OWN_COLUMNS)
            raise ArgumentError(
                "columns", f"{own!r} is none of t1djax's names{meant(own, OWN_COLUMNS)}; there are {there}"
            )
        if not name.strip():
            raise ArgumentError("columns", f"{own} has no column; write {own}=NAME")
        if (other := by_kind.setdefault(OWN_COLUMNS[own].kind, own)) != own:
            raise ArgumentError("columns", f"{other} and {own} are one thing; name one column for it")


def columns_from_text(text: str) -> dict[str, str]:
    """A mapping from a text such as `time=Zeit,glucose=Glukose`; a pair with a comma in it is quoted as in CSV.

    `auto` gives an empty one, which stands for a guess.

    Raises:
        ValueError: where it is no such text.
    """
    found: dict[str, str] = {}
    if text.strip() == "auto":
        return found
    for pair in next(csv.reader([text], skipinitialspace=True), []):
        own, equals, name = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ValueError(f"columns: {pair!r} is no pair; write them as in time=Zeit,glucose=Glukose")
        if own in found:
            raise ValueError(f"columns: {own} stands twice; name each once")
        found[own] = name
    check_mapping(found)
    return found


def as_mapping(columns: Mapping[str, str] | str | None) -> Mapping[str, str] | None:
    """Of a mapping or of its text."""
    return columns_from_text(columns) if isinstance(columns, str) else columns


def columns_to_text(columns: Mapping[str, str]) -> str:
    """The text that `columns_from_text` reads."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{own}={name}" for own, name in columns.items()])
    return out.getvalue()


def placed(columns: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The mapping, and what stands under the library's own name in the file."""
    kinds, taken = (
        {OWN_COLUMNS[own].kind for own in columns},
        {part for name in columns.values() for part in parts(name, names)},
    )
    more: dict[str, str] = {}
    for name in AS_IT_IS:
        if name in names and name not in taken and OWN_COLUMNS[name].kind not in kinds:
            kinds.add(OWN_COLUMNS[name].kind)
            more[name] = name
    return {**columns, **more}


def parts(name: str, names: Sequence[str]) -> tuple[str, ...]:
    """The columns that a name stands for: two where it joins them."""
    return (name,) if name in names or JOIN not in name else tuple(part.strip() for part in name.split(JOIN))


def unit_of(own: str, name: str) -> Unit:
    """The unit that the library's name states, or else the person's, as in `Glucose (mmol/L)`; None where neither."""
    kind, stated = OWN_COLUMNS[own]
    return stated or next((unit for words, unit in _UNITS.get(kind, ()) if re.search(words, name, re.I)), None)


def meant(name: str, there: Iterable[str]) -> str:
    """` (did you mean ...?)`, where one of the names is close."""
    lower = {other.lower(): other for other in reversed(list(there))}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1)
    return f" (did you mean {lower[close[0]]}?)" if close else ""
