"""Problems that are posed, fitted: all at once, or in parts where a cohort is too large for that."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from ..data import Patient
from ..inference import LeastSquares, fit_ode, trusted
from ..losses import largest
from ..networks import NetworkOptions
from ..problem import Problem
from ..records import Fit, WarmStart
from ..training import Keeper, Progress, Stage, default_stages, fit_members
from ..twin import Twin
from ._memory import rows_that_fit

_PART = 256
"""Fits that always train together. More at once are no faster on a CPU; elsewhere their memory is looked at, in a
fraction of a second."""


def fit_problems(
    patients: Sequence[Patient],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    model: str,
    *,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    whole: Sequence[Patient] | None = None,
    warm: WarmStart | None = None,
    keeper: Keeper | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Fit, ...]:
    """Fit problems that are posed already, one per seed; errors are those that the residuals bear out.

    `whole` is the cohort of which `patients` are a part, see `fit_members`. Estimates of `warm` stand in the problems
    already.
    """
    keys = [jax.random.fold_in(jax.random.key(seed), 2) for seed in seeds]
    if model == "ode":
        assert options is None or isinstance(options, LeastSquares)
        if stages is not None:
            raise ValueError("model ode has no stages; leave them out, or name a network")
        each = [fit_ode(patients, p, key=key, options=options) for p, key in zip(problems, keys, strict=True)]
        return tuple(trusted(fit) for fit in each)
    assert isinstance(options, NetworkOptions)
    members = fit_members(
        patients,
        problems,
        keys=keys,
        options=options,
        stages=stages,
        whole=whole,
        warm=warm,
        keeper=keeper,
        on_progress=on_progress,
    )
    return tuple(trusted(fit) for fit in members)


def padded(which: Sequence[int], size: int) -> list[int]:
    """Positions of a part, the last one repeated until there are `size`: parts of one size share their program."""
    return [*which, *[which[-1]] * (size - len(which))]


def fit_in_parts(
    patients: Sequence[Patient],
    problems: Sequence[Problem],
    seeds: Sequence[int],
    model: str,
    *,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    warm: WarmStart | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Fit, ...]:
    """`fit_problems`, for networks in as many parts as the free memory asks for; one program serves them all.

    What a network needs at work, some megabytes, is then that of a part. Least squares have blocks of their own.
    """
    fit_some = lambda some, posed, **more: fit_problems(
        some, posed, seeds, model, options=options, stages=stages, warm=warm, **more
    )
    size = _size(patients, problems, options, stages, warm)
    if size >= len(patients):
        return fit_some(patients, problems, on_progress=on_progress)
    parts = [range(first, min(first + size, len(patients))) for first in range(0, len(patients), size)]
    assert isinstance(options, NetworkOptions)
    whole = largest(patients, options.cells)
    found: list[tuple[Fit, ...]] = []
    networks: list[Twin | None] = [None] * len(problems)
    for number, which in enumerate(parts):
        at = padded(which, size)
        some = [patients[i] for i in at]
        real = [s * size + i for s in range(len(problems)) for i in range(len(which))]
        tell = None if on_progress is None else _Whole(on_progress, real, number, len(parts))
        fits = fit_some(some, [p.take(at) for p in problems], whole=whole, on_progress=tell)
        part = [fit.take(range(len(which))) for fit in fits]
        networks = [_filled(*row, which, len(patients)) for row in zip(networks, (f.twins for f in part), strict=True)]
        found.append(tuple(dataclasses.replace(fit, twins=None) for fit in part))
    joined = [Fit.join([part[s] for part in found], problem) for s, problem in enumerate(problems)]
    return tuple(dataclasses.replace(fit, twins=twins) for fit, twins in zip(joined, networks, strict=True))


def _filled(whole: Twin | None, part: Twin | None, which: range, n: int) -> Twin | None:
    """The networks of all `n` with those of a part in place: joining parts at the end would hold them twice."""
    if part is None:
        return None
    if whole is None:
        whole = jax.tree.map(lambda x: np.empty((n, *x.shape[1:]), x.dtype), part)
    for there, x in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        there[which.start : which.stop] = x
    return whole


def _size(
    patients: Sequence[Patient],
    problems: Sequence[Problem],
    options: NetworkOptions | LeastSquares | None,
    stages: Sequence[Stage] | None,
    warm: WarmStart | None,
) -> int:
    """Patients that train together: parts as alike as can be."""
    n, posed = len(patients), problems[0]
    if not isinstance(options, NetworkOptions) or n * len(problems) <= _PART:
        return n
    if stages is None:
        stages = default_stages(
            posed.mode, posed.start, options, warm=warm is not None, priors=bool(posed.priors), body=posed.body
        )
    rows = rows_that_fit(patients, posed, options, stages)
    rows = min(rows, _PART) if jax.default_backend() == "cpu" else rows
    most = max(1, rows // len(problems))
    return -(-n // -(-n // most))


@dataclasses.dataclass
class _Whole:
    """Tells of a part as a stretch of the whole; rows that pad are nobody's."""

    tell: Callable[[Progress], None]
    real: Sequence[int]
    number: int
    parts: int
    seconds_a_step: float = 0.0

    def __call__(self, progress: Progress) -> None:
        there, left = progress.total_steps - progress.step, progress.seconds_left
        if there and left is not None:  # without compilation: that is the first part's alone
            self.seconds_a_step = left / there
        step, total = self.number * progress.total_steps + progress.step, self.parts * progress.total_steps
        left = None if left is None else self.seconds_a_step * (total - step)
        self.tell(progress.take(self.real)._replace(step=step, total_steps=total, seconds_left=left))
