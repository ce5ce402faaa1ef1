"""What is known of each patient: stated, or taken from the population."""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from ._arguments import argument
from ._words import some
from .data import Patient
from .physics import BODY_MASS, PHYSIOLOGIES, AbstractPhysiology, Balance

HEAVY_KG = 130.0  # 130 lb are 59 kg: whoever states pounds of an adult is mostly above
KG_PER_POUND = 0.45359237


def check_plausible(patients: Sequence[Patient], free: tuple[str, ...], body: type[AbstractPhysiology]) -> None:
    """Refuse values that are plausible in another unit alone, and parameters of another physiology."""
    found: dict[str, list[str]] = {}
    own = {BODY_MASS.symbol, *body.parameters}
    foreign = {symbol: p.name for p in patients for symbol in p.known if symbol not in own}
    if foreign:
        theirs = [name for name, other in PHYSIOLOGIES.items() if set(foreign) <= set(other.parameters)]
        rows = PHYSIOLOGIES[theirs[0]].parameters if theirs else {}
        of = {s: f" (column {rows[s].column})" if s in rows and rows[s].column != s else "" for s in foreign}
        named = ", ".join(f"{symbol}{of[symbol]} of {name}" for symbol, name in list(foreign.items())[:5])
        remedy = f"; {argument('physiology', *theirs)} has them" if theirs else ""
        raise ValueError(f"{named}: no parameter of {body.__name__}, which has {', '.join(body.parameters)}{remedy}")
    for symbol, row in body.parameters.items():
        low, high = row.plausible
        odd = {p.name: p.known[symbol] for p in patients if symbol in p.known and not low <= p.known[symbol] <= high}
        for name, value in odd.items() if symbol not in free else ():
            why = f"people have {row.low:g} to {row.high:g}" if value > 0 else "it is above 0"
            found.setdefault(f" = {value:g} {row.unit} ({why})", []).append(f"{row.column} of {name}")
    if found:
        listed = [some(names) + value for value, names in found.items()]
        raise ValueError(f"far from what people have, is the unit another? {some(listed, 8, between='; ')}")


def doubtful_mass(patient: Patient, free: Collection[str], body: type[AbstractPhysiology]) -> tuple[str, ...]:
    """What to say of a body mass that may be one in pounds; nothing where none is stated, or it is not used.

    A mass in pounds is 2.2 times that in kg: too near what people have to be refused, since heavy people exist.
    """
    symbol = BODY_MASS.symbol
    mass, follows = patient.known.get(symbol, 0.0), {row.of for row in body.facts.proxies if row.symbol == symbol}
    estimated = {symbol, *follows} & set(free)
    if mass <= HEAVY_KG or symbol not in body.parameters or estimated or follows & set(patient.known):
        return ()
    return (
        f"a body mass of {mass:g} kg is stated, and few people are above {HEAVY_KG:g}: if it is in pounds, state "
        f"{symbol} = {mass * KG_PER_POUND:.3g} kg; if it is in kg, nothing is wrong",
    )


@dataclasses.dataclass
class Settlement:
    """Values as they are settled, parameter by parameter."""

    body: type[AbstractPhysiology]
    known: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    assumed: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    c_assumed: tuple[str, ...] = ()
    by_patients: dict[tuple[str, ...], list[str]] = dataclasses.field(default_factory=dict)

    def assume(self, symbol: str, lacking: Sequence[str]) -> float:
        row = self.body.parameters[symbol]
        self.assumed[symbol] = row.typical
        where = f" (fits of real records: {row.real[0]:g} to {row.real[1]:g})" if row.real else ""
        self.by_patients.setdefault(tuple(lacking), []).append(f"{symbol} = {row.typical:.4g} {row.unit}{where}")
        return row.typical

    def note_assumptions(self) -> None:
        """One note for all that is assumed of the same patients."""
        self.notes += [f"assumed for {some(who)}: {', '.join(values)}" for who, values in self.by_patients.items()]


def settle(
    patients: Sequence[Patient], free: tuple[str, ...], assume_population: bool, body: type[AbstractPhysiology]
) -> Settlement:
    """What is known of the parameters that are not free.

    Of two parameters whose balance alone shows in glucose (`Facts.balance`), where neither is free and one of them is
    to be assumed, it is the balance that is: what is stated of one then moves the other along with it, and no estimate.

    Raises:
        ValueError: naming the patients, where a value is missing, or a balance is not above zero.
    """
    settled, b = Settlement(body), body.facts.balance
    names = [patient.name for patient in patients]
    proxies = {symbol: row for row in body.facts.proxies for symbol in row.pair}
    guises = lambda symbol: {symbol} if symbol not in proxies else proxies[symbol].pair
    fixed = b if b and not (guises(b.more) | guises(b.less)) & set(free) else None
    for symbol in body.parameters:
        stated = np.array([patient.known.get(symbol, np.nan) for patient in patients])
        lacking = _lacking(names, stated)
        if symbol in free:
            if len(lacking) < len(patients):
                settled.notes.append(f"{symbol} is to be estimated: the values stated for it are ignored")
        elif symbol in proxies:
            continue  # one parameter in two guises: settled below
        elif not lacking or (fixed and symbol == fixed.more and assume_population):
            settled.known[symbol] = stated  # what it lacks is settled below
        elif symbol == "G0":
            continue  # estimated along
        elif assume_population:
            settled.known[symbol] = np.where(np.isnan(stated), settled.assume(symbol, lacking), stated)
        else:
            settled.missing[symbol] = lacking
    for row in body.facts.proxies:
        if row.pair & set(free):
            continue
        value = np.array([body.complete(p.known).get(row.of, np.nan) for p in patients])
        if fixed and row.of == fixed.less and assume_population:
            more = settled.known.get(fixed.more, value + np.nan)
            value = np.where(np.isnan(value) & (more > fixed.typical), more - fixed.typical, value)
        lacking = _lacking(names, value)
        if lacking and assume_population:
            follows = body.complete({row.symbol: settled.assume(row.symbol, lacking)})
            value = np.where(np.isnan(value), follows[row.of], value)
        elif lacking:
            settled.missing[f"{row.symbol} or {row.of}"] = lacking
        settled.known[row.of] = value
    if settled.missing:
        lines = [f"{symbol} (for {some(lacking)})" for symbol, lacking in settled.missing.items()]
        raise ValueError(
            f"neither stated nor to be estimated: {'; '.join(lines)}. State it in patients.csv, or as in "
            f"{argument('known', {BODY_MASS.symbol: 72})}; name it among the parameters to estimate; or take the "
            f"population's value with {argument('assume_population', True)}"
        )
    settled.note_assumptions()
    if fixed:
        _balance(settled, patients, free, fixed)
    return settled


def _lacking(names: Sequence[str], stated: np.ndarray) -> list[str]:
    return [name for name, value in zip(names, stated, strict=True) if np.isnan(value)]


def _balance(settled: Settlement, patients: Sequence[Patient], free: tuple[str, ...], b: Balance) -> None:
    """Let one parameter follow the other where it is not stated, say so, and refuse a balance that is not positive."""
    body = settled.body
    more, less = settled.known[b.more], settled.known[b.less]
    more = settled.known[b.more] = np.where(np.isnan(more), less + b.typical, more)
    unit = body.parameters[b.more].unit
    odd = [b.words(p.name, float(x), float(y)) for p, x, y in zip(patients, more, less, strict=True) if x <= y]
    stands = [row.symbol for row in body.facts.proxies if row.of == b.less]
    if odd:
        raise ValueError(
            f"{b.must}: {some(odd, between='; ')}, in {unit}. Correct {' or '.join((b.more, *stands))}, or do not "
            f"state {b.more}: name it among the parameters to estimate "
            f"({argument('free', [body.facts.sensitivity, b.more])}), or take it by "
            f"{argument('assume_population', True)}, where it follows {' or '.join((*stands, b.less))}"
        )
    assumed = [p.name for p in patients if b.more not in p.known or not {b.less, *stands} & set(p.known)]
    if not assumed:
        return
    settled.assumed[b.symbol] = b.typical
    settled.notes.append(
        f"{b.more} - {b.less} = {b.typical:.4g} {unit} is assumed for {some(assumed)}: {b.more} and {b.less} go "
        "together"
    )
    if by_it := [symbol for symbol in free if symbol in b.made_up_by]:
        settled.c_assumed = tuple(assumed)
        settled.notes.append(
            f"{', '.join(by_it)} goes by this assumption, not by the readings alone: estimate {b.more} along with it, "
            f"or state {b.more} and {' or '.join(stands) or b.less}"
        )
