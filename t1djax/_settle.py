"""What is known of each patient: stated, or taken from the population."""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from ._arguments import argument
from .data import Patient
from .physics import KB_BODY_MASS, PHYSIOLOGIES, TYPICAL_C, AbstractPhysiology, Magdelaine, unbalanced

HEAVY_KG = 130.0  # 130 lb are 59 kg: whoever states pounds of an adult is mostly above
KG_PER_POUND = 0.45359237
GOES_BY_C = ("ksi", "ku_Vi", "kr_Vb")
"""What makes up for an error of `c`, which glucose integrates."""


def check_plausible(patients: Sequence[Patient], free: tuple[str, ...], body: type[AbstractPhysiology]) -> None:
    """Refuse values that are plausible in another unit alone, and parameters of another physiology."""
    found: dict[str, list[str]] = {}
    foreign = {symbol: p.name for p in patients for symbol in p.known if symbol not in body.parameters}
    if foreign:
        named = ", ".join(f"{symbol} of {name}" for symbol, name in list(foreign.items())[:5])
        theirs = [name for name, other in PHYSIOLOGIES.items() if set(foreign) <= {*other.parameters}]
        mend = f"; {argument('physiology', *theirs)} has them" if theirs else ""
        raise ValueError(f"{named}: no parameter of {body.__name__}, which has {', '.join(body.parameters)}{mend}")
    for symbol, row in body.parameters.items():
        low, high = row.plausible
        odd = {p.name: p.known[symbol] for p in patients if symbol in p.known and not low <= p.known[symbol] <= high}
        for name, value in odd.items() if symbol not in free else ():
            why = f"people have {row.low:g} to {row.high:g}" if value > 0 else "it is above 0"
            found.setdefault(f" = {value:g} {row.unit} ({why})", []).append(f"{row.column} of {name}")
    if found:
        said = [some(names) + value for value, names in found.items()]
        more = f"; and {len(said) - 8} more" if len(said) > 8 else ""
        raise ValueError(f"far from what people have, is the unit another? {'; '.join(said[:8])}{more}")


def doubtful_mass(patient: Patient, free: Collection[str]) -> tuple[str, ...]:
    """What to say of a body mass that may be one in pounds; nothing where none is stated, or it is not used.

    A mass in pounds is 2.2 times that in kg: too near what people have to be refused, since heavy people exist.

    Args:
        patient: states the mass.
        free: symbols that are estimated.
    """
    mass = patient.known.get("M", 0.0)
    if mass <= HEAVY_KG or {"M", "kb"} & set(free) or "kb" in patient.known:
        return ()
    return (
        f"a body mass of {mass:g} kg is stated, and few people are above {HEAVY_KG:g}: if it is in pounds, state "
        f"M = {mass * KG_PER_POUND:.3g} kg; if it is in kg, nothing is wrong",
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

    def assume(self, symbol: str, lacking: Sequence[str]) -> float:
        row = self.body.parameters[symbol]
        self.assumed[symbol] = row.typical
        self.notes.append(f"{symbol} = {row.typical:.4g} {row.unit} is assumed for {some(lacking)}")
        return row.typical


def settle(
    patients: Sequence[Patient], free: tuple[str, ...], assume_population: bool, body: type[AbstractPhysiology]
) -> Settlement:
    """What is known of the parameters that are not free.

    Of `kl` and `kb = 128 / M` glucose tells the difference `c` alone. Where neither is free and one of them is to be
    assumed, it is `c` that is: a stated body mass then moves `kl` along with `kb`, and no estimate.

    Args:
        patients: the cohort.
        free: symbols to estimate.
        assume_population: take what nobody stated from the population.
        body: whose parameters these are.

    Raises:
        ValueError: naming the patients, where a value is missing, or `kl` is not above `kb`.
    """
    settled = Settlement(body)
    names = [patient.name for patient in patients]
    balanced = body is Magdelaine
    fixed = balanced and not {"kl", "kb", "M"} & set(free)  # c is
    for symbol in body.parameters:
        stated = np.array([patient.known.get(symbol, np.nan) for patient in patients])
        lacking = [name for name, value in zip(names, stated, strict=True) if np.isnan(value)]
        if symbol in free:
            if len(lacking) < len(patients):
                settled.notes.append(f"{symbol} is to be estimated: the values stated for it are ignored")
        elif balanced and symbol in ("M", "kb"):
            continue  # one parameter in two guises: settled below
        elif not lacking or (symbol == "kl" and fixed and assume_population):
            settled.known[symbol] = stated  # what kl lacks is settled below
        elif symbol == "G0":
            continue  # estimated along
        elif assume_population:
            settled.known[symbol] = np.where(np.isnan(stated), settled.assume(symbol, lacking), stated)
        else:
            settled.missing[symbol] = lacking
    if balanced and not {"kb", "M"} & set(free):
        kb = np.array([p.known.get("kb", KB_BODY_MASS / p.known.get("M", np.nan)) for p in patients])
        kl = settled.known.get("kl", kb + np.nan)
        if fixed and assume_population:
            kb = np.where(np.isnan(kb) & (kl > TYPICAL_C), kl - TYPICAL_C, kb)
        lacking = [name for name, value in zip(names, kb, strict=True) if np.isnan(value)]
        if lacking and assume_population:
            kb = np.where(np.isnan(kb), KB_BODY_MASS / settled.assume("M", lacking), kb)
        elif lacking:
            settled.missing["M or kb"] = lacking
        settled.known["kb"] = kb
    if settled.missing:
        lines = [f"{symbol} (for {some(lacking)})" for symbol, lacking in settled.missing.items()]
        raise ValueError(
            f"neither stated nor to be estimated: {'; '.join(lines)}. State it in patients.csv, or as in "
            f"{argument('known', {'M': 72})}; name it among the parameters to estimate; or take the population's value "
            f"with {argument('assume_population', True)}"
        )
    if fixed:
        _balance(settled, patients, free)
    return settled


def _balance(settled: Settlement, patients: Sequence[Patient], free: tuple[str, ...]) -> None:
    """Let kl follow kb where it is not stated, say so, and refuse a kl that is not above kb."""
    kl, kb = settled.known["kl"], settled.known["kb"]
    kl = settled.known["kl"] = np.where(np.isnan(kl), kb + TYPICAL_C, kl)
    odd = [unbalanced(p.name, float(a), float(b)) for p, a, b in zip(patients, kl, kb, strict=True) if a <= b]
    if odd:
        more = f"; and {len(odd) - 5} more" if len(odd) > 5 else ""
        raise ValueError(
            f"kl must be above kb, or glucose would fall without insulin: {'; '.join(odd[:5])}{more}, in mg/dL/min. "
            "Correct kl or the body mass, or do not state kl: name it among the parameters to estimate "
            f"({argument('free', ['ksi', 'kl'])}), or take it by {argument('assume_population', True)}, where it "
            "follows the body mass"
        )
    assumed = [p.name for p in patients if "kl" not in p.known or not {"kb", "M"} & set(p.known)]
    if not assumed:
        return
    settled.assumed["c"] = TYPICAL_C
    settled.notes.append(f"kl - kb = {TYPICAL_C:.4g} mg/dL/min is assumed for {some(assumed)}: kl and kb go together")
    if by_c := [symbol for symbol in free if symbol in GOES_BY_C]:
        settled.c_assumed = tuple(assumed)
        settled.notes.append(
            f"{', '.join(by_c)} goes by this assumption, not by the readings alone: estimate kl along with it, "
            "or state kl and M"
        )


def some(names: Sequence[str]) -> str:
    """The first five names, and how many there are more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
