"""The rate that a pump delivered: the schedule, with temporary rates and suspensions laid over it."""

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from .._raw import RawBasal
from .._remarks import Note, Step

LONGEST = dt.timedelta(hours=72)
"""No pump runs a temporary rate for longer."""


class Command(NamedTuple):
    """A temporary rate or a suspension."""

    start: dt.datetime
    end: dt.datetime
    """When it runs out, if no other command comes before."""
    where: int
    rate_U_h: float | None = None
    """The rate; left out, the schedule's times `factor`."""
    factor: float = 1.0
    kind: Literal["temporary", "suspend"] = "temporary"


def cut_short(commands: Sequence[Command]) -> list[Command]:
    """Each command ends where the next begins."""
    rows = sorted(commands, key=lambda command: command.start)
    ends = [min(row.end, after.start) for row, after in pairwise(rows)]
    return [row._replace(end=end) for row, end in zip(rows, [*ends, *(row.end for row in rows[-1:])], strict=True)]


def delivered(scheduled: Sequence[RawBasal], commands: Sequence[Command]) -> tuple[RawBasal, ...]:
    """Rates as delivered. Each holds until the next and is marked as scheduled: nothing is left to lay over it.

    Of temporary rates a later one ends an earlier; suspensions go before both. Before the schedule, which is in order
    of time, begins only what a command states is known.

    Example:
        >>> import datetime as dt
        >>> from t1djax.io._raw import RawBasal
        >>> from t1djax.io.formats._rates import Command, delivered
        >>> at = lambda hour: dt.datetime(2024, 5, 1, hour)
        >>> rates = delivered([RawBasal(at(0), 1.0, 2)], [Command(at(3), at(5), 7, factor=0.5)])
        >>> [(b.time.hour, b.rate) for b in rates]
        [(0, 1.0), (3, 0.5), (5, 1.0)]
    """
    layers = [cut_short([command for command in commands if command.kind == kind]) for kind in ("suspend", "temporary")]
    edges = {row.time for row in scheduled} | {row.start for row in commands}
    edges |= {row.end for layer in layers for row in layer}
    out: list[RawBasal] = []
    at, base = 0, None
    heads = [0, 0]
    for edge in sorted(edges):
        while at < len(scheduled) and scheduled[at].time <= edge:
            base, at = scheduled[at], at + 1
        holds = None
        for number, layer in enumerate(layers):
            while heads[number] < len(layer) and layer[heads[number]].end <= edge:
                heads[number] += 1
            if holds is None and heads[number] < len(layer) and layer[heads[number]].start <= edge:
                holds = layer[heads[number]]
        if holds is None:
            row = None if base is None else base._replace(time=edge)
        elif holds.rate_U_h is not None:
            row = RawBasal(edge, holds.rate_U_h, holds.where)
        else:
            row = None if base is None else RawBasal(edge, base.rate * holds.factor, holds.where)
        if row is not None and not (out and out[-1].rate == row.rate):
            out.append(row)
    return tuple(out)


def say_commands(commands: Sequence[Command]) -> Step[None]:
    """Remarks on them."""
    live = [row.kind for row in commands if row.end > row.start]
    words = {"temporary": "temporary basal rate(s)", "suspend": "suspension(s)"}
    for kind, word in words.items():
        if live.count(kind):
            yield Note(f"{live.count(kind)} {word} are worked into the basal")
    long = [row for row in commands if row.kind == "temporary" and row.end - row.start > LONGEST]
    if long:
        first = min(row.start for row in long).isoformat(timespec="minutes")
        hours = max(row.end - row.start for row in long) / dt.timedelta(hours=1)
        yield Note(
            f"{len(long)} temporary basal rate(s) are stated for more than 72 h, up to {hours:.4g} h (the first at "
            f"{first}), which no pump runs: each is taken to hold until the next command"
        )
