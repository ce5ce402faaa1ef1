"""The fit of a cohort by networks, from patients to records."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checked import check_types
from .._types import Key
from ..data import Patient, Series, noise_level, series, stack, stacked_shape
from ..identifiability import certainties, gauss_newton_change
from ..losses import Drive, Places, drive, places, pointwise_residuals
from ..networks import ARCHITECTURES, FlaxOptions, NetworkOptions, PINNOptions, Window, check_network
from ..physics import residual_columns, state_columns
from ..problem import Problem, patient_keys
from ..programs import at_work, on_device, spread_over, training_block
from ..records import Cost, Fit, History, Outcome, PatientFit, WarmStart, estimates_of, window_marks
from ..twin import Physiology, Scales, Sensitivities, Twin
from ._gauss_newton import Reduced
from ._keeper import Keeper
from ._stages import Progress, Stage, default_stages
from ._train import effort_once, train

_FAR_OFF = 0.05  # relative distance of an estimate from where a Gauss-Newton step would put it


def fit_network(
    patients: Sequence[Patient],
    problem: Problem,
    *,
    key: Key,
    options: NetworkOptions | None = None,
    stages: Sequence[Stage] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit a physics-informed network per patient, all patients in one program, from the `fit` readings alone.

    The network gives glucose, insulin and digestion over the whole window, the forecast included; the equations
    hold over collocation cells, with the first lags of insulin and meals computed exactly from the doses and the
    current parameters. Standard errors of the estimates come from the curvature with the network eliminated, and
    assume white sensor noise.

    Args:
        patients: the cohort.
        problem: what is known and what is free; see `pose`.
        key: draws the initial weights; a patient's do not depend on who else is there.
        options: architecture, shape and collocation: `PINNOptions` (if not given), `ModifiedMLPOptions`,
            `BIRNNOptions`, `FlaxOptions`, or your own.
        stages: the curriculum; `default_stages` if not given.
        on_progress: called after each chunk of steps.

    Returns:
        The fit. A patient whose numbers are not finite, or whose readings and equations want an estimate more than 5 %
        elsewhere (by a Gauss-Newton step from the end), has `ok` false and a message; the others are not touched.

    Raises:
        ValueError: where there is no patient or no stage.

    Source: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 378, 2019.
    """
    check_types(fit_network, locals())
    members = fit_members(patients, [problem], keys=[key], options=options, stages=stages, on_progress=on_progress)
    return members[0]


def fit_members(
    patients: Sequence[Patient],
    problems: Sequence[Problem],
    *,
    keys: Sequence[Key],
    options: NetworkOptions | None = None,
    stages: Sequence[Stage] | None = None,
    whole: Sequence[Patient] | None = None,
    devices: Sequence[Any] | None = None,
    warm: WarmStart | None = None,
    keeper: Keeper | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Fit, ...]:
    """Fit several networks per patient in one program: members times patients is the vmapped axis.

    Args:
        patients: the cohort.
        problems: one per member, alike but for their starts.
        keys: one per member.
        options: as for `fit_network`, like the rest.
        stages: the curriculum.
        whole: the cohort of which `patients` are a part, where it is fitted in parts: they then share their program.
        devices: share the patients; all of this process if not given.
        warm: networks to start from, of the same options; each member starts from the same ones.
        keeper: keeps the state of the training, and gives back the one to go on from.
        on_progress: called after each chunk of steps.

    Returns:
        One fit per member. Their cost is that of the program they share.

    Raises:
        ValueError: where there is no patient or no stage, or the networks to start from have other options or shapes.
    """
    options = PINNOptions() if options is None else options
    problem = problems[0]
    stages = (
        default_stages(
            problem.mode,
            problem.start,
            options,
            warm=warm is not None,
            priors=bool(problem.priors),
            body=problem.body,
        )
        if stages is None
        else _checked(stages)
    )
    whole = patients if whole is None else whole
    span = max(float(p.time_min[-1] - p.time_min[0]) for p in whole)
    if span > options.longest_window_min and patients[0] is whole[0]:  # once, by the first part
        days, longest = span / 1440, options.longest_window_min / 1440
        warnings.warn(
            f"{options.model}: a window of {days:.1f} days is longer than the {longest:g} that its features were made "
            "for; cut the record, or take a recurrent network (birnn)",
            stacklevel=2,
        )
    began, cells = time.perf_counter(), options.cells(span)
    with at_work(options.precision):
        if type(options) not in (*ARCHITECTURES.values(), FlaxOptions):
            _check_own(options, patients[0], keys[0])
        everyone = [patient for _ in problems for patient in patients]
        spread = spread_over(len(everyone), training_block(), devices).on_threads(len(everyone))
        own = jnp.concatenate([patient_keys(key, p.names) for key, p in zip(keys, problems, strict=True)])
        body = jax.tree.map(lambda *x: jnp.concatenate(x), *(p.physiology(options.dtype) for p in problems))
        data = stack(everyone, least=stacked_shape(whole))
        where = places(data, cells, whole=() if whole is patients else whole)
        _, data, *_ = args = spread.split((own, data, body, where)).members()
        built, build_s = spread.call(_build, *args, static=(options, cells), effort=effort_once(len(everyone)))
        twins, drives = built.members()
        if warm is not None:
            twins = spread.split(_warmed(twins.joined(), warm.take([p.name for p in everyone]), options))
        trained = train(twins, data, drives, stages, spread=spread, keeper=keeper, on_progress=on_progress)
        # Steps of a solution take long to compile, and are taken once.
        effort = "most" if problem.body.facts.exact else effort_once(len(everyone))
        reports, report_s = spread.call(_report, trained.shares, data, effort=effort)
        report = jax.tree.map(np.asarray, reports.joined())
    compile_s = build_s + trained.compile_s + report_s
    cost = Cost(compile_s, time.perf_counter() - began - compile_s)
    n = len(patients)
    everything, members = (trained.shares.joined(), trained.reduced, report), []
    for i, posed in enumerate(problems):
        mine = slice(i * n, (i + 1) * n)
        twins, found, reports = jax.tree.map(lambda x, mine=mine: x[mine], everything)
        course = lambda by_name, mine=mine: {name: values[:, mine] for name, values in by_name.items()}
        history = History(trained.history.step, course(trained.history.values), course(trained.history.losses))
        records = _records(patients, posed, found, reports)
        members.append(Fit(options.model, posed, records, history, cost, on_device(twins), options, cells))
    return tuple(members)


def _checked(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    if isinstance(stages, Stage) or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError("stages: give a list of Stage")
    if not stages:
        raise ValueError("stages: name at least one, or leave them out for the default curriculum")
    return tuple(stages)


def _check_own(options: NetworkOptions, patient: Patient, key: Key) -> None:
    data = series(patient)
    span = data.end_min - data.start_min
    edges = jnp.linspace(data.start_min, data.end_min, options.cells(float(span)) + 1, dtype=options.dtype)
    check_network(options, Window(data.inputs, span), edges, key=key)


def _build(
    key: Key, data: Series, body: Physiology, where: Places, options: NetworkOptions, cells: int
) -> tuple[Twin, Drive]:
    d = drive(data, cells, where, body.body.parts(options.cell_min))
    window = Window(data.inputs, data.end_min - data.start_min)
    network = options.network(window, d.edges_min, key=key)
    states = len(body.body.facts.learnt)
    network = eqx.tree_at(lambda n: n.readout, network, jnp.zeros((network.readout.shape[0], states)))
    twin = Twin(network, body, _scales(body, data, d), window)
    return jax.tree.map(lambda x: x.astype(options.dtype) if eqx.is_inexact_array(x) else x, (twin, d))


def _warmed(twins: Twin, warm: WarmStart, options: NetworkOptions) -> Twin:
    """The twins with networks of an earlier fit.

    In the same window all of it is taken, and says the same in mg/dL, whatever the sizes of the states now. In a window
    of other times or doses a readout is worse than none: what it says there is far off, and steps that correct it throw
    the parameters about; features are scaled to the doses. So hidden weights alone are taken there.
    """
    if warm.leaves is None or warm.scales is None or warm.windows is None:
        raise ValueError(f"{warm.source}: holds no network of {options.model} to start from")
    if warm.options != options:
        raise ValueError(
            f"{warm.source}: its networks were trained with {warm.options}, not with {options}; give these options"
        )
    fresh, structure = jax.tree.flatten(twins.surrogate)
    if [x.shape for x in fresh] != [x.shape for x in warm.leaves]:
        raise ValueError(f"{warm.source}: its networks have other shapes; fit without a warm start")
    same = np.asarray(np.all(np.isclose(warm.windows, window_marks(twins.window), rtol=1e-5), axis=-1))
    weights = jax.tree.leaves(twins.surrogate.moves(True))
    taken = [
        jnp.where(np.logical_or(same, moves).reshape(-1, *[1] * (x.ndim - 1)), jnp.asarray(old, x.dtype), x)
        for x, old, moves in zip(fresh, warm.leaves, weights, strict=True)
    ]
    network = jax.tree.unflatten(structure, taken)
    readout = network.readout * (warm.scales.states / twins.scales.states)[:, None, :]
    readout = jnp.where(same.reshape(-1, 1, 1), readout, 0.0)
    return dataclasses.replace(twins, surrogate=eqx.tree_at(lambda n: n.readout, network, readout))


def _scales(body: Physiology, data: Series, d: Drive) -> Scales:
    """Sizes of the states: from the fit readings, and from the doses under the starting parameters."""
    seen = jnp.maximum(jnp.sum(data.fit), 1)
    mean = jnp.sum(jnp.where(data.fit, data.glucose_mg_dL, 0.0)) / seen
    spread = jnp.sqrt(jnp.sum(jnp.where(data.fit, data.glucose_mg_dL - mean, 0.0) ** 2) / seen)
    spread = jnp.maximum(spread, 1.0)
    model, start = body.model(), body.initial_state(data.inputs)
    x0 = model.learnt_states(start)
    slope = jax.grad(lambda x: model.glucose(model.with_learnt(start, x)))(x0)[0]
    return Scales(
        glucose_mg_dL=spread,
        states=model.sizes(d.cells, start).at[0].set(spread / slope),
        noise=jnp.maximum(noise_level(data) if body.noise_sd_mg_dL is None else body.noise_sd_mg_dL, 1.0),
    )


class _Report(NamedTuple):
    glucose_mg_dL: Array
    states: dict[str, Array]
    residuals: Array
    noise: Array
    gap: Array
    found: Sensitivities


def _report(twin: Twin, data: Series) -> _Report:
    body, learnt = twin.physiology, twin.states(data.time_min)
    exact, glucose = body.trajectory(data), twin.glucose(learnt)
    y = body.model().with_learnt(exact.state, learnt)
    misfit = jnp.sum(jnp.where(data.fit, glucose - data.glucose_mg_dL, 0.0) ** 2)
    return _Report(
        glucose_mg_dL=glucose,
        states={column: getattr(y, leaf) for column, leaf in state_columns(body.body.States).items()},
        residuals=pointwise_residuals(twin, data, exact),
        noise=body.noise(misfit, jnp.sum(data.fit)),
        gap=jnp.sqrt(jnp.mean((glucose - exact.glucose_mg_dL) ** 2)),
        found=body.sensitivities(),
    )


def _records(
    patients: Sequence[Patient], problem: Problem, reduced: Reduced, report: _Report
) -> tuple[PatientFit, ...]:
    at_start = {**problem.known, **problem.start}
    at_start |= problem.body.derive(at_start)
    records = []
    for i, patient in enumerate(patients):
        rows = len(patient.time_min)
        sensitivities: Sensitivities = jax.tree.map(lambda x, i=i: x[i], report.found)
        information, gradient = np.asarray(reduced.information[i]), np.asarray(reduced.gradient[i])
        noise = float(report.noise[i])
        certain = certainties(information, noise, sensitivities)
        step = gauss_newton_change(information, gradient, noise, sensitivities)
        found = estimates_of(problem, certain, sensitivities.values, {s: x[i] for s, x in at_start.items()})
        glucose, body = np.asarray(report.glucose_mg_dL[i, :rows]), problem.body
        missed = residual_columns(body.States, body.facts.learnt)
        # What is on board at the start may wander where nothing depends on it; it does not count.
        records.append(
            PatientFit(
                patient=patient,
                outcome=_outcome(glucose, {s: x for s, x in step.items() if s in body.parameters}),
                estimates={s: found[s] for s in problem.start},
                derived={s: found[s] for s in body.derive(at_start) if problem.mode == "inverse"},
                glucose_mg_dL=glucose,
                states={column: np.asarray(x[i, :rows]) for column, x in report.states.items()},
                residuals={name: np.asarray(report.residuals[i, :rows, j]) for j, name in enumerate(missed)},
                body=body,
                gap_mg_dL=float(report.gap[i]),
            )
        )
    return tuple(records)


def _outcome(glucose: np.ndarray, step: dict[str, float]) -> Outcome:
    """What came of a fit whose parameters a further step would move by these shares."""
    if not np.all(np.isfinite([*glucose, *step.values()])):
        return Outcome.not_finite
    return Outcome.far_off if any(abs(x) > _FAR_OFF for x in step.values()) else Outcome.converged
