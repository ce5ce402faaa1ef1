"""Figures of settings: three numbers over the clock with their bands, and what tells of them."""

from typing import TYPE_CHECKING

import numpy as np

from ..records import NOT_TOLD, PersonSettings, rounded
from ._style import FIT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES = {"isf": "insulin sensitivity (ISF)", "cr": "carbohydrate ratio (CR)", "basal": "basal need"}
_EVENTS = {"isf": "corrections", "cr": "meals", "basal": "fasting_h"}
_COUNTED = {"isf": "doses alone", "cr": "meals", "basal": "h fasting"}


def plot_settings(person: PersonSettings, *, level: float = 0.9) -> "Figure":
    """The three settings over the clock: medians and bands of the parts of the day, the whole day, and the rule.

    Args:
        person: what `person_settings` found.
        level: probability of the bands.

    Returns:
        The figure.
    """
    starts = person.starts_h or (0.0,)
    edges = np.array([*starts, 24.0])
    parts = range(len(person.starts_h)) if person.starts_h else (None,)
    with new_figure(7.2, 7.0) as figure:
        axes = figure.subplots(3, 1, sharex=True)
        for ax, (which, row) in zip(axes, person.meanings.items(), strict=True):
            whole = person.setting(which, level=level)
            each = [person.setting(which, k, level=level) for k in parts]
            rule = person.rules[which]
            shown: set[bool] = set()
            for k, (a, b, s) in enumerate(zip(edges[:-1], edges[1:], each, strict=True)):
                known = s.knowledge != NOT_TOLD
                label = f"{100 * level:.0f} %" + ", the record does not tell" * (not known)
                ax.fill_between([a, b], s.low, s.high, color=FIT if known else "0.6", alpha=0.25, lw=0,
                                label=None if known in shown else label)  # fmt: skip
                shown.add(known)
                ax.plot([a, b], [s.value] * 2, color=FIT if known else "0.5", ls="-" if known else ":")
                seen = person.informative[k + 1 if person.starts_h else 0]
                number = getattr(seen, _EVENTS[which])
                ax.annotate(f"{number:.0f} {_COUNTED[which]}", ((a + b) / 2, 0.02), xycoords=("data", "axes fraction"),
                            ha="center", fontsize=7, color="0.4")  # fmt: skip
            ax.axhline(whole.value, color="0.2", lw=0.8, ls="--", label=f"whole day, {rounded(whole.value)}")
            highest = max((s.high for s in each if np.isfinite(s.high)), default=1.0)
            # A rule far above would press the bands together.
            far = bool(rule > 2 * highest)
            label = f"rule of thumb, {rounded(rule)}" + ", beyond the panel" * far
            ax.axhline(rule, color="0.6", lw=0.8, ls="-.", label=label)
            start = f"\nfrom {person.start_glucose}" if which == "isf" else ""
            top = highest if far else np.fmax(highest, rule)
            ax.set(ylabel=f"{_NAMES[which]}\n{row.unit}{start}", ylim=(0, 1.2 * top))
            ax.legend(loc="upper right", ncols=4, fontsize=7)
        axes[0].set_title(f"{person.name}: what the record says. A model's answer, no advice.")
        axes[-1].set(xlim=(0, 24), xlabel="time of day")
        axes[-1].set_xticks(range(0, 25, 4), [f"{h:02d}:00" for h in range(0, 25, 4)])
    return figure
