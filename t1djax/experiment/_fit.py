"""From patients to fits: choose the model, pose, fit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from .._arguments import ArgumentError
from .._checked import check_types
from ..data import Cohort, Patient
from ..inference import LeastSquares
from ..networks import ARCHITECTURES, NetworkOptions
from ..question import Question, QuestionFields, question_of
from ..records import Ensemble, Fit, WarmStart
from ..training import Progress, Stage
from ._problems import fit_in_parts
from ._warm import posed, warm_start_of


def fit(
    cohort: Cohort | Sequence[Patient],
    question: Question | None = None,
    *,
    model: str | None = None,
    seed: int = 0,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    warm_start: WarmStart | str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **fields: Unpack[QuestionFields],
) -> Fit:
    """Fit every patient of a cohort at once.

    Networks of more than some hundred patients train in parts, one after the other, by one program: no more at once
    than half of the free memory holds, and on a CPU than 256. What is stopped is lost: `train` of the command
    line writes each batch when it is done, and goes on.

    Args:
        cohort: the patients. A cohort's truth is not looked at.
        question: what is asked of them.
        model: `pinn` (if not given), `modified_mlp` or `birnn`, the physics-informed networks; `ode`, least squares on
            the equations; `flax` with `FlaxOptions`, or the name of options of your own.
        seed: sets starts and initial weights; a whole number.
        options: the network's options, such as `BIRNNOptions`, or `LeastSquares`; they decide the model if it is not
            named.
        stages: the curriculum of the network; `default_stages` if not given.
        warm_start: an earlier fit of the same people by the same model, to start from: `WarmStart`, a result folder,
            or a folder with one result per patient. Parameters start at its estimates and networks with its weights;
            the default curriculum is then shorter.
        on_progress: called after each chunk of training steps with how far it is.
        fields: fields of `Question`, in place of one or on top of it: `mode`, `free`, `priors`, `bounds` and so on.

    Returns:
        The fit: by patient, estimates with units and standard errors, the states over the whole record, and how the
        training went. `ok` is false for a patient whose fit failed; the others are not touched.

    Raises:
        ArgumentError: where the model is no name, the question makes no sense, or an argument is of another type.
        ValueError: where the model is not known, a parameter is neither stated nor free, or the earlier fit lacks a
            patient or has networks of other options.
        UnidentifiableError: where glucose cannot tell the free parameters apart.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=15, names=["Pat2"])
        >>> found = t1djax.fit(cohort, model="ode", free=["ksi"])["Pat2"].estimates["ksi"]
        >>> round(found.value, 3)
        197.0
    """
    model = _model(model, options)
    check_types(fit, locals())
    return _fit_seeds(
        cohort, question_of(question, fields), (seed,), model, options, stages, on_progress, warm_start
    ).members[0]


def fit_ensemble(
    cohort: Cohort | Sequence[Patient],
    question: Question | None = None,
    *,
    seeds: Sequence[int],
    model: str | None = None,
    options: NetworkOptions | LeastSquares | None = None,
    stages: Sequence[Stage] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **fields: Unpack[QuestionFields],
) -> Ensemble:
    """Fit every patient of a cohort from several seeds at once: seeds times patients train as one program.

    Args:
        cohort: the patients.
        question: what is asked of them, as for `fit`, like all the rest.
        seeds: one per member, all different; each sets its own starts and initial weights.
        model: a network, or `ode`.
        options: the network's options, or `LeastSquares`.
        stages: the curriculum.
        on_progress: called after each chunk of training steps.
        fields: fields of `Question`.

    Returns:
        The members, each what `fit` gives for its seed; `spread` compares them.

    Raises:
        ArgumentError: where the model is no name, the question makes no sense, or an argument is of another type.
        ValueError: where a seed comes twice or is out of range, and where `fit` raises it.
        UnidentifiableError: where glucose cannot tell the free parameters apart.

    Example:
        >>> import t1djax
        >>> cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
        >>> ensemble = t1djax.fit_ensemble(cohort, seeds=[0, 1, 2], model="ode")
        >>> t1djax.evaluation.spread(ensemble)["ksi_sd"].max() < 1e-6
        np.True_
    """
    model = _model(model, options)
    check_types(fit_ensemble, locals())
    return _fit_seeds(cohort, question_of(question, fields), tuple(seeds), model, options, stages, on_progress)


def _fit_seeds(
    cohort: Cohort | Sequence[Patient],
    question: Question,
    seeds: tuple[int, ...],
    model: str,
    options: NetworkOptions | LeastSquares | None,
    stages: Sequence[Stage] | None,
    on_progress: Callable[[Progress], None] | None,
    warm_start: WarmStart | str | Path | None = None,
) -> Ensemble:
    patients = Cohort.of(cohort).patients
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError("seeds: name at least one, each once, from 0 to 4294967295")
    if model != "ode" and options is None:
        options = ARCHITECTURES[model]()
    warm = warm_start_of(warm_start, patients, model, None if isinstance(options, LeastSquares) else options)
    problems = posed(patients, question, seeds, warm)
    fits = fit_in_parts(
        patients, problems, seeds, model, options=options, stages=stages, warm=warm, on_progress=on_progress
    )
    return Ensemble(seeds, fits)


def _model(model: str | None, options: NetworkOptions | LeastSquares | None) -> str:
    """The model that name and options agree on."""
    if not isinstance(model, str | None):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        known = ", ".join(f'"{name}"' for name in [*ARCHITECTURES, "ode"])
        raise ArgumentError("model", f"give a name, {known}, not a {kind}; your own network and shapes go into options")
    if not isinstance(options, NetworkOptions | LeastSquares | None):
        kind = type(options).__name__
        raise ArgumentError("options", f"give NetworkOptions, such as PINNOptions(), or LeastSquares(), not a {kind}")
    if isinstance(options, NetworkOptions) and not hasattr(options, "model"):
        named = 'model: ClassVar[str] = "own"'
        raise ArgumentError("options", f"{type(options).__name__} names no architecture; write {named} in it")
    stated = "ode" if isinstance(options, LeastSquares) else None if options is None else options.model
    if model is None:
        return stated or "pinn"
    if stated is not None and model != stated:
        raise ValueError(f"model {model} and {type(options).__name__} do not go together; leave one of them out")
    if stated is None and model == "flax":
        raise ValueError("model flax needs its module: options=FlaxOptions(module=...)")
    if stated is None and model != "ode" and model not in ARCHITECTURES:
        known = ", ".join([*ARCHITECTURES, "ode"])
        raise ValueError(f"unknown model {model!r}; there are {known}, and any other that comes with its options")
    return model
