"""Kinds of insulin by the names that pumps, pens, apps and pharmacies give them, for every format."""

import re
from typing import Literal, NamedTuple

from ..physics import LONG_ACTING_MIN

Kind = Literal["rapid", "long", "mixed"]

_LONG = re.compile(
    r"glargin|lantus|toujeo|basaglar|abasaglar|semglee|rezvoglar|lusduna|optisulin|basalog|basalin"
    r"|detemir|levemir|degludec|tresiba|icodec|awiqli|efsitora"
    r"|nph|isophan|isofan|insulatard|protap?han|humulin[ -]?(n\b|i\b|basal)|huminsulin[ -]?basal"
    r"|novolin[ -]?(n\b|ge nph)"
    r"|insuman[ -]?basal|berlinsulin[ -]?h?[ -]?basal|lente\b|ultratard|monotard|zink|zinc"
    r"|long|lang(wirk|werk|zeit|sam)|verz(ö|oe)ger|intermedi|interm(é|e)dia|retard|basal|basis|24[ -]?h\b"
    r"|lenta\b|lent\b|lento\b|prolongad|prolungat|(é|e)tendu|durata|(?<![a-z])slow|depot|(?<![a-z])bg[ -]?insulin"
    r"|пролонгир|длительн|长效|中效|基础|持効|中間",
    re.IGNORECASE,
)
_RAPID = re.compile(
    r"aspart|novorapid|novolog|fiasp|trurapi|kirsty|merilog|lispro|humalog|liprolog|lyumjev|liumjev|admelog|glulisin"
    r"|apidra|actrapid|humulin[ -]?(r\b|s\b|regular|normal)|huminsulin[ -]?normal|novolin[ -]?(r\b|ge toronto)"
    r"|insuman[ -]?rapid"
    r"|berlinsulin[ -]?h?[ -]?normal|velosulin|afrezza|regular|normal|rapid|r(á|a)pid|fast|short|schnell|kurz|bolus"
    r"|snel|kort|prandial|meal|correct|mahlzeit|korrektur|pump|速效|短效|超速効|быстр|коротк",
    re.IGNORECASE,
)
_MIXED = re.compile(
    r"mix|(?<!\d)\d0 ?/ ?\d0(?!\d)|profil|comb|ryzodeg|soliqua|suliqua|xultophy|actraphane|mixtard|premix|预混",
    re.IGNORECASE,
)
_WEEKLY = re.compile(r"icodec|awiqli|efsitora", re.IGNORECASE)


def kind_of_insulin(name: str) -> Kind | None:
    """Whether an insulin is long-acting (or intermediate), rapid (or short), or both in one vial; None where unknown.

    Example:
        >>> from t1djax.io._insulin import kind_of_insulin
        >>> [kind_of_insulin(name) for name in ("Toujeo", "NovoRapid", "NovoMix 30", "Zaubertrank")]
        ['long', 'rapid', 'mixed', None]
    """
    if _MIXED.search(name):
        return "mixed"
    # "rapid-acting" names a class as "long-acting" does; "Insuman Basal" and "Insuman Rapid" share a brand.
    if _RAPID.search(name) and not re.search(r"basal|long|lang|retard", name, re.IGNORECASE):
        return "rapid"
    return "long" if _LONG.search(name) else "rapid" if _RAPID.search(name) else None


def acts_min(name: str) -> float:
    """Over how long a long-acting insulin is spread evenly, min: a day, or a week for weekly ones."""
    return 7 * LONG_ACTING_MIN if _WEEKLY.search(name) else LONG_ACTING_MIN


_NO_DOSE = re.compile(
    r"prim(e|ing)\b|fill|cannula|kan(ü|ue)le|tubing|(site|cartridge|reservoir|insulin|pod|battery) ?change|rewind"
    r"|air ?shot|f(ü|ue)ll(en|meng|ung)|amor(ç|c)age|remplissage|purgad?o?\b|cebado|vullen|riempimento",
    re.IGNORECASE,
)
_EQUIVALENT = re.compile(r"\bfpu\b|fat[ -]?protein|carb(s|ohydrate)?[ -]?equivalent", re.IGNORECASE)


def is_priming(word: str) -> bool:
    """Whether insulin under this word filled a tube or a cannula and reached nobody."""
    return _NO_DOSE.search(word) is not None


def is_equivalent(word: str) -> bool:
    """Whether carbohydrate under this word stands for fat and protein."""
    return _EQUIVALENT.search(word) is not None


class Sorted(NamedTuple):
    """Injections of one entry by kind."""

    rapid: float
    long: float
    long_min: float
    """Over how long the long-acting part is spread, min."""
    unknown: tuple[str, ...]
    """Names that are of neither kind; their units are among the rapid ones."""


def sort_injections(parts: list[tuple[str, float]]) -> Sorted:
    """Units by kind of several injections, each with its name."""
    kinds = [(name, units, kind_of_insulin(name)) for name, units in parts]
    rapid = sum(units for _, units, kind in kinds if kind != "long")
    long = [(name, units) for name, units, kind in kinds if kind == "long"]
    return Sorted(
        rapid,
        sum(units for _, units in long),
        max((acts_min(name) for name, _ in long), default=LONG_ACTING_MIN),
        tuple(name for name, units, kind in kinds if kind not in ("rapid", "long") and units > 0),
    )
