"""Fits that start from earlier ones."""

import dataclasses
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from ..data import Patient
from ..io import DataWarning, read_warm_start
from ..networks import NetworkOptions
from ..problem import Problem, pose
from ..programs import check_not_forked
from ..question import Question
from ..records import WarmStart


def warm_start_of(
    source: WarmStart | str | Path | None, patients: Sequence[Patient], model: str, options: NetworkOptions | None
) -> WarmStart | None:
    """What these patients start from; None where nothing is given.

    Raises:
        ValueError: where it is of another model, or lacks a patient.
    """
    names = [patient.name for patient in patients]
    if source is None:
        return None
    if not isinstance(source, WarmStart):
        return read_warm_start(source, model=model, names=names, options=options)
    if source.model != model:
        raise ValueError(f"{source.source}: is of model {source.model}, not {model}; fit the same model")
    return source.take(names)


def posed(
    patients: Sequence[Patient], question: Question, seeds: Iterable[int], warm: WarmStart | None
) -> tuple[Problem, ...]:
    """The question as each seed poses it, from an earlier fit where there is one."""
    check_not_forked()
    from_warm = _starts(warm, patients, question.body.initial_states())
    keys = (jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds)
    return tuple(_noted(pose(patients, question, key=key, start=from_warm), warm) for key in keys)


def _starts(warm: WarmStart | None, patients: Sequence[Patient], on_board: Collection[str]) -> dict[str, np.ndarray]:
    """Starts of the parameters, for `pose`.

    What holds at the start of the window only (glucose, what is on board) is another number in a record that begins
    elsewhere: of these only glucose is taken, where the records begin in the same minute.
    """
    if warm is None:
        return {}
    begins = np.array([patient.time_min[0] for patient in patients])
    alike = np.where(begins == warm.first_min, 1.0, np.nan)
    found = {symbol: each for symbol, each in warm.values.items() if symbol not in on_board}
    return {symbol: each * alike if symbol == "G0" else each for symbol, each in found.items()}


def _noted(problem: Problem, warm: WarmStart | None) -> Problem:
    """The problem, with a note of where it starts."""
    if warm is None:
        return problem
    on_board = problem.body.initial_states()
    taken = [symbol for symbol in problem.start if symbol in warm.values and symbol not in on_board]
    what = [*taken, *(["the networks"] if warm.leaves is not None else [])]
    wanted = [symbol for symbol in problem.start if symbol not in (*on_board, "G0")]
    if wanted and not set(wanted) & set(taken):
        have = ", ".join(symbol for symbol in warm.values if symbol not in (*on_board, "G0")) or "no parameter"
        warnings.warn(
            f"{warm.source}: estimated {have}, none of {', '.join(wanted)}: the parameters start as without it",
            DataWarning,
            stacklevel=2,
        )
    note = f"starts from {warm.source}: {', '.join(what) or 'nothing'}"
    return dataclasses.replace(problem, notes=(*problem.notes, note))
