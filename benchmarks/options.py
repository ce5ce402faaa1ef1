"""The options that the field uses for a Modified MLP, one at a time, on and off."""

import dataclasses
from pathlib import Path

import t1djax

from .optimisers import errors
from .problems import CLEAN_5
from .report import Report
from .runners import Scope, solve

_BASE = t1djax.ModifiedMLPOptions(width=64)
_ADAM = t1djax.Stage(optimizer="adam", steps=1000, learning_rate=1e-2, residual_weight=(100.0, 100.0))
_UNWEIGHTED = dataclasses.replace(_ADAM, residual_weight=(1.0, 1.0))
_time = lambda **kw: dataclasses.replace(_BASE, time=t1djax.networks.TimeFeatureOptions(**kw))

NETWORK: dict[str, t1djax.ModifiedMLPOptions] = {
    "as it is (octaves, dose memories)": _BASE,
    "random waves": _time(waves="random"),
    "one wave in place of seven": _time(octaves=1),
    "no dose memories": _time(lags_min=()),
    "no dose memories, random waves": _time(lags_min=(), waves="random"),
    "factorised weights": dataclasses.replace(_BASE, factorised=True),
}
"""Options of the network."""
TRAINING: dict[str, t1djax.Stage] = {
    "residual x1": _UNWEIGHTED,
    "residual x1, balance by gradient norms": dataclasses.replace(_UNWEIGHTED, balance="gradient_norm"),
    "residual x1, balance by tangent kernels": dataclasses.replace(_UNWEIGHTED, balance="ntk"),
    "residual x1, causal weights, strength 1": dataclasses.replace(_UNWEIGHTED, causal=1.0),
    "balance by gradient norms": dataclasses.replace(_ADAM, balance="gradient_norm"),
    "balance by tangent kernels": dataclasses.replace(_ADAM, balance="ntk"),
    "causal weights, strength 1": dataclasses.replace(_ADAM, causal=1.0),
    "causal weights, strength 10": dataclasses.replace(_ADAM, causal=10.0),
}
"""Options of a stage of first order."""
PATIENTS = 3


class UnknownOption(ValueError):
    """No option has this in its name."""


def run(scope: Scope, out: Path, *, only: str = "") -> Report:
    """One row per option, by Adam with a fixed number of steps, and by Gauss-Newton where the option has a meaning.

    Args:
        scope: patients and seeds.
        out: the folder for the table.
        only: rows whose option has this in its name.

    Raises:
        UnknownOption: where there is none.
    """
    names = [*NETWORK, *TRAINING]
    if not any(only in name for name in names):
        raise UnknownOption(f"no option has {only!r} in its name; there are: {'; '.join(names)}")
    adam = dataclasses.replace(_ADAM, steps=50) if scope.quick else _ADAM
    report = Report("options", "Options of the Modified MLP, one at a time", out, scope.settings())
    report.note(
        f"Noise-free, 5 min, width 64; Adam: {adam.steps} steps in float32, rate {adam.learning_rate:g} with a cosine "
        "schedule, residual x100 where the row does not say otherwise. Gauss-Newton: 12 steps in float64. "
        "Errors over patients and seeds."
    )
    cohorts = [CLEAN_5.reference(seed, scope.names) for seed in scope.seeds]
    size = 8 if scope.quick else _BASE.width
    rows = [("adam", name, options, adam) for name, options in NETWORK.items()]
    rows += [("adam", name, _BASE, dataclasses.replace(stage, steps=adam.steps)) for name, stage in TRAINING.items()]
    rows += [("gauss_newton", name, options, None) for name, options in NETWORK.items() if not options.factorised]
    rows = [row for row in rows if only in row[1]]
    rows = [rows[0], *rows[1:][-1:]] if scope.quick else rows
    for optimiser, name, options, stage in rows:
        precision = "float32" if optimiser == "adam" else "float64"
        chosen = dataclasses.replace(options, width=size, precision=precision)
        stages = None if stage is None else (stage,)
        found = solve("modified_mlp", cohorts, scope.seeds, CLEAN_5.free, options=chosen, stages=stages)
        report.add(
            {
                "optimiser": optimiser,
                "option": name,
                **errors(found),
                "compile, s": found.compile_s,
                "run, s": found.run_s,
                "failed": found.failed(),
            }
        )
    return report
