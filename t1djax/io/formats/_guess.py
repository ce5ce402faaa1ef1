"""Which column of a table is which, by the names that people give and by what stands in them."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

from .._checks import BLANKS
from .._columns import (
    AS_IT_IS,
    BASAL,
    BOLUS,
    CARBS,
    CLOCK,
    EVENT,
    JOIN,
    LONG_ACTING,
    OWN_COLUMNS,
    TIME,
    VALUE,
    WHO,
    unit_of,
)
from .._insulin import is_equivalent, is_priming, kind_of_insulin
from . import _times
from ._times import is_time

NAMES: Mapping[str, str] = {
    "glucose": r"gluc(?!id)|gluk|gluz|gly[ck]|gli[ck]|zucker|zuccher|suiker|so[ck]ker|sukker|sugar|a[zç](ú|u)car|sucre"
    r"|cukier|cukr|cukor|[sş]eker|cgm|cbg|sgv|egv|sensor|histori[ck]|(?<![a-z])(bg|bz|sg|gl|bgl)(?![a-z])"
    r"|^(mg */ *dl|mmol */ *l)$|血糖|葡萄糖|глюкоз",
    "carbs": r"carb|karb|(?<![a-z])(cho|kh|ke|be|ch|hc|khe)(?![a-z])|ch_gr|kohlenh|khydrat|k(oo|u)lh(y)?drat|kolhydrat"
    r"|hiilihydr|hidrato|gl[uú]cid|w[eę]glowodan|sacharid|sz[eé]nhidr|raciones|porzion|broteinh|broodeenh"
    r"|meal|mahlzeit|repas|comida|maaltijd|pasto|碳水|углевод",
    "basal": r"ba[sz]a+l",
    "bolus": r"bolus|insulin|rapid|novorapid|humalog|fiasp|aspart|lispro|actrapid|apidra|lyumjev|胰岛素|инсулин"
    r"|(?<![a-z])(ie|ui)(?![a-z])",
}
"""How people name a column, by kind, in this order; what is in it decides as well."""
_NOT: Mapping[str, str] = {
    "glucose": r"target|goal|ziel|input|change|rate|trend|ketone|calib|time|zeit|unit|isig|estimate|delta",
    "carbs": r"ratio|factor(?! *1\b| *\d\d)|faktor|estimate|absor|fat|fett|prot|fib|type|tag|verh|insul|bolus|daily",
    "basal": r"type|typ\b|duration|dauer|duur|dur(é|e)e|percent|percentage|name|total|daily",
    "bolus": r"ratio|factor|faktor|sensitiv|estimate|active|aktiv|on.?board|type|typ\b|duration|dauer|duur|select"
    r"|requested|food|correction|meal|korrektur|total.*(basal|day)|daily|basa+l|iob|number|kind|name",
}
"""What says that a column of such a name is of something else."""
_MINUTES = r"(?<![a-z])min(s|utes?|uten)?(?![a-z])"
_WHO = (
    r"(de-?ident\w*|pt|patient(en)?|pat|subject|subj|usubj|person|participant|proband(en)?|user|study|record|p|sujet"
    r"|sujeto|paciente|paziente|soggetto|deelnemer|pati(ë|e)nt|versuchsperson)"
    r"[ _.-]*(id|nr|no|num|number|nummer|code|name|key)?"
    r"|id|p_?num|\w*(patient|subject|participant|person)[ _.-]*(id|nr|no|code)|患者.*|пациент.*"
)
_EVENT = (
    r"(event|record|entry|type|typ|kind|variable|measure|category|ereignis|tipo|soort|rodzaj|druh).*|art"
    r"|.*(type|event|[a-z]art)"
)
_VALUE = (
    r"(value|wert|valore?|amount|menge|dose|quantity|valeur|waarde|warto|hodnot|v(ä|a)rde|verdi|arvo)s?.*"
    r"|.*(value|amount)|units|einheiten|unidades|unit(é|e|à)s?|eenheden|enheter|insulin *\(?(u|ie|e)\)?"
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?( ?[ap]\.? ?m\.?)?", re.ASCII | re.IGNORECASE)
_INJECTED_U = 4.0
_FEW_WORDS = 30


def guessed(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Columns by the library's names, as far as their names and what stands in their first rows tell."""
    cells = {name: [cell.strip(BLANKS) for cell in column] for name, column in cells.items()}
    found = dict(_time(names, cells))
    left = [name for name in names if name and name not in JOIN.join(found.values()).split(JOIN)]
    found |= {
        name: name
        for name in AS_IT_IS
        if name in left and OWN_COLUMNS[name].kind not in {OWN_COLUMNS[f].kind for f in found}
    }
    if (who := person_column(left, cells)) is not None:
        found[WHO] = who
    taken = lambda: {OWN_COLUMNS[own].kind for own in found}
    free = lambda: [name for name in left if name not in found.values() and _numeric(cells[name])]
    if "long_acting" not in taken() and (slow := [name for name in free() if _is_long(name, cells[name])]):
        found[LONG_ACTING] = max(slow, key=lambda name: _share(cells[name]))
    for kind, pattern in NAMES.items():
        if kind in taken():
            continue
        own = [
            name
            for name in free()
            if re.search(pattern, name, re.IGNORECASE)
            and not (re.search(_NOT[kind], name, re.IGNORECASE) or is_priming(name) or is_equivalent(name))
        ]
        if kind == "bolus":  # insulin in most rows is not given by hand
            own = [n for n in own if "bolus" in n.lower() or _share(cells[n]) < 0.5]
        if own:
            best = max(own, key=lambda name: (_rank(kind, name), _share(cells[name])))
            found[_named(kind, best)] = best
    if "glucose" not in taken():
        found |= _long(left, cells)
    return {own: found[own] for own in OWN_COLUMNS if own in found}


def person_column(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str | None:
    """The column that says whose a row is, where several people are in a table."""
    for name in names:
        if name and re.fullmatch(_WHO, name, re.IGNORECASE):
            people = {cell.strip(BLANKS) for cell in cells[name]} - {""}
            # A number for each row is no person's.
            if 1 < len(people) <= len(cells[name]) / 2:
                return name
    return None


def _rank(kind: str, name: str) -> int:
    """Which of several columns is meant: the sensor's before the meter's, what was delivered in all."""
    words = {"glucose": r"sensor|cgm|egv|sgv|histor", "bolus": "bolus|total|deliver", "carbs": "carb|kohl|gram|gr\\b"}
    return len(set(re.findall(words.get(kind, "rate"), name, re.IGNORECASE)))


def _is_long(name: str, cells: Sequence[str]) -> bool:
    """Whether insulin in a column is injected once or twice a day, by the name, or by how seldom and how much."""
    if kind_of_insulin(name) != "long" or re.search(_NOT["basal"] + "|rate|temp|/ *h|u_h", name, re.IGNORECASE):
        return False
    if not re.search("basal|basis", name, re.IGNORECASE):
        return True
    stated = [float(cell.replace(",", ".")) for cell in cells if _NUMBER.fullmatch(cell)]
    given = sorted(x for x in stated if x > 0)
    often = len(given) > 0.1 * len(cells)
    return bool(re.search("inject|injek|pen", name, re.IGNORECASE)) or (
        bool(given) and not often and given[len(given) // 2] >= _INJECTED_U
    )


def _long(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A column of events and one of values."""
    words = [n for n in names if re.fullmatch(_EVENT, n, re.IGNORECASE) and _few_words(cells[n])]
    values = [n for n in names if re.fullmatch(_VALUE, n, re.IGNORECASE) and _numeric(cells[n])]
    return {EVENT: words[0], VALUE: values[0]} if words and values else {}


def _few_words(cells: Sequence[str]) -> bool:
    words = {cell for cell in cells if cell}
    return 0 < len(words) <= _FEW_WORDS and not any(_NUMBER.fullmatch(word) for word in words)


def _named(kind: str, name: str) -> str:
    """The library's name for it, with its unit; without one where the person's name states another, or values tell."""
    usual = {"basal": BASAL, "bolus": BOLUS, "carbs": CARBS}.get(kind, kind)
    stated = unit_of(kind, name)
    return usual if stated in (None, OWN_COLUMNS[usual].unit) else kind


def _time(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The column of times; two where date and time of day are apart."""
    of = lambda holds: [name for name in names if name and _most(cells[name], holds)]
    if whole := of(is_time):
        return {CLOCK: whole[0]}
    dates, clocks = of(_times.is_date), of(lambda cell: _CLOCK.fullmatch(_times.plain(cell)) is not None)
    dates = dates or of(lambda cell: is_time(f"{cell} 00:00"))
    if dates and clocks:
        return {CLOCK: f"{dates[0]}{JOIN}{clocks[0]}"}
    minutes = [name for name in names if re.search(_MINUTES, name, re.IGNORECASE) and _most(cells[name], _is_number)]
    minutes = [name for name in minutes if _increases(cells[name])]
    if minutes:
        return {TIME: minutes[0]}
    days = [name for name in names if re.search("time|date|datum|zeit", name, re.I) and _most(cells[name], _is_number)]
    days = [n for n in days if _times.serials([float(c) for c in cells[n] if _is_number(c) and "," not in c] or [0.0])]
    return {CLOCK: days[0]} if days else {}


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _increases(cells: Sequence[str]) -> bool:
    values = [float(cell.replace(",", ".")) for cell in cells if _NUMBER.fullmatch(cell)]
    up = sum(b >= a for a, b in itertools.pairwise(values))
    return len(values) > 1 and up >= 0.9 * (len(values) - 1)  # of several people, each begins anew


def _most(cells: Sequence[str], holds: Callable[[str], bool]) -> bool:
    return bool(cells) and sum(map(holds, cells)) > 0.8 * len(cells)


def _numeric(cells: Sequence[str]) -> bool:
    """Whether there are numbers, and little else."""
    stated = [cell for cell in cells if cell]
    return bool(stated) and sum(_NUMBER.fullmatch(cell) is not None for cell in stated) > 0.8 * len(stated)


def _share(cells: Sequence[str]) -> float:
    """Share of cells with a number other than zero."""
    given = [cell for cell in cells if _NUMBER.fullmatch(cell) and float(cell.replace(",", ".")) != 0]
    return len(given) / max(len(cells), 1)
