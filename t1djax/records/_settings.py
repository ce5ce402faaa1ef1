"""What a whole record says of a person: insulin sensitivity factor, carbohydrate ratio, basal need."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from .._html import html_table
from .._plotted import Plotted
from .._types import MG_DL_PER_MMOL_L, GlucoseUnit
from ._outcomes import Outcome, WithOutcome

if TYPE_CHECKING:
    import pandas as pd

SettingName = Literal["isf", "cr", "basal"]


class SettingMeaning(NamedTuple):
    """What a setting is."""

    unit: str
    """Its unit."""
    column: str
    """Its name in tables, with the unit."""
    meaning: str
    """In words."""


SETTINGS: Mapping[SettingName, SettingMeaning] = {
    "isf": SettingMeaning("mg/dL per U", "isf_mg_dL_per_U", "insulin sensitivity"),
    "cr": SettingMeaning("g per U", "cr_g_per_U", "carbohydrate ratio"),
    "basal": SettingMeaning("U/h", "basal_U_h", "basal need"),
}
"""Insulin sensitivity factor, how far a small dose lowers glucose; carbohydrate ratio, what a unit covers; and the rate
that holds glucose between meals."""

Knowledge = Literal["known", "roughly known", "the record does not tell"]
NOT_TOLD: Knowledge = "the record does not tell"
DOUBT_OF_PART = np.sqrt(1.25)
"""A body is doubted all day, and half as much of each part of the day by itself."""
_KNOWN, _ROUGHLY = 1.3, 2.0  # factors from the middle of a 90 % interval to its ends
_MOSTLY_PRIOR = 0.5


class Informative(NamedTuple):
    """How much of a record can tell something, in a part of the day or in all of it."""

    corrections: int
    """Boluses of insulin alone, three hours from carbohydrate and other boluses."""
    meals: int
    """Meals on record."""
    fasting_h: float
    """Hours without carbohydrate and boluses in the four hours before."""


class Setting(NamedTuple):
    """One number of one person, of the whole day or a part of it."""

    value: float
    """Median, in the unit of `SETTINGS`."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    prior_share: float
    """How much of the prior's variance is left: near 1 the record says nothing."""

    @property
    def knowledge(self) -> Knowledge:
        """In a word: *known* to 30 %, *roughly known* to a factor of two, or the record does not tell."""
        if not self.low > 0 or not np.isfinite(self.high) or self.prior_share > _MOSTLY_PRIOR:
            return NOT_TOLD
        factor = float(np.sqrt(self.high / self.low))
        return "known" if factor <= _KNOWN else "roughly known" if factor <= _ROUGHLY else NOT_TOLD


@dataclasses.dataclass(frozen=True, eq=False)
class PersonSettings(WithOutcome, Plotted):
    """Settings of a person with what is not known of them.

    Settings of a model of a person are no settings of a pump. They describe what the record shows, and are no advice.
    """

    name: str
    """The person."""
    outcome: Outcome
    """How the fit ended."""
    bodies: Mapping[str, float]
    """How much each body counts, by name: shares that sum to one."""
    at_mg_dL: float
    """Glucose from which the small experiments start, mg/dL."""
    draws: Mapping[SettingName, Float[np.ndarray, "draws parts"]]
    """Draws: of the whole day, then of each of its parts."""
    prior_draws: Mapping[SettingName, Float[np.ndarray, "draws parts"]]
    """Likewise, before anything is seen."""
    changes: Float[np.ndarray, " draws"]
    """Draws of the standard deviation by which a unit's effect changes from a day to the next, as a share."""
    prior_changes: Float[np.ndarray, " draws"]
    """Likewise, before anything is seen."""
    starts_h: tuple[float, ...]
    """Hours at which the parts of the day begin."""
    days: float
    """Length of the record, days."""
    days_without_basal: float
    """How many more there were before the first basal rate on record, which are left out."""
    readings: int
    """How many readings it has."""
    daily_U: float
    """Insulin a day, U."""
    informative: tuple[Informative, ...]
    """What can tell something: in all, then in each part."""
    reasons: tuple[str, ...]
    """What keeps a record from telling; empty where nothing does."""
    doubts: Mapping[SettingName, float] = dataclasses.field(default_factory=dict)
    """Standard deviation of the logarithm, in the draws, that stands for a body which is not the right one."""
    unit: GlucoseUnit = "mg/dL"
    """In which glucose is shown; draws are in mg/dL."""

    def in_unit(self, unit: GlucoseUnit) -> "PersonSettings":
        """The same, with insulin sensitivity shown in another unit.

        Args:
            unit: of glucose, mg/dL or mmol/L.
        """
        return dataclasses.replace(self, unit=unit)

    @property
    def meanings(self) -> Mapping[SettingName, SettingMeaning]:
        """What each setting is, with its unit."""
        isf = SETTINGS["isf"]
        if self.unit == "mmol/L":
            isf = isf._replace(unit="mmol/L per U", column="isf_mmol_L_per_U")
        return {**SETTINGS, "isf": isf}

    @property
    def start_glucose(self) -> str:
        """Glucose from which the small experiments start, in words."""
        return f"{self._shown(self.at_mg_dL):.3g} {self.unit}"

    def _shown(self, mg_dL: Any) -> Any:
        return mg_dL / MG_DL_PER_MMOL_L if self.unit == "mmol/L" else mg_dL

    @property
    def rules(self) -> dict[SettingName, float]:
        """What rules of thumb give: 1800/TDD (mg/dL per U), 500/TDD (g per U), half the daily insulin (U/h).

        Source: Davidson et al., Endocr. Pract. 14(9), 2008.
        """
        return {"isf": self._shown(1800 / self.daily_U), "cr": 500 / self.daily_U, "basal": self.daily_U / 48}

    def setting(self, which: SettingName, part: int | None = None, *, level: float = 0.9) -> Setting:
        """One of the numbers.

        Args:
            which: `isf`, `cr` or `basal`.
            part: number of the part of the day, from 0; of the whole day if not given.
            level: probability of the interval.

        Returns:
            Its median and interval, and how much is prior: of a part no less than of the whole day, whose level it has.
        """
        at = 0 if part is None else part + 1
        draws, before = self.draws[which][:, at], self.prior_draws[which][:, at]
        if which == "isf":
            draws, before = self._shown(draws), self._shown(before)
        doubt = self.doubts.get(which, 0.0)
        if part is None:
            return _setting(draws, before, level, doubt)
        found, day = _setting(draws, before, level, doubt * DOUBT_OF_PART), self.setting(which)
        return found._replace(prior_share=max(found.prior_share, day.prior_share))

    def day_to_day(self, level: float = 0.9) -> Setting:
        """How much a unit's effect changes from a day to the next: standard deviation, as a share.

        Args:
            level: probability of the interval.
        """
        return _setting(self.changes, self.prior_changes, level)

    @property
    def bodies_in_words(self) -> str:
        """The bodies and how much each counts, in words."""
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.bodies.items())

    @property
    def help(self) -> str:
        """What would make the record tell more, in a sentence."""
        return _help(self)

    def verdict(self, level: float = 0.9) -> str:
        """What the record says of the three numbers and what not, why, and what would help: in plain words.

        Args:
            level: probability of the intervals.
        """
        by: dict[str, list[str]] = {}
        for which, meaning in self.meanings.items():
            s = self.setting(which, level=level)
            number = f" {rounded(s.value)} {meaning.unit}" * (s.knowledge != NOT_TOLD)
            by.setdefault(s.knowledge, []).append(meaning.meaning + number)
        change = self.day_to_day(level)
        number = f" about {100 * change.value:.0f} %" * (change.knowledge != NOT_TOLD)
        by.setdefault(change.knowledge, []).append(f"change of a unit's effect from day to day{number}")
        lines = [f"{kind}: {', '.join(names)}" for kind, names in by.items()]
        if NOT_TOLD in by and self.reasons:
            lines.append("why: " + "; ".join(self.reasons))
        if self.days_without_basal:
            lines.append(f"left out: the first {self.days_without_basal:.2g} days, without a basal rate on record")
        return "\n".join([*lines, f"what would help: {self.help}"])

    def table(self, level: float = 0.9) -> "pd.DataFrame":
        """A row for the day and one for each part: the three numbers with intervals, and what tells of them.

        Args:
            level: probability of the intervals.

        Returns:
            The table.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        rows = []
        for part, seen in zip((None, *range(len(self.starts_h))), self.informative, strict=False):
            row: dict[str, object] = {"patient": self.name, "part": self.hours(part)}
            for which, meaning in self.meanings.items():
                found = self.setting(which, part, level=level)
                row |= {
                    meaning.column: found.value, f"{meaning.column}_low": found.low,
                    f"{meaning.column}_high": found.high,
                    f"{which}_prior_share": found.prior_share, f"{which}_knowledge": found.knowledge,
                }  # fmt: skip
            rows.append(row | seen._asdict())
        return pd.DataFrame(rows)

    def hours(self, part: int | None) -> str:
        """Hours of a part of the day, in words."""
        if part is None:
            return "whole day"
        ends = (*self.starts_h[1:], 24.0)
        return f"{self.starts_h[part]:g}-{ends[part]:g} h"

    def __repr__(self) -> str:
        if not self.ok:
            return f"PersonSettings({self.name}: failed: {self.message})"
        numbers = ", ".join(
            f"{which} {rounded(s.value)} ({rounded(s.low)} to {rounded(s.high)}) {m.unit}"
            for which, m in self.meanings.items()
            for s in [self.setting(which)]
        )
        return f"PersonSettings({self.name}: {numbers})"

    def _repr_html_(self) -> str:
        rows = [(self.hours(part), *(_cell(self.setting(w, part)) for w in SETTINGS))
                for part in (None, *range(len(self.starts_h)))]  # fmt: skip
        columns = (
            "part of the day",
            *(f"{w.upper() if w != 'basal' else w}, {m.unit}" for w, m in self.meanings.items()),
        )
        return html_table(f"Settings of {self.name}", columns, rows, notes=[self.help])


def _setting(x: np.ndarray, before: np.ndarray, level: float, doubt: float = 0.0) -> Setting:
    known = np.maximum(x[~np.isnan(x)], 0.0)  # a need of less than nothing is none
    ends = [(1 - level) / 2, 0.5, (1 + level) / 2]
    low, value, high = np.quantile(known, ends) if known.size else np.full(3, np.nan)
    spread, wide = (np.std(np.log(good)) if len(good := v[v > 0]) > len(v) / 2 else np.inf for v in (x, before))
    # No record takes away the doubt of a body, and no prior has it.
    share = 1.0 if np.isinf(spread) else min(1.0, float(max(spread**2 - doubt**2, 0.0) / wide**2))
    return Setting(float(value), float(low), float(high), share)


def rounded(x: float) -> str:
    """A setting as people read it: two digits, and all those before the point.

    Example:
        >>> from t1djax.records import rounded
        >>> rounded(123.4), rounded(7.25), rounded(0.866)
        ('123', '7.2', '0.87')
    """
    if not np.isfinite(x) or x == 0:
        return f"{x:g}"
    return f"{x:.{max(0, 1 - int(np.floor(np.log10(abs(x)))))}f}"


def _cell(s: Setting) -> str:
    return NOT_TOLD if s.knowledge == NOT_TOLD else f"{rounded(s.value)} ({rounded(s.low)} to {rounded(s.high)})"


_FEW_CORRECTIONS_A_WEEK, _FEW_FASTING_H_A_DAY, _SHORT_DAYS = 3.0, 4.0, 10.0


def _help(person: PersonSettings) -> str:
    seen, weeks = person.informative[0], person.days / 7
    if not person.ok:
        return f"{person.message}; look at the record with `t1djax inspect`"
    unknown = [w for w in SETTINGS if person.setting(w).knowledge == NOT_TOLD]
    if not unknown and seen.corrections >= _FEW_CORRECTIONS_A_WEEK * weeks:
        return "a longer record would tell more of the parts of the day"
    if person.days < _SHORT_DAYS:
        return f"a longer record: this one has {person.days:.3g} days"
    if seen.meals < 2 * person.days:
        return "carbohydrate on record for every meal and snack"
    if (not unknown or "isf" in unknown) and seen.corrections < _FEW_CORRECTIONS_A_WEEK * weeks:
        return "insulin that acts alone, hours from meals and other boluses; else the numbers rest on the equations"
    if "basal" in unknown and seen.fasting_h < _FEW_FASTING_H_A_DAY * person.days:
        return "hours without meals and boluses"
    return "a longer record, with every meal and bolus on it"
