"""Injections of long-acting insulin as a basal rate."""

import datetime as dt
from collections.abc import Sequence

from .._raw import RawBasal, RawDose

HOURS = 24.0
"""Over which a dose is spread evenly."""


def long_acting_basal(doses: Sequence[RawDose]) -> tuple[RawBasal, ...]:
    """Each dose spread evenly over 24 h; where two overlap, their rates add.

    Args:
        doses: injections, U.

    Returns:
        Rates, U/h, each until the next.

    Example:
        >>> import datetime as dt
        >>> from t1djax.io._raw import RawDose
        >>> from t1djax.io.formats._long_acting import long_acting_basal
        >>> [b.rate for b in long_acting_basal([RawDose(dt.datetime(2024, 5, 1, 22), 24.0, 7)])]
        [1.0, 0.0]
    """
    over = dt.timedelta(hours=HOURS)
    edges = sorted({edge for dose in doses for edge in (dose.time, dose.time + over)})
    out: list[RawBasal] = []
    for edge in edges:
        holds = [dose for dose in doses if dose.time <= edge < dose.time + over]
        line = next((dose.where for dose in doses if edge in (dose.time, dose.time + over)), 0)
        out.append(RawBasal(edge, sum(dose.amount for dose in holds) / HOURS, line))
    return tuple(out)


def long_acting_note(doses: Sequence[RawDose]) -> str:
    """What the report says of them."""
    total = sum(dose.amount for dose in doses)
    return (
        f"long-acting insulin: {len(doses)} dose(s), {total:g} U, each spread evenly over {HOURS:g} h as basal; "
        "zero where the last has ended"
    )
